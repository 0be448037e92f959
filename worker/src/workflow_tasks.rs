//! The workflow side of a worker: hands events to workflow code and answers with its commands. A run that is
//! not in the cache, or stands elsewhere than the task says, is rebuilt from its history first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use stepwell_connection::history::read_history;
use stepwell_connection::{Connection, chunked};
use stepwell_shared::encoding::{VERSION, decode, encode};
use stepwell_shared::history::StallKind;
use stepwell_shared::ids::{Name, WorkerId};
use stepwell_shared::subject;
use stepwell_shared::task::{Answer, Work, WorkflowTask, WorkflowTaskReply};
use stepwell_worker_replay::{Instance, Stalled, WorkflowCode};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::metric_definitions::Metrics;
use crate::run_cache::RunCache;
use crate::workflow_registry::WorkflowRegistry;

/// How often a history is read again that does not reach as far as the task says: a replica may lag.
const HISTORY_READS: u32 = 20;

/// Pause between two such reads.
const HISTORY_PAUSE: Duration = Duration::from_millis(25);

/// What the workflow tasks of a worker share.
pub(crate) struct WorkflowWork {
    pub(crate) connection: Connection,
    pub(crate) worker: WorkerId,
    pub(crate) queue: Name,
    pub(crate) registry: WorkflowRegistry,
    pub(crate) cache: RunCache,
    pub(crate) room: Arc<Semaphore>,
    pub(crate) tasks: TaskTracker,
    pub(crate) metrics: Arc<Metrics>,
    /// The worker shuts down: others are to be asked.
    pub(crate) draining: AtomicBool,
}

/// Subscribes to workflow tasks. Tasks are taken from the returned subscriptions with [`take_tasks`].
pub(crate) async fn subscribe(
    connection: &Connection,
    queue: &Name,
    worker: &WorkerId,
) -> Result<[async_nats::Subscriber; 2], async_nats::SubscribeError> {
    let namespace = connection.namespace();
    let client = connection.client();
    let sticky = client.subscribe(subject::sticky_workflow_task(namespace, queue, worker)).await?;
    let shared = client.queue_subscribe(subject::workflow_task(namespace, queue), queue.to_string()).await?;
    Ok([sticky, shared])
}

/// Takes tasks until the subscription ends.
pub(crate) async fn take_tasks(work: Arc<WorkflowWork>, mut tasks: async_nats::Subscriber) {
    while let Some(message) = tasks.next().await {
        let Ok(permit) = Arc::clone(&work.room).acquire_owned().await else { return };
        let this = Arc::clone(&work);
        work.tasks.spawn(async move {
            answer(&this, message).await;
            drop(permit);
        });
    }
}

async fn answer(work: &WorkflowWork, message: async_nats::Message) {
    let Some(reply) = message.reply else { return };
    let started = Instant::now();
    let (answer, replayed) = if work.draining.load(Ordering::Acquire) {
        (Answer::Busy {}, false)
    } else {
        match decode::<WorkflowTask>(&message.payload) {
            Ok(task) => answer_to(work, &task).await,
            Err(error) => (stalled(StallKind::InvalidTurn, format!("worker {}: {error}", work.worker)), false),
        }
    };
    let metrics = &work.metrics;
    metrics.workflow_tasks.with_label_values(&[answer_name(&answer)]).inc();
    metrics.workflow_task_seconds.observe(started.elapsed().as_secs_f64());
    let body = WorkflowTaskReply { v: VERSION, worker: work.worker.clone(), answer, replayed };
    if let Err(error) = chunked::reply(work.connection.client(), reply, encode(&body)).await {
        tracing::warn!(%error, "a workflow task's answer could not be sent");
    }
}

async fn answer_to(work: &WorkflowWork, task: &WorkflowTask) -> (Answer, bool) {
    let Some(code) = work.registry.get(&task.workflow_type) else {
        let known: Vec<_> = work.registry.names().iter().map(ToString::to_string).collect();
        let message = format!(
            "worker {} of queue `{}` has no workflow `{}`; it has {}",
            work.worker,
            work.queue,
            task.workflow_type,
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        );
        return (stalled(StallKind::UnknownType, message), false);
    };
    let place = work.cache.place(&task.run_id);
    let mut held = place.lock().await;
    let cached = held.take().filter(|instance| instance.position() == task.after);
    let replayed = cached.is_none() && task.after > 0;
    if cached.is_some() { work.metrics.cache_hits.inc() } else { work.metrics.cache_misses.inc() }
    let instance = match cached {
        Some(instance) => Ok(instance),
        None => rebuild(work, task, code.clone()).await,
    };
    let (answer, keep) = match instance {
        Ok(instance) => carry_out(instance, &task.work),
        Err(stall) => (stalled(stall.kind, stall.message), None),
    };
    let over = keep.is_none();
    *held = keep;
    drop(held);
    if over {
        work.cache.forget(&task.run_id);
    }
    work.metrics.cache_evictions.inc_by(work.cache.trim());
    work.metrics.cached_workflows.set(i64::try_from(work.cache.len()).unwrap_or(i64::MAX));
    (answer, replayed)
}

/// Asks the code. The instance is kept unless it is of no more use.
fn carry_out(mut instance: Instance, work: &Work) -> (Answer, Option<Instance>) {
    match work {
        Work::Turn { at_ms, events, index } => match instance.turn(events, *at_ms, *index) {
            // A closed run gets no more turns, and queries may replay it.
            Ok(commands) => (Answer::Commands { commands }, Some(instance).filter(|it| !it.closed())),
            Err(Stalled { kind, message }) => (stalled(kind, message), None),
        },
        Work::Query { name, argument } => match instance.query(name, argument) {
            Ok(result) => (Answer::QueryResult { result }, Some(instance).filter(|it| !it.closed())),
            Err(error) => {
                let answer = Answer::QueryFailed { message: error.message };
                (answer, Some(instance).filter(|it| !it.closed()))
            }
        },
    }
}

/// Replays a run's history up to where the task says that its code stands.
async fn rebuild(work: &WorkflowWork, task: &WorkflowTask, code: WorkflowCode) -> Result<Instance, Stalled> {
    let unreadable = |message: String| Stalled { kind: StallKind::TaskTimeout, message };
    for _ in 0..HISTORY_READS {
        let mut instance = Instance::new(code.clone(), task.workflow_id.clone(), task.run_id.clone());
        if task.after == 0 {
            return Ok(instance);
        }
        let history = read_history(&work.connection, &task.history_subject, task.first_sequence).await;
        let history = history.map_err(|error| unreadable(error.to_string()))?;
        let records = history.records.iter().map(|stored| &stored.record);
        let mut replayed = 0;
        for record in records.filter(|record| record.run_id == task.run_id && record.index <= task.after) {
            instance.replay(record)?;
            replayed += 1;
        }
        if instance.position() == task.after {
            work.metrics.replays.inc();
            work.metrics.replayed_records.inc_by(replayed);
            return Ok(instance);
        }
        tokio::time::sleep(HISTORY_PAUSE).await;
    }
    Err(unreadable(format!(
        "worker {}: the history on {} does not reach record {} of run {}",
        work.worker, task.history_subject, task.after, task.run_id
    )))
}

fn stalled(kind: StallKind, message: String) -> Answer {
    Answer::Stalled { kind, message }
}

fn answer_name(answer: &Answer) -> &'static str {
    match answer {
        Answer::Commands { .. } => "commands",
        Answer::QueryResult { .. } => "query_result",
        Answer::QueryFailed { .. } => "query_failed",
        Answer::Stalled { kind, .. } => kind.name(),
        Answer::Busy {} => "busy",
    }
}
