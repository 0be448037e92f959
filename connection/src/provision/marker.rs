//! The marker of a namespace that was created completely, in its `owners` bucket: which streams it had then. A
//! stream that is missing later, or was made anew, has lost what was acknowledged; without the marker it would be
//! taken for one that is to be created.

use std::collections::BTreeMap;

use async_nats::jetstream::kv;
use async_nats::jetstream::stream::{Config, Info};
use serde::{Deserialize, Serialize};
use stepwell_shared::encoding::{self, VERSION};
use stepwell_shared::subject::PROVISIONED_KEY;

use super::{ProvisionError, stream_info};
use crate::connection::{Connection, JetStreamError};

/// Difference between two times of creation that is none, in nanoseconds: times are written in several ways.
const SAME_NS: u64 = 1_000_000_000;

/// Which streams a namespace had when it was complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    v: u32,
    /// When each stream was created, in nanoseconds since the Unix epoch, by its name.
    created_ns: BTreeMap<String, i64>,
}

/// Reads the marker of the namespace whose bucket this is.
pub(super) async fn read(
    connection: &Connection,
    store: &kv::Store,
) -> Result<Option<Marker>, ProvisionError> {
    let entry = store.get(PROVISIONED_KEY).await;
    let Some(entry) = entry.map_err(|error| failed("read the marker `provisioned`", &error))? else {
        return Ok(None);
    };
    encoding::decode(&entry).map(Some).map_err(|error| ProvisionError::Settings {
        namespace: connection.namespace().to_string(),
        reason: format!("the key {PROVISIONED_KEY} of the bucket owners: {error}"),
    })
}

/// Says that all of `layout` exist, as they exist now. Written by everybody who finds no marker: they write the same.
///
/// # Errors
/// [`ProvisionError::Vanished`] when one is gone again meanwhile.
pub(super) async fn write(
    connection: &Connection,
    store: &kv::Store,
    layout: &[Config],
) -> Result<(), ProvisionError> {
    let mut created_ns = BTreeMap::new();
    for config in layout {
        match stream_info(connection, &config.name).await? {
            Some(info) => created_ns.insert(config.name.clone(), created(&info)),
            None => return Err(vanished(connection, &config.name)),
        };
    }
    let marker = encoding::encode(&Marker { v: VERSION, created_ns });
    let written = store.put(PROVISIONED_KEY, marker.into()).await;
    written.map(|_| ()).map_err(|error| failed("write the marker `provisioned`", &error))
}

impl Marker {
    /// Checks that a stream is there and is the one that was there.
    pub(super) fn check(
        &self,
        connection: &Connection,
        name: &str,
        found: Option<&Info>,
    ) -> Result<(), ProvisionError> {
        // A stream of a newer version than the one that wrote the marker is yet to be created.
        let Some(before) = self.created_ns.get(name) else { return Ok(()) };
        match found {
            None => Err(vanished(connection, name)),
            Some(info) if created(info).abs_diff(*before) > SAME_NS => Err(ProvisionError::MadeAnew {
                stream: name.to_owned(),
                namespace: connection.namespace().to_string(),
            }),
            Some(_) => Ok(()),
        }
    }
}

fn created(info: &Info) -> i64 {
    i64::try_from(info.created.unix_timestamp_nanos()).unwrap_or(i64::MAX)
}

pub(super) fn vanished(connection: &Connection, stream: &str) -> ProvisionError {
    ProvisionError::Vanished { stream: stream.to_owned(), namespace: connection.namespace().to_string() }
}

fn failed(what: &str, error: &impl std::fmt::Display) -> ProvisionError {
    ProvisionError::JetStream { what: what.into(), source: JetStreamError::Other(error.to_string()) }
}
