//! How far each partition of EVENTS has been dealt with, in the `owners` bucket, so that a successor begins
//! there; and trimming of what nobody needs any more. A checkpoint may be too low, never too high.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use stepwell_connection::{Connection, JetStreamError, PublishError};
use stepwell_shared::encoding::{VERSION, decode, encode};
use stepwell_shared::subject::{Bucket, Stream};

use crate::shell::Shell;

/// How often checkpoints are written. After a crash so much is read again, which changes nothing.
const WRITE_EVERY: Duration = Duration::from_millis(500);

/// How often EVENTS is trimmed. What is done stays for at least so long: workers look there for reports on
/// tasks that a server which was killed gives out again.
const TRIM_EVERY: Duration = Duration::from_secs(30);

/// How many events that are done stay readable, for people who look for them.
const KEEP: u64 = 10_000;

#[derive(Serialize, Deserialize)]
struct Checkpoint {
    v: u32,
    sequence: u64,
}

/// The checkpoints of all partitions; 0 where there is none.
pub(crate) async fn read(connection: &Connection, partitions: u32) -> Result<Vec<u64>, JetStreamError> {
    let bucket = connection.bucket(Bucket::Owners).await?;
    let mut checkpoints = Vec::with_capacity(partitions as usize);
    for partition in 0..partitions {
        let value = bucket.get(key(partition)).await;
        let value = value.map_err(|error| JetStreamError::Other(error.to_string()))?;
        let checkpoint = value.and_then(|value| decode::<Checkpoint>(&value).ok());
        checkpoints.push(checkpoint.map_or(0, |checkpoint| checkpoint.sequence));
    }
    Ok(checkpoints)
}

/// Writes checkpoints as they move and trims EVENTS, until it is aborted.
pub(crate) async fn keep(shell: Arc<Shell>, mut written: Vec<u64>) {
    let (mut trimmed, mut done_then) = (Instant::now(), 0);
    loop {
        tokio::time::sleep(WRITE_EVERY).await;
        shell.metrics.in_flight.set(i64::try_from(shell.floors.in_flight()).unwrap_or(i64::MAX));
        if let Err(error) = write(&shell, &mut written).await {
            tracing::warn!(%error, "checkpoints could not be written; trying again");
        } else if trimmed.elapsed() > TRIM_EVERY {
            trimmed = Instant::now();
            trim(&shell, u64::saturating_sub(done_then, KEEP)).await;
            done_then = written.iter().copied().min().unwrap_or(0);
        }
    }
}

/// Writes the checkpoints that differ from those written last. While it is not known whether everything that
/// predecessors wanted was done they stay where they are.
pub(crate) async fn write(shell: &Shell, written: &mut Vec<u64>) -> Result<(), PublishError> {
    if !shell.caught_up.load(Ordering::Acquire) || !shell.recovery.is_over() || !shell.validity.holds() {
        return Ok(());
    }
    written.resize(shell.partitions as usize, 0);
    let mut pending = Vec::new();
    for partition in 0..shell.partitions {
        let sequence = shell.floors.floor(partition);
        let subject = Bucket::Owners.subject(shell.connection.namespace(), &key(partition));
        if written[partition as usize] != sequence {
            let body = encode(&Checkpoint { v: VERSION, sequence });
            let ack = shell.connection.publisher().publish(subject, None, body.into()).await?;
            pending.push((partition, sequence, ack));
        }
    }
    for (partition, sequence, ack) in pending {
        ack.await?;
        written[partition as usize] = sequence;
    }
    Ok(())
}

async fn trim(shell: &Shell, up_to: u64) {
    if up_to == 0 {
        return;
    }
    let name = Stream::Events.name(shell.connection.namespace());
    let Ok(stream) = shell.connection.jetstream().get_stream_no_info(name).await else { return };
    if let Err(error) = stream.purge().sequence(up_to).await {
        tracing::warn!(%error, "EVENTS could not be trimmed; trying again later");
    }
}

fn key(partition: u32) -> String {
    format!("checkpoint.{partition}")
}
