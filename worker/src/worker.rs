//! The worker as users build it: which code it has, how much it does at once.

use std::time::Duration;

use stepwell_connection::HttpOptions;
use stepwell_worker_replay::{WorkflowCode, WorkflowDefinition};
use tokio_util::sync::CancellationToken;

use crate::activity::code::{ActivityCode, ActivityFn, ActivitySet};
use crate::client::Client;
use crate::error::WorkerError;
use crate::service::Service;
use crate::signals::shutdown_token;

/// Activities at once when nothing is said: enough for calls to services, little enough for work that
/// needs memory.
const DEFAULT_ACTIVITIES: usize = 16;

/// Workflow tasks at once when nothing is said. They are short; only replays wait for something.
const DEFAULT_WORKFLOW_TASKS: usize = 200;

/// Runs in memory when nothing is said. One takes some kilobytes and whatever its code holds on to.
const DEFAULT_CACHED_WORKFLOWS: usize = 1_000;

/// How long running activities are waited for when nothing is said; container runtimes kill after 30 s at
/// most, many after 10 s more than this leaves.
const DEFAULT_DRAIN: Duration = Duration::from_secs(10);

/// The longest wait of a report for others. Nobody wants more, and a task must not seem to be abandoned meanwhile.
const LONGEST_LINGER: Duration = Duration::from_secs(1);

/// Takes tasks of one queue and runs them with the code that it was given. Any number of workers, in any
/// number of processes, may serve a queue.
///
/// ```no_run
/// use stepwell::prelude::*;
///
/// #[activity(start_to_close = "10s")]
/// async fn greet(_ctx: ActivityContext, name: String) -> Result<String, ActivityError> {
///     Ok(format!("Hello, {name}!"))
/// }
///
/// #[workflow]
/// async fn greeting(ctx: WorkflowContext, name: String) -> Result<String, WorkflowError> {
///     Ok(ctx.run(greet, name).await?)
/// }
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::connect("nats://127.0.0.1:4222").await?;
/// Worker::new(client, "default").workflow(greeting).activity(greet).run().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a worker does nothing until it is run"]
pub struct Worker {
    pub(crate) client: Client,
    pub(crate) queue: String,
    pub(crate) workflows: Vec<WorkflowCode>,
    pub(crate) activities: Vec<ActivityCode>,
    pub(crate) max_activities: usize,
    pub(crate) max_workflow_tasks: usize,
    pub(crate) max_cached_workflows: usize,
    pub(crate) drain_timeout: Duration,
    pub(crate) report_linger: Duration,
    pub(crate) metrics: Option<String>,
    pub(crate) http: Option<HttpOptions>,
}

impl Worker {
    /// A worker for `queue` without any code.
    pub fn new(client: Client, queue: impl Into<String>) -> Self {
        Self {
            client,
            queue: queue.into(),
            workflows: Vec::new(),
            activities: Vec::new(),
            max_activities: DEFAULT_ACTIVITIES,
            max_workflow_tasks: DEFAULT_WORKFLOW_TASKS,
            max_cached_workflows: DEFAULT_CACHED_WORKFLOWS,
            drain_timeout: DEFAULT_DRAIN,
            report_linger: Duration::ZERO,
            metrics: None,
            http: None,
        }
    }

    /// Registers a workflow.
    pub fn workflow<W: WorkflowDefinition>(self, _workflow: W) -> Self {
        self.workflow_code(WorkflowCode::of::<W>())
    }

    /// Registers a workflow whose type is not known at compile time.
    pub fn workflow_code(mut self, code: WorkflowCode) -> Self {
        self.workflows.push(code);
        self
    }

    /// Registers an activity that is a free function.
    pub fn activity<A: ActivityFn>(self, _activity: A) -> Self {
        self.activity_code(ActivityCode::of::<A>())
    }

    /// Registers all activities that are methods of a value.
    pub fn activities<S: ActivitySet>(mut self, set: S) -> Self {
        self.activities.extend(std::sync::Arc::new(set).activities());
        self
    }

    /// Registers an activity whose types are not known at compile time.
    pub fn activity_code(mut self, code: ActivityCode) -> Self {
        self.activities.push(code);
        self
    }

    /// Runs so many activities at once at most. The default is 16.
    pub fn max_concurrent_activities(mut self, most: usize) -> Self {
        self.max_activities = most;
        self
    }

    /// Answers so many workflow tasks at once at most. The default is 200.
    pub fn max_concurrent_workflow_tasks(mut self, most: usize) -> Self {
        self.max_workflow_tasks = most;
        self
    }

    /// Keeps so many runs in memory between their steps at most; those that are not in memory are replayed
    /// from their history. The default is 1000; 0 replays for every step, which finds code that is not
    /// deterministic.
    pub fn max_cached_workflows(mut self, most: usize) -> Self {
        self.max_cached_workflows = most;
        self
    }

    /// Waits so long for running activities when the worker ends, then stops them: the attempt has failed as
    /// `WorkerShutdown`, and others go on with the next one, if the policy has one left.
    /// The default is ten seconds.
    pub fn drain_timeout(mut self, longest: Duration) -> Self {
        self.drain_timeout = longest;
        self
    }

    /// Lets the end of an activity wait so long for others, with which it is reported in one message. By default they go
    /// together only if they end in the same moment. Where each write is synced to a disk or copied to other servers, a few
    /// milliseconds save many of them; they are added to every step, so more than a second is taken for a second.
    pub fn report_linger(mut self, longest: Duration) -> Self {
        self.report_linger = longest.min(LONGEST_LINGER);
        self
    }

    /// Serves `/metrics`, `/livez` and `/readyz` over HTTP on this address, such as `0.0.0.0:9464`. A port
    /// alone listens on the loopback only. Where others reach the address, the worker does not begin without
    /// [`metrics_access`](Self::metrics_access) or the variables that stand for it.
    pub fn metrics(mut self, address: impl Into<String>) -> Self {
        self.metrics = Some(address.into());
        self
    }

    /// Who may read `/metrics`: who has a token, or everybody. Without it, what the environment says:
    /// `STEPWELL_HTTP_TOKEN_FILE`, `STEPWELL_HTTP_OPEN`.
    pub fn metrics_access(mut self, options: HttpOptions) -> Self {
        self.http = Some(options);
        self
    }

    /// Works until the process is told to end by SIGTERM or ctrl-c, then ends in an orderly way: takes no
    /// new task, waits for running activities, reports those that it has to stop. A second signal ends the
    /// process at once.
    ///
    /// # Errors
    /// [`WorkerError`] when the worker cannot begin.
    pub async fn run(self) -> Result<(), WorkerError> {
        let stop = shutdown_token();
        self.run_until(stop).await
    }

    /// Works until `stop` is cancelled, then ends in the same orderly way.
    ///
    /// # Errors
    /// [`WorkerError`] when the worker cannot begin.
    pub async fn run_until(self, stop: CancellationToken) -> Result<(), WorkerError> {
        Service::prepare(self).await?.run(stop).await
    }
}
