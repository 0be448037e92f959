//! What is done now and then: forgetting runs whose retention is over, workers that are gone and tasks that
//! nobody asks for any more, counting runs that cannot go on, putting summaries right.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::kv;
use stepwell_connection::clock::now_ms;
use stepwell_shared::encoding::decode;
use stepwell_shared::history::StallKind;
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::subject::{self, Bucket, Stream};
use stepwell_shared::summary::{RunSummary, Status};

use crate::event_log;
use crate::shell::Shell;
use crate::state_bucket;
use crate::summaries::Comparison;

/// How often workers are looked over and sleeping runs are counted.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How often the `state` bucket is read through. It is read whole, so not often.
const READ_EVERY: Duration = Duration::from_secs(60);

/// How long the mark of a removed summary stays: long enough for whoever watches the bucket.
const MARKER_TTL: Duration = Duration::from_secs(60);

/// Most runs forgotten in one pass.
const MAX_FORGOTTEN: usize = 10_000;

/// Does it until it is aborted.
pub(crate) async fn keep_tidy(shell: Arc<Shell>) {
    let mut read: Option<Instant> = None;
    let mut comparison = Comparison::default();
    loop {
        shell.workers.sweep(&shell.metrics);
        shell.metrics.timers_pending.set(i64::try_from(shell.timers.len()).unwrap_or(i64::MAX));
        if read.is_none_or(|read| read.elapsed() > READ_EVERY) {
            read = Some(Instant::now());
            if let Err(error) = look_through(&shell, &mut comparison).await {
                tracing::warn!(%error, "the state bucket could not be read through; trying again later");
            }
            let done = || (0..shell.partitions).map(|it| shell.floors.floor(it)).min().unwrap_or(0);
            if let Err(error) = shell.recovery.forget_tasks(&shell.connection, done).await {
                tracing::debug!(%error, "the streams could not be asked; what was on TASKS is kept");
            }
        }
        tokio::time::sleep(SWEEP_EVERY).await;
    }
}

async fn look_through(
    shell: &Shell,
    comparison: &mut Comparison,
) -> Result<(), stepwell_connection::JetStreamError> {
    let keep_since =
        now_ms().saturating_sub(u64::try_from(shell.options.retention.as_millis()).unwrap_or(u64::MAX));
    let mut over = Vec::new();
    let mut stuck: BTreeMap<&'static str, i64> = BTreeMap::new();
    state_bucket::for_each(&shell.connection, Bucket::State, |_, value| {
        let Ok(summary) = decode::<RunSummary>(value) else { return };
        comparison.see(shell, &summary);
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
    comparison.put_right(shell).await;
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

/// Removes a closed run, its history first: a summary without a history is still a truthful summary. Takes
/// away nothing of a run that was started since it was looked at.
async fn forget(shell: &Shell, id: &WorkflowId) {
    if let Err(error) = try_forget(shell, id).await {
        tracing::warn!(workflow_id = %id, error, "a closed run could not be removed; trying again later");
    }
}

async fn try_forget(shell: &Shell, id: &WorkflowId) -> Result<(), String> {
    let connection = &shell.connection;
    let bucket = connection.bucket(Bucket::State).await.map_err(|error| error.to_string())?;
    let key = subject::state_key(id);
    let Some(entry) = bucket.entry(key.as_str()).await.map_err(|error| error.to_string())? else {
        return Ok(());
    };
    let Ok(summary) = decode::<RunSummary>(&entry.value) else { return Ok(()) };
    let loaded =
        event_log::load(connection, shell.partitions, id, 0).await.map_err(|error| error.to_string())?;
    let another = loaded.workflow.run_id().is_some_and(|run_id| *run_id != summary.run_id);
    if another || !summary.status.closed() {
        return Ok(());
    }
    let name = Stream::History.name(connection.namespace());
    let stream = connection.jetstream().get_stream_no_info(name).await.map_err(|error| error.to_string())?;
    let history = subject::history(connection.namespace(), id, shell.partitions);
    // Older servers take "below 1" for "all", which a run that starts just now would not survive.
    if loaded.last_sequence > 0 {
        let purge = stream.purge().filter(history).sequence(loaded.last_sequence + 1);
        purge.await.map_err(|error| error.to_string())?;
    }
    match bucket.purge_expect_revision_with_ttl(key, entry.revision, MARKER_TTL).await {
        Ok(()) => Ok(()),
        // Another run's summary is there now.
        Err(error) if error.kind() == kv::UpdateErrorKind::WrongLastRevision => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}
