//! What is done now and then: forgetting runs whose retention is over, forgetting workers that are gone,
//! counting runs that cannot go on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stepwell_connection::clock::now_ms;
use stepwell_shared::encoding::decode;
use stepwell_shared::history::StallKind;
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::subject::{self, Bucket, Stream};
use stepwell_shared::summary::{RunSummary, Status};

use crate::shell::Shell;
use crate::state_bucket;

/// How often workers are looked over.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How often the `state` bucket is read through. It is read whole, so not often.
const READ_EVERY: Duration = Duration::from_secs(60);

/// Most runs forgotten in one pass.
const MAX_FORGOTTEN: usize = 10_000;

/// Does it until it is aborted.
pub(crate) async fn keep_tidy(shell: Arc<Shell>) {
    let mut read: Option<Instant> = None;
    loop {
        shell.workers.sweep(&shell.metrics);
        if read.is_none_or(|read| read.elapsed() > READ_EVERY) {
            read = Some(Instant::now());
            if let Err(error) = look_through(&shell).await {
                tracing::warn!(%error, "the state bucket could not be read through; trying again later");
            }
        }
        tokio::time::sleep(SWEEP_EVERY).await;
    }
}

async fn look_through(shell: &Shell) -> Result<(), stepwell_connection::JetStreamError> {
    let keep_since =
        now_ms().saturating_sub(u64::try_from(shell.options.retention.as_millis()).unwrap_or(u64::MAX));
    let mut over = Vec::new();
    let mut stuck: BTreeMap<&'static str, i64> = BTreeMap::new();
    state_bucket::for_each(&shell.connection, Bucket::State, |_, value| {
        let Ok(summary) = decode::<RunSummary>(value) else { return };
        if let Some(reason) = stuck_reason(&summary) {
            *stuck.entry(reason).or_default() += 1;
        }
        let closed = summary.closed_at_ms.filter(|_| summary.status.closed());
        if closed.is_some_and(|closed| closed < keep_since) && over.len() < MAX_FORGOTTEN {
            over.push(summary.workflow_id);
        }
    })
    .await?;
    shell.metrics.stuck_runs.reset();
    for (reason, runs) in stuck {
        shell.metrics.stuck_runs.with_label_values(&[reason]).set(runs);
    }
    for id in over {
        forget(shell, &id).await;
    }
    Ok(())
}

/// Why a run cannot go on, if it cannot.
pub(crate) fn stuck_reason(summary: &RunSummary) -> Option<&'static str> {
    match (summary.status, &summary.stall) {
        (Status::Stuck, _) => Some("compensation_failed"),
        (_, Some(stall)) => Some(StallKind::name(stall.kind)),
        (
            Status::Running
            | Status::Compensating
            | Status::Completed
            | Status::Failed
            | Status::Cancelled
            | Status::Terminated
            | Status::TimedOut
            | Status::Compensated,
            None,
        ) => None,
    }
}

/// Removes a closed run, its history first: a summary without a history is still a truthful summary.
async fn forget(shell: &Shell, id: &WorkflowId) {
    let connection = &shell.connection;
    // It may have been started again since the bucket was read.
    let again = state_bucket::get(connection, id).await;
    if !matches!(&again, Ok(Some(summary)) if summary.status.closed()) {
        return;
    }
    let history = subject::history(connection.namespace(), id, shell.partitions);
    let stream =
        connection.jetstream().get_stream_no_info(Stream::History.name(connection.namespace())).await;
    let Ok(stream) = stream else { return };
    if let Err(error) = stream.purge().filter(history).await {
        return tracing::warn!(workflow_id = %id, %error, "a history could not be removed; trying again later");
    }
    let Ok(bucket) = connection.bucket(Bucket::State).await else { return };
    if let Err(error) = bucket.purge(subject::state_key(id)).await {
        tracing::warn!(workflow_id = %id, %error, "a summary could not be removed; trying again later");
    }
}
