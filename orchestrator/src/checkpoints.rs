//! How far a partition's events have been dealt with, in the `owners` bucket, so that a successor begins
//! there. A checkpoint may be too low, never too high.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use stepwell_connection::crash::{self, Boundary};
use stepwell_connection::page::read_last_of_each;
use stepwell_connection::{Connection, JetStreamError, PublishError, leader};
use stepwell_shared::encoding::{VERSION, decode, encode};
use stepwell_shared::subject::{Bucket, Stream, partition_events};

use crate::shell::Shell;

/// How often checkpoints are written. After a crash so much is read again, which changes nothing.
const WRITE_EVERY: Duration = Duration::from_millis(500);

/// How often it is looked whether nothing came for the partition while the stream went on.
const PASS_EVERY: Duration = Duration::from_secs(10);

/// How far everything of a partition is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    v: u32,
    /// Every event of the partition up to this sequence of EVENTS is dealt with.
    pub(crate) sequence: u64,
    /// The last sequence of HISTORY that the partition had written: it must not end before it.
    #[serde(default)]
    pub(crate) history: u64,
}

/// The checkpoint of a partition, as the bucket's leader has it; zeros where there is none.
pub(crate) async fn read(connection: &Connection, partition: u32) -> Result<Checkpoint, JetStreamError> {
    let subject = Bucket::Owners.subject(connection.namespace(), &key(partition));
    let stream = Bucket::Owners.stream_name(connection.namespace());
    let stored = leader::next_message(connection, &stream, &subject, 1).await?;
    Ok(stored.and_then(|stored| decode(&stored.payload).ok()).unwrap_or_default())
}

/// The checkpoints of all partitions that have one. They may be lower than what is stored now.
pub(crate) async fn read_all(connection: &Connection) -> Result<BTreeMap<u32, Checkpoint>, JetStreamError> {
    let subject = |key: &str| Bucket::Owners.subject(connection.namespace(), key);
    let (all, prefix) = (subject("checkpoint.*"), subject("checkpoint."));
    let stream = Bucket::Owners.stream_name(connection.namespace());
    let mut checkpoints = BTreeMap::new();
    for message in read_last_of_each(connection, &stream, &[all]).await? {
        let partition = message.subject.strip_prefix(&prefix).and_then(|text| text.parse().ok());
        if let (Some(partition), Ok(checkpoint)) = (partition, decode(&message.body)) {
            checkpoints.insert(partition, checkpoint);
        }
    }
    Ok(checkpoints)
}

/// Writes the partition's checkpoint as it moves, until it is aborted.
pub(crate) async fn keep(shell: Arc<Shell>, mut written: Checkpoint) {
    let mut passed = Instant::now();
    loop {
        tokio::time::sleep(WRITE_EVERY).await;
        if passed.elapsed() > PASS_EVERY {
            passed = Instant::now();
            if let Err(error) = pass_what_is_not_ours(&shell).await {
                tracing::debug!(%error, "EVENTS could not be asked how far it goes");
            }
        }
        if let Err(error) = write(&shell, &mut written).await {
            tracing::warn!(%error, "a checkpoint could not be written; trying again");
        }
    }
}

/// Writes the checkpoint if it differs from the one that was written last. While it is not known whether
/// everything that predecessors wanted was done it stays where it is.
pub(crate) async fn write(shell: &Shell, written: &mut Checkpoint) -> Result<(), PublishError> {
    if !shell.caught_up.load(Ordering::Acquire) || !shell.recovery.is_over() || !shell.validity.holds() {
        return Ok(());
    }
    let history = shell.own.last().max(written.history);
    let checkpoint = Checkpoint { v: VERSION, sequence: shell.floor.done_to(), history };
    if checkpoint != *written {
        let subject = Bucket::Owners.subject(shell.connection.namespace(), &key(shell.partition));
        let body = encode(&checkpoint).into();
        crash::at(Boundary::BeforeCheckpoint);
        shell.connection.publisher().publish(subject, None, body).await?.await?;
        crash::at(Boundary::CheckpointStored);
        *written = checkpoint;
    }
    Ok(())
}

/// Lets the floor of a partition for which nothing comes go on with the stream, which could not be trimmed
/// otherwise.
async fn pass_what_is_not_ours(shell: &Shell) -> Result<(), JetStreamError> {
    let namespace = shell.connection.namespace();
    let name = Stream::Events.name(namespace);
    // In this order: what comes for the partition in between is beyond `end`.
    let end = leader::state(&shell.connection, &name).await?.last_sequence;
    let ours = leader::last_sequence(&shell.connection, &name, &partition_events(namespace, shell.partition))
        .await?;
    if ours <= shell.floor.read_to() {
        shell.floor.pass(end);
    }
    Ok(())
}

fn key(partition: u32) -> String {
    format!("checkpoint.{partition}")
}
