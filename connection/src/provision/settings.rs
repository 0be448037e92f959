//! What is decided once for a namespace, kept in its `owners` bucket.

use async_nats::jetstream::kv;
use serde::{Deserialize, Serialize};
use stepwell_shared::encoding::{self, VERSION};
use stepwell_shared::limits::DEFAULT_PARTITIONS;
use stepwell_shared::shard::Shards;
use stepwell_shared::subject::Bucket;

use super::{ProvisionError, ProvisionOptions, stream_info};
use crate::connection::{Connection, JetStreamError};

/// Most partitions that a namespace may have: each costs its owner a lease and a checkpoint.
pub const MAX_PARTITIONS: u32 = 256;

/// The key in the `owners` bucket.
const KEY: &str = "settings";

/// What is decided once for a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Format version.
    pub v: u32,
    /// Into how many partitions workflow ids are spread.
    pub partitions: u32,
    /// Over how many streams tasks and histories are spread.
    #[serde(default, skip_serializing_if = "is_one")]
    pub shards: Shards,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_one(shards: &Shards) -> bool {
    *shards == Shards::ONE
}

/// Reads the settings; `None` when the namespace does not exist yet.
pub(super) async fn read(connection: &Connection) -> Result<Option<Settings>, ProvisionError> {
    let name = Bucket::Owners.stream_name(connection.namespace());
    if stream_info(connection, &name).await?.is_none() {
        return Ok(None);
    }
    read_from(connection, &store(connection).await?).await
}

/// Writes the settings if nobody did before, and returns those that hold.
pub(super) async fn agree(
    connection: &Connection,
    wanted: &ProvisionOptions,
) -> Result<Settings, ProvisionError> {
    let store = store(connection).await?;
    if let Some(found) = read_from(connection, &store).await? {
        return check(connection, found, wanted);
    }
    let settings = chosen(wanted)?;
    match store.create(KEY, encoding::encode(&settings).into()).await {
        Ok(_) => Ok(settings),
        // Somebody else was faster, or the answer was lost: what is there holds.
        Err(error) => match read_from(connection, &store).await? {
            Some(found) => check(connection, found, wanted),
            None => Err(failed("write the settings", &error)),
        },
    }
}

/// The settings of a new namespace.
pub(super) fn chosen(wanted: &ProvisionOptions) -> Result<Settings, ProvisionError> {
    let partitions = wanted.partitions.unwrap_or(DEFAULT_PARTITIONS);
    if !(1..=MAX_PARTITIONS).contains(&partitions) {
        return Err(ProvisionError::PartitionCount(partitions));
    }
    let shards = wanted.shards.unwrap_or(1);
    match Shards::try_from(shards) {
        Ok(valid) if shards <= partitions => Ok(Settings { v: VERSION, partitions, shards: valid }),
        Ok(_) | Err(_) => Err(ProvisionError::ShardCount { shards, partitions }),
    }
}

pub(super) async fn store(connection: &Connection) -> Result<kv::Store, ProvisionError> {
    let store = connection.bucket(Bucket::Owners).await;
    store.map_err(|source| ProvisionError::JetStream { what: "open the bucket owners".into(), source })
}

async fn read_from(connection: &Connection, store: &kv::Store) -> Result<Option<Settings>, ProvisionError> {
    let entry = store.get(KEY).await.map_err(|error| failed("read the settings", &error))?;
    let Some(entry) = entry else { return Ok(None) };
    let unreadable =
        |reason: String| ProvisionError::Settings { namespace: connection.namespace().to_string(), reason };
    let settings: Settings = encoding::decode(&entry).map_err(|error| unreadable(error.to_string()))?;
    if !(1..=MAX_PARTITIONS).contains(&settings.partitions) {
        return Err(unreadable(format!("they name {} partitions", settings.partitions)));
    }
    if settings.shards.count() > settings.partitions {
        let Settings { partitions, shards, .. } = settings;
        return Err(unreadable(format!("they name {} shards of {partitions} partitions", shards.count())));
    }
    Ok(Some(settings))
}

fn check(
    connection: &Connection,
    found: Settings,
    wanted: &ProvisionOptions,
) -> Result<Settings, ProvisionError> {
    let fixed = [
        ("partitions", found.partitions, wanted.partitions),
        ("shards", found.shards.count(), wanted.shards),
    ];
    for (what, found, wanted) in fixed {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
            let namespace = connection.namespace().to_string();
            return Err(ProvisionError::Fixed { namespace, what, found, wanted });
        }
    }
    Ok(found)
}

fn failed(what: &str, error: &impl std::fmt::Display) -> ProvisionError {
    ProvisionError::JetStream { what: what.into(), source: JetStreamError::Other(error.to_string()) }
}
