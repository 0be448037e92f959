//! Who is there and who has which partition, read from the `owners` bucket for somebody who watches: a person,
//! or a backup. It asks for each key by its name, so that it gets along without the permission to read the whole
//! bucket, which holds a secret. It never writes and judges nothing.

use std::collections::BTreeMap;

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{DirectGetErrorKind, LastRawMessageErrorKind, Stream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use stepwell_shared::encoding::decode;
use stepwell_shared::ids::MemberId;
use stepwell_shared::ownership::{Checkpoint, Hold, Lease, Member};
use stepwell_shared::subject::{Bucket, HOLD_KEY, checkpoint_key, lease_key};

use crate::connection::{Connection, JetStreamError};

/// How many keys are asked for at once.
const AT_ONCE: usize = 32;

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The bucket's leader: nothing that was acknowledged is missing.
    Leader,
    /// Whichever replica answers first. It may be behind.
    Nearest,
}

/// A value of the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen<T> {
    /// Its revision: the sequence number with which it was written.
    pub revision: u64,
    /// The value; `None` when it cannot be read here.
    pub value: Option<T>,
}

/// What was seen. The keys were read one after the other, not all at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Owners {
    /// The orchestrators that have a key, dead ones included.
    pub members: BTreeMap<MemberId, Seen<Member>>,
    /// The leases by partition. A partition that nobody ever had has none.
    pub leases: BTreeMap<u32, Seen<Lease>>,
    /// The request that nobody works.
    pub hold: Option<Seen<Hold>>,
}

/// Reads who is there and who has what of `partitions` partitions.
///
/// # Errors
/// [`JetStreamError`] when JetStream does not answer, or not all of it may be read.
pub async fn read(
    connection: &Connection,
    partitions: u32,
    source: Source,
) -> Result<Owners, JetStreamError> {
    let reader = Reader { connection, stream: stream(connection).await?, source };
    let mut owners = Owners { hold: reader.get(HOLD_KEY).await?, ..Owners::default() };
    for id in members(connection).await? {
        if let Some(seen) = reader.get(&format!("member.{id}")).await? {
            owners.members.insert(id, seen);
        }
    }
    owners.leases = reader.of_partitions(partitions, lease_key).await?;
    Ok(owners)
}

/// The checkpoints by partition.
///
/// # Errors
/// As [`read`].
pub async fn checkpoints(
    connection: &Connection,
    partitions: u32,
) -> Result<BTreeMap<u32, Checkpoint>, JetStreamError> {
    let reader = Reader { connection, stream: stream(connection).await?, source: Source::Nearest };
    let seen = reader.of_partitions::<Checkpoint>(partitions, checkpoint_key).await?;
    Ok(seen.into_iter().filter_map(|(partition, seen)| Some((partition, seen.value?))).collect())
}

struct Reader<'a> {
    connection: &'a Connection,
    stream: Stream<()>,
    source: Source,
}

impl Reader<'_> {
    async fn of_partitions<T: DeserializeOwned>(
        &self,
        partitions: u32,
        key: fn(u32) -> String,
    ) -> Result<BTreeMap<u32, Seen<T>>, JetStreamError> {
        let each = futures_util::stream::iter((0..partitions).map(|partition| async move {
            Ok::<_, JetStreamError>((partition, self.get::<T>(&key(partition)).await?))
        }));
        let all: Vec<_> = each.buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(all.into_iter().filter_map(|(partition, seen)| Some((partition, seen?))).collect())
    }

    async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Seen<T>>, JetStreamError> {
        let subject = Bucket::Owners.subject(self.connection.namespace(), key);
        let Some(message) = self.last(subject).await? else { return Ok(None) };
        let removed = message.headers.get("KV-Operation").is_some();
        Ok((!removed).then(|| Seen { revision: message.sequence, value: decode(&message.payload).ok() }))
    }

    async fn last(&self, subject: String) -> Result<Option<StreamMessage>, JetStreamError> {
        match self.source {
            Source::Leader => match self.stream.get_last_raw_message_by_subject(&subject).await {
                Ok(message) => Ok(Some(message)),
                Err(error) => match error.kind() {
                    LastRawMessageErrorKind::NoMessageFound => Ok(None),
                    LastRawMessageErrorKind::InvalidSubject
                    | LastRawMessageErrorKind::JetStream(_)
                    | LastRawMessageErrorKind::Other => Err(other(&error)),
                },
            },
            Source::Nearest => match self.stream.direct_get_last_for_subject(subject).await {
                Ok(message) => Ok(Some(message)),
                Err(error) => match error.kind() {
                    DirectGetErrorKind::NotFound => Ok(None),
                    DirectGetErrorKind::InvalidSubject
                    | DirectGetErrorKind::TimedOut
                    | DirectGetErrorKind::Request
                    | DirectGetErrorKind::ErrorResponse(_, _)
                    | DirectGetErrorKind::Other => Err(other(&error)),
                },
            },
        }
    }
}

#[derive(Deserialize)]
struct Info {
    state: State,
}

#[derive(Deserialize)]
struct State {
    #[serde(default)]
    subjects: Option<BTreeMap<String, u64>>,
}

/// The names of all members that have a key.
async fn members(connection: &Connection) -> Result<Vec<MemberId>, JetStreamError> {
    let prefix = Bucket::Owners.subject(connection.namespace(), "member.");
    let verb = format!("STREAM.INFO.KV_{}", Bucket::Owners.name(connection.namespace()));
    let info: Info = connection.api(verb, &json!({ "subjects_filter": format!("{prefix}*") })).await?;
    let subjects = info.state.subjects.unwrap_or_default().into_keys();
    Ok(subjects.filter_map(|subject| MemberId::new(subject.strip_prefix(&prefix)?).ok()).collect())
}

async fn stream(connection: &Connection) -> Result<Stream<()>, JetStreamError> {
    let name = Bucket::Owners.stream_name(connection.namespace());
    connection.jetstream().get_stream_no_info(name).await.map_err(|error| other(&error))
}

fn other(error: &dyn std::fmt::Display) -> JetStreamError {
    JetStreamError::Other(error.to_string())
}
