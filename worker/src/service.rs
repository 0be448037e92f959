//! A worker that runs: starts its parts in order, and ends them in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stepwell_connection::HttpAccess;
use stepwell_connection::provision::ACK_WAIT;
use stepwell_connection::{Connection, clock};
use stepwell_shared::ids::{Name, WorkerId};
use stepwell_worker_replay::record_panic_locations;
use tokio::net::TcpListener;
use tokio::sync::{OnceCell, Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::activity_runner::ActivitySide;
use crate::announcer::{self, Announcer};
use crate::closed_runs;
use crate::error::WorkerError;
use crate::keepalive;
use crate::metric_definitions::Metrics;
use crate::metrics_server::{self, Health};
use crate::queue_shards::{self, QueueShards};
use crate::registry::Registry;
use crate::report_packs::{self, ReportPacks};
use crate::run_cache::RunCache;
use crate::running::RunningAttempts;
use crate::slots::Slots;
use crate::worker::Worker;
use crate::workflow_tasks::{WorkflowSide, WorkflowTasks};

/// How long activities that were told to stop because the worker ends may take to clean up.
const GRACE: Duration = Duration::from_secs(2);

/// Longest wait for the reports of activities that were stopped.
const LAST_REPORTS: Duration = Duration::from_secs(10);

/// A worker whose parts are made but do not run.
pub(crate) struct Service {
    connection: Connection,
    workflow_side: Arc<WorkflowSide>,
    activity_side: Arc<ActivitySide>,
    announcer: Announcer,
    health: Health,
    listener: Option<(TcpListener, HttpAccess)>,
    drain_timeout: Duration,
    report_linger: Duration,
}

impl Service {
    /// Checks everything that can be checked before the first task.
    pub(crate) async fn prepare(worker: Worker) -> Result<Self, WorkerError> {
        let queue = Name::new(&worker.queue)
            .map_err(|reason| WorkerError::Queue { queue: worker.queue.clone(), reason })?;
        at_least_one("max_concurrent_activities", worker.max_activities)?;
        at_least_one("max_concurrent_workflow_tasks", worker.max_workflow_tasks)?;
        if worker.workflows.is_empty() && worker.activities.is_empty() {
            return Err(WorkerError::Empty { queue: worker.queue });
        }
        record_panic_locations();
        let metrics = Arc::new(Metrics::new()?);
        let registry = Arc::new(Registry::new(worker.workflows, worker.activities, &metrics)?);
        let listener = match &worker.metrics {
            Some(address) => Some(metrics_server::bind(address, worker.http.clone()).await?),
            None => None,
        };
        let connection = worker.client.connection().clone();
        let id = worker_id();
        let workflow_side = Arc::new(WorkflowSide {
            connection: connection.clone(),
            payloads: worker.client.payloads().clone(),
            queue: queue.clone(),
            worker: id.clone(),
            registry: Arc::clone(&registry),
            metrics: Arc::clone(&metrics),
            cache: RunCache::new(worker.max_cached_workflows),
            concurrent: Arc::new(Semaphore::new(worker.max_workflow_tasks.min(Semaphore::MAX_PERMITS))),
            ending: AtomicBool::new(false),
        });
        let has_activities = !registry.activities().is_empty();
        let slots =
            Slots::new(if has_activities { worker.max_activities } else { 0 }, metrics.slots_used.clone());
        metrics.slots.set(i64::try_from(slots.total()).unwrap_or(i64::MAX));
        let activity_side = Arc::new(ActivitySide {
            connection: connection.clone(),
            payloads: worker.client.payloads().clone(),
            queue: queue.clone(),
            worker: id.clone(),
            registry: Arc::clone(&registry),
            metrics: Arc::clone(&metrics),
            slots,
            running: RunningAttempts::default(),
            shards: QueueShards::default(),
            reports: ReportPacks::default(),
            give_up: CancellationToken::new(),
            heartbeats: OnceCell::new(),
            ack_wait: watch::Sender::new(ACK_WAIT),
        });
        let ready = Arc::new(AtomicBool::new(false));
        let health = Health { metrics, connection: connection.clone(), ready };
        let host = announcer::host();
        let announcer = Announcer { connection: connection.clone(), worker: id, queue, registry, host };
        let (drain_timeout, report_linger) = (worker.drain_timeout, worker.report_linger);
        Ok(Self {
            connection,
            workflow_side,
            activity_side,
            announcer,
            health,
            listener,
            drain_timeout,
            report_linger,
        })
    }

    /// Works until `stop`, then ends.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), WorkerError> {
        let Announcer { worker, queue, .. } = &self.announcer;
        tracing::info!(%worker, %queue, "the worker begins");
        if let Err(error) = clock::compare(&self.connection).await {
            tracing::debug!(%error, "the server could not be asked for the time; trying again later");
        }
        // Dropping it ends what listens in the background.
        let mut background = JoinSet::new();
        background.spawn(clock::keep(self.connection.clone()));
        let side = &self.activity_side;
        background.spawn(report_packs::send_together(Arc::clone(side), self.report_linger));
        let end_of_metrics = CancellationToken::new();
        if let Some(listener) = self.listener.take() {
            let end = end_of_metrics.clone();
            background.spawn(metrics_server::serve(listener, self.health.clone(), end));
        }
        let attempts = TaskTracker::new();
        let turns = TaskTracker::new();
        let mut takers = JoinSet::new();
        self.take_tasks(&mut takers, &mut background, &attempts, &turns, &stop).await?;
        self.announce_until(&stop).await;
        self.end(takers, &attempts, &turns).await;
        end_of_metrics.cancel();
        drop(background);
        tracing::info!("the worker has ended");
        Ok(())
    }

    /// Begins to take tasks of the kinds that the worker has code for. Others serve the rest of the queue.
    async fn take_tasks(
        &self,
        takers: &mut JoinSet<()>,
        background: &mut JoinSet<()>,
        attempts: &TaskTracker,
        turns: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<(), WorkerError> {
        let failed = |error: async_nats::SubscribeError| WorkerError::Subscribe(error.to_string());
        let registry = &self.announcer.registry;
        if !registry.workflows().is_empty() {
            let tasks = WorkflowTasks::subscribe(&self.workflow_side).await.map_err(failed)?;
            takers.spawn(tasks.run(Arc::clone(&self.workflow_side), turns.clone(), stop.clone()));
        }
        let ready = Arc::clone(&self.health.ready);
        if registry.activities().is_empty() {
            ready.store(true, Ordering::Relaxed);
        } else {
            let side = &self.activity_side;
            let cancellations = keepalive::subscribe(side).await.map_err(failed)?;
            background.spawn(keepalive::pass_on_cancellations(Arc::clone(side), cancellations));
            background.spawn(keepalive::keep_alive(Arc::clone(side)));
            background.spawn(closed_runs::look(Arc::clone(side)));
            let (known, shards) = oneshot::channel();
            background.spawn(queue_shards::attend(Arc::clone(side), known));
            let (side, tracker) = (Arc::clone(side), attempts.clone());
            takers.spawn(queue_shards::take_tasks(side, shards, tracker, stop.clone(), ready));
        }
        // Whoever hears the first announcement may send a task at once.
        self.connection.client().flush().await.map_err(|error| WorkerError::Subscribe(error.to_string()))
    }

    async fn announce_until(&self, stop: &CancellationToken) {
        let slots = || announcer::count(&self.activity_side.slots);
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.announcer.run(slots) => {}
        }
        self.health.ready.store(false, Ordering::Relaxed);
        self.announcer.say(slots(), true).await;
    }

    /// Ends in order: no new tasks, running ones to their end or until time is up, then their reports.
    async fn end(&self, mut takers: JoinSet<()>, attempts: &TaskTracker, turns: &TaskTracker) {
        let drained = Instant::now() + self.drain_timeout;
        while takers.join_next().await.is_some() {}
        attempts.close();
        turns.close();
        if tokio::time::timeout_at(drained, attempts.wait()).await.is_err() {
            tracing::warn!(running = attempts.len(), "activities are still running and are stopped");
            let side = &self.activity_side;
            side.running.stop_all();
            if tokio::time::timeout(GRACE, attempts.wait()).await.is_err() {
                side.give_up.cancel();
                if tokio::time::timeout(LAST_REPORTS, attempts.wait()).await.is_err() {
                    tracing::error!(
                        left = attempts.len(),
                        "activities did not end; their tasks go to other workers"
                    );
                }
            }
        }
        let _ = tokio::time::timeout(GRACE, turns.wait()).await;
        if tokio::time::timeout(GRACE, self.connection.client().flush()).await.is_err() {
            tracing::debug!("the last messages could not be sent");
        }
    }
}

fn at_least_one(option: &'static str, found: usize) -> Result<(), WorkerError> {
    if found == 0 { Err(WorkerError::Option { option, found }) } else { Ok(()) }
}

fn worker_id() -> WorkerId {
    WorkerId::new(Uuid::now_v7().to_string()).expect("a UUID is a valid id")
}
