//! What is done now and then for the partitions that this process owns: forgetting runs whose retention is
//! over, workers that are gone and tasks that nobody asks for any more, counting, putting summaries right.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::jetstream::kv;
use futures_util::future;
use futures_util::stream::{self, StreamExt as _};
use stepwell_connection::clock::{self, now_ms};
use stepwell_shared::encoding::decode;
use stepwell_shared::history::StallKind;
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::subject::{self, Bucket, Stream};
use stepwell_shared::summary::{RunSummary, Status};

use crate::event_log;
use crate::ground::Ground;
use crate::open_runs::OpenRuns;
use crate::rhythm::{Read, Rhythm};
use crate::shell::Shell;
use crate::state_bucket::{self, Pace};
use crate::trimming::Trimming;

/// How often workers are looked over and sleeping runs are counted.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How long the mark of a removed summary stays: long enough for whoever watches the bucket.
const MARKER_TTL: Duration = Duration::from_secs(60);

/// Most runs forgotten in one pass: their ids are kept in memory. When there are more, the next pass follows as soon as
/// reading has had its share of the time.
const MAX_FORGOTTEN: usize = 50_000;

/// How many are forgotten at once; each takes some round trips.
const FORGOTTEN_AT_ONCE: usize = 16;

/// Does it until it is aborted.
pub(crate) async fn keep_tidy(ground: Ground) {
    // Reading `state` may take minutes, for which nothing else is to wait.
    tokio::join!(count_and_trim(&ground), look_now_and_then(&ground));
}

async fn count_and_trim(ground: &Ground) {
    let mut trimming = Trimming::new();
    loop {
        count(ground);
        trimming.trim(ground).await;
        tokio::time::sleep(SWEEP_EVERY).await;
    }
}

async fn look_now_and_then(ground: &Ground) {
    let mut open = OpenRuns::default();
    let mut rhythm = Rhythm::new(ground.options.sweep_after);
    loop {
        if rhythm.due(&ground.owned.partitions(), Instant::now()) {
            let began = Instant::now();
            let read = look_through(ground, &mut open).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "the state bucket could not be read through; trying again later");
                Read { took: began.elapsed(), more: true }
            });
            rhythm.read(&read, Instant::now());
            for shell in ground.owned.all() {
                let forgotten = shell.recovery.forget_tasks(&shell.connection, || shell.floor.done_to());
                if let Err(error) = forgotten.await {
                    tracing::debug!(%error, "the streams could not be asked; what was on TASKS is kept");
                }
            }
        }
        tokio::time::sleep(SWEEP_EVERY).await;
    }
}

/// Writes the gauges. A process that owns nothing shows nothing of what it knew.
fn count(ground: &Ground) {
    let (metrics, owned) = (&ground.metrics, ground.owned.all());
    let sum = |of: fn(&Shell) -> usize| {
        i64::try_from(owned.iter().map(|shell| of(shell)).sum::<usize>()).unwrap_or(i64::MAX)
    };
    metrics.clock_ahead_ms.set(clock::server_ahead_ms());
    metrics.partitions_owned.set(i64::try_from(owned.len()).unwrap_or(i64::MAX));
    metrics.timers_pending.set(sum(|shell| shell.timers.len()));
    metrics.in_flight.set(sum(|shell| shell.floor.in_flight()));
    metrics.cached_runs.set(sum(|shell| shell.cached.load(Ordering::Relaxed)));
    let backlog =
        |shell: &Shell| usize::try_from(shell.backlog.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
    let shared = i64::try_from(ground.reader.backlog()).unwrap_or(i64::MAX);
    metrics.backlog.set(sum(backlog).saturating_add(shared));
    ground.workers.sweep();
    metrics.workers.reset();
    metrics.worker_slots.reset();
    // The owner of the first partition counts what is the same for all.
    if ground.owned.get(0).is_some() {
        ground.workers.count(metrics);
    }
    if owned.is_empty() {
        metrics.stuck_runs.reset();
    }
}

async fn look_through(
    ground: &Ground,
    open: &mut OpenRuns,
) -> Result<Read, stepwell_connection::JetStreamError> {
    let began = Instant::now();
    let keep_since =
        now_ms().saturating_sub(u64::try_from(ground.options.retention.as_millis()).unwrap_or(u64::MAX));
    let mut over = Vec::new();
    let mut stuck: BTreeMap<&'static str, i64> = BTreeMap::new();
    let partitions = ground.settings.partitions;
    state_bucket::for_each(&ground.connection, Bucket::State, ">", Pace::Unhurried, |_, value| {
        let Ok(summary) = decode::<RunSummary>(value) else { return };
        let Some(shell) = ground.owned.of(&summary.workflow_id, partitions) else { return };
        open.see(&shell, &summary);
        if let Some(reason) = stuck_reason(&summary) {
            *stuck.entry(reason).or_default() += 1;
        }
        let closed = summary.closed_at_ms.filter(|_| summary.status.closed());
        if closed.is_some_and(|closed| closed < keep_since) && over.len() < MAX_FORGOTTEN {
            over.push(summary.workflow_id);
        }
    })
    .await?;
    let (took, full) = (began.elapsed(), over.len() == MAX_FORGOTTEN);
    ground.metrics.stuck_runs.reset();
    for (reason, runs) in stuck {
        ground.metrics.stuck_runs.with_label_values(&[reason]).set(runs);
    }
    let forgotten = forget_all(ground, over).await;
    open.look_at_chosen(ground).await;
    Ok(Read { took, more: full && forgotten })
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

/// Removes closed runs. False when some could not be.
async fn forget_all(ground: &Ground, over: Vec<WorkflowId>) -> bool {
    let forget = |id: WorkflowId| async move { forget(ground, &id).await.err().map(|error| (id, error)) };
    let failed = stream::iter(over).map(forget).buffer_unordered(FORGOTTEN_AT_ONCE).filter_map(future::ready);
    let failed: Vec<_> = failed.collect().await;
    if let Some((id, error)) = failed.first() {
        tracing::warn!(workflow_id = %id, error, runs = failed.len(), "closed runs could not be removed; trying again later");
    }
    failed.is_empty()
}

/// Removes a closed run, its history first: a summary without a history is still a truthful summary. Takes
/// away nothing of a run that was started since it was looked at.
async fn forget(ground: &Ground, id: &WorkflowId) -> Result<(), String> {
    let (connection, partitions) = (&ground.connection, ground.settings.partitions);
    let bucket = connection.bucket(Bucket::State).await.map_err(|error| error.to_string())?;
    let key = subject::state_key(id);
    let Some(entry) = bucket.entry(key.as_str()).await.map_err(|error| error.to_string())? else {
        return Ok(());
    };
    let Ok(summary) = decode::<RunSummary>(&entry.value) else { return Ok(()) };
    let loaded = event_log::load(connection, partitions, id, 0).await.map_err(|error| error.to_string())?;
    let another = loaded.workflow.run_id().is_some_and(|run_id| *run_id != summary.run_id);
    if another || !summary.status.closed() {
        return Ok(());
    }
    let shard = ground.settings.shards.of_partition(subject::partition(id, partitions));
    let name = Stream::History(shard).name(connection.namespace());
    let stream = connection.jetstream().get_stream_no_info(name).await.map_err(|error| error.to_string())?;
    let history = subject::history(connection.namespace(), id, partitions);
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
