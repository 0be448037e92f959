//! The `state` bucket: the summary of every workflow id's latest run, for lists and waiting clients. What
//! a run is, its history says; this is what is quick to read.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use stepwell_connection::{Connection, JetStreamError, leader};
use stepwell_shared::encoding::decode;
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::subject::{Bucket, state_key};
use stepwell_shared::summary::RunSummary;

use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy, pull::OrderedConfig};

/// The summary of a workflow id, if it has one.
pub(crate) async fn get(
    connection: &Connection,
    id: &WorkflowId,
) -> Result<Option<RunSummary>, JetStreamError> {
    let bucket = connection.bucket(Bucket::State).await?;
    let value = bucket.get(state_key(id)).await.map_err(|error| JetStreamError::Other(error.to_string()))?;
    Ok(value.and_then(|value| decode(&value).ok()))
}

/// What the bucket holds, compared with a summary that is to be written.
pub(crate) enum Standing {
    /// Something at least as new.
    AsNew,
    /// Something older, or nothing.
    Older {
        /// What the write must expect to replace.
        revision: u64,
    },
}

/// Compares what the bucket holds with `summary`.
pub(crate) async fn standing(
    connection: &Connection,
    summary: &RunSummary,
) -> Result<Standing, JetStreamError> {
    let bucket = connection.bucket(Bucket::State).await?;
    let entry = bucket.entry(state_key(&summary.workflow_id)).await;
    let entry = entry.map_err(|error| JetStreamError::Other(error.to_string()))?;
    let revision = entry.as_ref().map_or(0, |entry| entry.revision);
    let stored = entry.and_then(|entry| decode::<RunSummary>(&entry.value).ok());
    let as_new = stored.is_some_and(|stored| {
        if stored.run_id == summary.run_id {
            stored.history_length >= summary.history_length
        } else {
            stored.started_at_ms > summary.started_at_ms
        }
    });
    Ok(if as_new { Standing::AsNew } else { Standing::Older { revision } })
}

/// How long a reader of a bucket waits for what the leader has and it has not been given yet.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How fast a bucket is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as it goes: somebody waits for it.
    Urgent,
    /// With pauses, so that it takes no more than one part in [`UNHURRIED`] of this process's time, and of the
    /// server's for it: a million entries are tens of seconds of work, before which wakes and events would stand.
    Unhurried,
}

/// See [`Pace::Unhurried`].
const UNHURRIED: u32 = 4;

/// Entries between two pauses: few enough that nobody notices how long they take.
const UNHURRIED_BATCH: usize = 256;

/// The longest pause, however long reading took: whoever does not ask for messages for long is taken for gone.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Calls `visit` with every value of a bucket whose key matches `keys`. Nothing that was acknowledged before is
/// missing, whichever replica answers.
pub(crate) async fn for_each(
    connection: &Connection,
    bucket: Bucket,
    keys: &str,
    pace: Pace,
    mut visit: impl FnMut(&str, &[u8]),
) -> Result<(), JetStreamError> {
    let other = |error: String| JetStreamError::Other(error);
    let name = bucket.name(connection.namespace());
    let prefix = format!("$KV.{name}.");
    let (stream_name, subject) = (format!("KV_{name}"), format!("{prefix}{keys}"));
    let mut last = leader::last_sequence(connection, &stream_name, &subject).await?;
    if last == 0 {
        return Ok(());
    }
    let stream = connection.jetstream().get_stream_no_info(&stream_name).await;
    let stream = stream.map_err(|error| other(error.to_string()))?;
    let config = OrderedConfig {
        deliver_policy: DeliverPolicy::All,
        replay_policy: ReplayPolicy::Instant,
        filter_subject: subject.clone(),
        ..OrderedConfig::default()
    };
    let consumer = stream.create_consumer(config).await.map_err(|error| other(error.to_string()))?;
    let mut messages = consumer.messages().await.map_err(|error| other(error.to_string()))?;
    let mut sequence = 0;
    let (mut since_pause, mut worked_since) = (0, Instant::now());
    while sequence < last {
        if pace == Pace::Unhurried && since_pause == UNHURRIED_BATCH {
            tokio::time::sleep(LONGEST_PAUSE.min(worked_since.elapsed() * (UNHURRIED - 1))).await;
            (since_pause, worked_since) = (0, Instant::now());
        }
        since_pause += 1;
        let message = match tokio::time::timeout(LOOK_AGAIN, messages.next()).await {
            Ok(Some(message)) => message.map_err(|error| other(error.to_string()))?,
            Ok(None) => return Err(other("the consumer ended".into())),
            Err(_) => {
                // The last one may have been a mark that has expired.
                last = leader::last_sequence(connection, &stream_name, &subject).await?;
                continue;
            }
        };
        sequence = message.info().map_err(|error| other(error.to_string()))?.stream_sequence;
        let removed = message.headers.as_ref().is_some_and(|headers| headers.get("KV-Operation").is_some());
        if let Some(key) = message.subject.strip_prefix(prefix.as_str())
            && !removed
        {
            visit(key, &message.payload);
        }
    }
    Ok(())
}
