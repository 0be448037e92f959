//! A worker: the workflows and activities that it has code for, the queue that it serves, and its life from
//! start to shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use stepwell_connection::provision::{ACK_WAIT, ProvisionError, ensure_queue, settings};
use stepwell_shared::announce::Announcement;
use stepwell_shared::encoding::VERSION;
use stepwell_shared::ids::{InvalidId, Name, WorkerId};
use stepwell_worker_replay::{WorkflowCode, WorkflowDefinition};
use thiserror::Error;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::activity_registry::{ActivityFunction, ActivityGroup, ActivityRegistry};
use crate::activity_tasks::{self, ActivityWork};
use crate::announcer::{self, announce, announce_forever};
use crate::cancellations::Cancellations;
use crate::http::{self, Health};
use crate::metric_definitions::Metrics;
use crate::run_cache::RunCache;
use crate::workflow_registry::WorkflowRegistry;
use crate::workflow_tasks::{self, WorkflowWork};
use crate::{ActivityContext, ActivityError, Client, Payload};

/// How long the activities may take to stop after they were told to, before the worker ends anyway. Their
/// tasks then go to other workers.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// How often a namespace is looked for that no orchestrator has made yet.
const NAMESPACE_PAUSE: Duration = Duration::from_millis(500);

/// Runs workflows and activities of one queue.
///
/// ```no_run
/// # use stepwell::prelude::*;
/// # #[activity(start_to_close = "1s")]
/// # async fn greet(_ctx: ActivityContext, name: String) -> Result<String, ActivityError> { Ok(name) }
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::connect("nats://127.0.0.1:4222").await?;
/// Worker::new(client, "greetings").activity(greet).max_concurrent_activities(4).run().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a worker does nothing until it runs"]
pub struct Worker {
    client: Client,
    queue: String,
    workflows: WorkflowRegistry,
    activities: ActivityRegistry,
    max_concurrent_activities: usize,
    max_concurrent_workflow_tasks: usize,
    max_cached_workflows: usize,
    drain_timeout: Duration,
    listen: Option<String>,
}

/// Why a worker cannot run.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// The queue's name is not usable.
    #[error("queue: {0}")]
    Queue(InvalidId),
    /// Names that are not usable or taken twice.
    #[error("the worker cannot start: {}", .0.join("; "))]
    Registration(Vec<String>),
    /// The worker has no code at all.
    #[error("the worker has neither workflows nor activities; add some with .workflow(…) or .activity(…)")]
    Nothing,
    /// NATS or the namespace.
    #[error(transparent)]
    Namespace(#[from] ProvisionError),
    /// Subscribing failed.
    #[error("cannot subscribe to tasks: {0}")]
    Subscribe(#[from] async_nats::SubscribeError),
    /// The address for metrics is not usable.
    #[error("cannot serve metrics on {address}: {reason}")]
    Listen {
        /// The address.
        address: String,
        /// Why not.
        reason: String,
    },
    /// Signals of the operating system cannot be heard.
    #[error("cannot listen for SIGTERM: {0}")]
    Signals(std::io::Error),
}

impl Worker {
    /// A worker of `queue` without any code yet.
    pub fn new(client: Client, queue: impl Into<String>) -> Self {
        Self {
            client,
            queue: queue.into(),
            workflows: WorkflowRegistry::default(),
            activities: ActivityRegistry::default(),
            max_concurrent_activities: 16,
            max_concurrent_workflow_tasks: 256,
            max_cached_workflows: 1_000,
            drain_timeout: Duration::from_secs(10),
            listen: None,
        }
    }

    /// Adds a workflow: the item that `#[workflow]` made.
    pub fn workflow<W: WorkflowDefinition>(mut self, _workflow: W) -> Self {
        self.workflows.add(WorkflowCode::of::<W>());
        self
    }

    /// Adds workflow code of any type.
    pub fn workflow_code(mut self, code: WorkflowCode) -> Self {
        self.workflows.add(code);
        self
    }

    /// Adds an activity: the item that `#[activity]` made.
    pub fn activity<A: ActivityFunction>(mut self, _activity: A) -> Self {
        self.activities.add::<A, _, _>(|context, input| A::run(context, input));
        self
    }

    /// Adds the activities of a value: its methods under `#[activities]`.
    pub fn activities<G: ActivityGroup>(self, group: G) -> Self {
        self.shared_activities(Arc::new(group))
    }

    /// Adds the activities of a value that is used elsewhere too.
    pub fn shared_activities<G: ActivityGroup>(mut self, group: Arc<G>) -> Self {
        group.register(&mut self.activities);
        self
    }

    /// Adds an activity from payload to payload.
    pub fn untyped_activity<F, R>(mut self, name: &str, code: F) -> Self
    where
        F: Fn(ActivityContext, Payload) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Payload, ActivityError>> + Send + 'static,
    {
        self.activities.add_untyped(name, code);
        self
    }

    /// How many activities run at once at most; 16 if not said. The worker takes no task from the queue
    /// without a free slot.
    pub fn max_concurrent_activities(mut self, slots: usize) -> Self {
        self.max_concurrent_activities = slots;
        self
    }

    /// How many workflow tasks are worked on at once at most; 256 if not said.
    pub fn max_concurrent_workflow_tasks(mut self, tasks: usize) -> Self {
        self.max_concurrent_workflow_tasks = tasks.max(1);
        self
    }

    /// How many runs stay in memory between their tasks; 1,000 if not said. With 0 every task replays its
    /// run's history.
    pub fn max_cached_workflows(mut self, runs: usize) -> Self {
        self.max_cached_workflows = runs;
        self
    }

    /// How long a shutdown waits for running activities before it tells them to stop; 10 s if not said.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Serves `/metrics`, `/livez` and `/readyz` on this address, such as `127.0.0.1:9464`.
    pub fn metrics(mut self, address: impl Into<String>) -> Self {
        self.listen = Some(address.into());
        self
    }

    /// Runs until the process gets SIGTERM or SIGINT, then finishes or hands back what it holds. A second
    /// signal ends the process at once.
    ///
    /// # Errors
    /// [`WorkerError`] when it cannot start. A connection that is lost later is waited for.
    pub async fn run(self) -> Result<(), WorkerError> {
        let stop = CancellationToken::new();
        on_signal(stop.clone())?;
        self.run_until(stop).await
    }

    /// Runs until `stop` is cancelled, then finishes or hands back what it holds.
    ///
    /// # Errors
    /// [`WorkerError`] when it cannot start.
    pub async fn run_until(self, stop: CancellationToken) -> Result<(), WorkerError> {
        stepwell_worker_replay::record_panic_locations();
        let queue = self.check()?;
        let connection = self.client.connection().clone();
        if !wait_for_namespace(&connection, &stop).await? {
            return Ok(());
        }
        let consumer = ensure_queue(&connection, &queue).await?;
        let ack_wait = consumer.cached_info().config.ack_wait;
        let id = WorkerId::new(uuid::Uuid::now_v7().to_string()).expect("a UUID is a valid worker id");
        let metrics = Arc::new(Metrics::new().expect("the metrics are well-formed and distinct"));
        metrics.slots.set(i64::try_from(self.max_concurrent_activities).unwrap_or(i64::MAX));
        let draining = Arc::new(AtomicBool::new(false));
        if let Some(address) = &self.listen {
            let health =
                Health { connection: connection.clone(), metrics: Arc::clone(&metrics), draining: Arc::clone(&draining) };
            listen(address, health).await?;
        }
        let running = Running::start(self, queue, id, metrics, ack_wait).await?;
        stop.cancelled().await;
        draining.store(true, Ordering::Relaxed);
        running.shut_down().await;
        Ok(())
    }

    fn check(&self) -> Result<Name, WorkerError> {
        let faults: Vec<String> =
            self.workflows.faults().iter().chain(self.activities.faults()).cloned().collect();
        if !faults.is_empty() {
            return Err(WorkerError::Registration(faults));
        }
        if self.workflows.is_empty() && self.activities.names().is_empty() {
            return Err(WorkerError::Nothing);
        }
        Name::new(&self.queue).map_err(WorkerError::Queue)
    }
}

/// A worker at work.
struct Running {
    workflow_work: Arc<WorkflowWork>,
    activity_work: Arc<ActivityWork>,
    announcement: Announcement,
    stop_pulling: CancellationToken,
    pulling: JoinSet<()>,
    others: JoinSet<()>,
    drain_timeout: Duration,
}

impl Running {
    async fn start(
        worker: Worker,
        queue: Name,
        id: WorkerId,
        metrics: Arc<Metrics>,
        ack_wait: Duration,
    ) -> Result<Self, WorkerError> {
        let connection = worker.client.connection().clone();
        let announcement = Announcement {
            v: VERSION,
            worker: id.clone(),
            queue: queue.clone(),
            workflows: worker.workflows.names(),
            activities: worker.activities.names(),
            slots: u32::try_from(worker.max_concurrent_activities).unwrap_or(u32::MAX),
            slots_used: 0,
            host: announcer::host(),
            leaving: false,
        };
        let has_activities = !announcement.activities.is_empty() && worker.max_concurrent_activities > 0;
        let has_workflows = !worker.workflows.is_empty();
        let workflow_work = Arc::new(WorkflowWork {
            connection: connection.clone(),
            worker: id.clone(),
            queue: queue.clone(),
            registry: worker.workflows,
            cache: RunCache::new(worker.max_cached_workflows),
            room: Arc::new(Semaphore::new(worker.max_concurrent_workflow_tasks)),
            tasks: TaskTracker::new(),
            metrics: Arc::clone(&metrics),
            draining: AtomicBool::new(false),
        });
        let activity_work = Arc::new(ActivityWork {
            connection: connection.clone(),
            worker: id.clone(),
            queue: queue.clone(),
            registry: worker.activities,
            slots: worker.max_concurrent_activities,
            busy: AtomicUsize::new(0),
            freed: Notify::new(),
            cancellations: Cancellations::default(),
            attempts: TaskTracker::new(),
            metrics,
            ack_wait: if ack_wait.is_zero() { ACK_WAIT } else { ack_wait },
            stopping: CancellationToken::new(),
        });
        let (mut pulling, mut others) = (JoinSet::new(), JoinSet::new());
        let stop_pulling = CancellationToken::new();
        if has_workflows {
            for tasks in workflow_tasks::subscribe(&connection, &queue, &id).await? {
                others.spawn(workflow_tasks::take_tasks(Arc::clone(&workflow_work), tasks));
            }
        }
        if has_activities {
            others.spawn(activity_tasks::hear_cancellations(Arc::clone(&activity_work)));
            pulling.spawn(activity_tasks::take_tasks(Arc::clone(&activity_work), stop_pulling.clone()));
        }
        // Whoever hears of this worker may ask it at once.
        let _ = connection.client().flush().await;
        let busy = Arc::clone(&activity_work);
        let busy = Arc::new(move || announcer::busy(&busy.busy));
        others.spawn(announce_forever(connection, announcement.clone(), busy));
        tracing::info!(%queue, worker = %id, "the worker is at work");
        let drain_timeout = worker.drain_timeout;
        Ok(Self { workflow_work, activity_work, announcement, stop_pulling, pulling, others, drain_timeout })
    }

    /// Takes on nothing more, finishes what it can, hands back the rest.
    async fn shut_down(mut self) {
        tracing::info!("the worker is shutting down");
        self.workflow_work.draining.store(true, Ordering::Release);
        self.stop_pulling.cancel();
        while self.pulling.join_next().await.is_some() {}
        let attempts = &self.activity_work.attempts;
        attempts.close();
        if tokio::time::timeout(self.drain_timeout, attempts.wait()).await.is_err() {
            tracing::warn!(running = attempts.len(), "activities are still running; telling them to stop");
            self.activity_work.stopping.cancel();
            self.activity_work.cancellations.cancel_all();
            let _ = tokio::time::timeout(STOP_GRACE, attempts.wait()).await;
        }
        self.workflow_work.tasks.close();
        let _ = tokio::time::timeout(STOP_GRACE, self.workflow_work.tasks.wait()).await;
        self.others.abort_all();
        let connection = &self.workflow_work.connection;
        announce(connection, &Announcement { leaving: true, ..self.announcement }).await;
        let _ = connection.client().flush().await;
    }
}

/// Waits until an orchestrator has made the namespace. False when `stop` came first.
async fn wait_for_namespace(
    connection: &stepwell_connection::Connection,
    stop: &CancellationToken,
) -> Result<bool, WorkerError> {
    let mut told = false;
    loop {
        match settings(connection).await {
            Ok(_) => return Ok(true),
            Err(error @ ProvisionError::NotProvisioned { .. }) => {
                if !told {
                    tracing::warn!(%error, "waiting for an orchestrator");
                    told = true;
                }
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(false),
            () = tokio::time::sleep(NAMESPACE_PAUSE) => {}
        }
    }
}

async fn listen(address: &str, health: Health) -> Result<(), WorkerError> {
    let failed = |reason: String| WorkerError::Listen { address: address.to_owned(), reason };
    let parsed: SocketAddr = address.parse().map_err(|error: std::net::AddrParseError| failed(error.to_string()))?;
    http::serve(parsed, health).await.map_err(|error| failed(error.to_string()))
}

/// Cancels `stop` at the first SIGTERM or SIGINT; ends the process at the second.
fn on_signal(stop: CancellationToken) -> Result<(), WorkerError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(WorkerError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(WorkerError::Signals)?;
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if first {
                stop.cancel();
            } else {
                std::process::exit(130);
            }
        }
    });
    Ok(())
}
