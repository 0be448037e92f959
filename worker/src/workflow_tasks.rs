//! Answers workflow tasks: finds the run's live code or replays it, hands over events or a query, replies.
//! It keeps nothing that the history does not have; what it answered counts only once it is recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_nats::{Message, SubscribeError, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, Select};
use stepwell_connection::Connection;
use stepwell_connection::crash::{self, Boundary};
use stepwell_encryption::Payloads;
use stepwell_shared::encoding::{VERSION, decode, encode};
use stepwell_shared::history::StallKind;
use stepwell_shared::ids::{Name, WorkerId};
use stepwell_shared::subject;
use stepwell_shared::task::{Answer, Work, WorkflowTask, WorkflowTaskReply};
use stepwell_worker_replay::{Instance, Stalled, WorkflowCode};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metric_definitions::{Answered, Metrics};
use crate::pack_replies::{ReplyTo, unpack};
use crate::rebuild::rebuild;
use crate::registry::{Registry, listed};
use crate::run_cache::{Kept, RunCache, RunSlot};
use crate::sealing::unreadable;

/// Longest wait for another task of the same run to end. Its code hangs if it takes longer; somebody else
/// may have more luck.
const RUN_WAIT: Duration = Duration::from_secs(5);

/// Longest wait for the server to confirm that nothing more comes.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// What all workflow tasks of a worker share.
#[derive(Debug)]
pub(crate) struct WorkflowSide {
    pub(crate) connection: Connection,
    pub(crate) payloads: Payloads,
    pub(crate) queue: Name,
    pub(crate) worker: WorkerId,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) cache: RunCache,
    pub(crate) concurrent: Arc<Semaphore>,
    /// The worker ends: tasks are for others.
    pub(crate) ending: AtomicBool,
}

/// An answer, and how it came about.
struct Made {
    answer: Answer,
    answered: Answered,
    replayed: bool,
}

/// The subjects on which workflow tasks come.
pub(crate) struct WorkflowTasks(Select<Subscriber, Subscriber>);

impl WorkflowTasks {
    /// Listens for tasks of the queue, and for those of runs that this worker has in memory.
    pub(crate) async fn subscribe(side: &WorkflowSide) -> Result<Self, SubscribeError> {
        let (client, namespace) = (side.connection.client(), side.connection.namespace());
        let sticky = subject::sticky_workflow_task(namespace, &side.queue, &side.worker);
        let sticky = client.subscribe(sticky).await?;
        let any = subject::workflow_task(namespace, &side.queue);
        let any = client.queue_subscribe(any, side.queue.to_string()).await?;
        Ok(Self(stream::select(sticky, any)))
    }

    /// Answers tasks until `stop`; then tells the rest to go elsewhere.
    pub(crate) async fn run(
        mut self,
        side: Arc<WorkflowSide>,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) {
        loop {
            let message = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                message = self.0.next() => message,
            };
            let Some(message) = message else { return };
            for (body, reply_to) in side.unpack(message) {
                // Those for which there is no room any more before the end are answered all the same: go elsewhere.
                let permit = tokio::select! {
                    biased;
                    permit = Arc::clone(&side.concurrent).acquire_owned() => permit.ok(),
                    () = stop.cancelled() => {
                        side.ending.store(true, Ordering::Relaxed);
                        None
                    }
                };
                let side = Arc::clone(&side);
                // Tokio makes tasks yield that do much at once, by holding back wakes; in workflow code that
                // would look like waiting for something foreign. One task does one turn and ends.
                // In a box: a task is moved several times while it is made.
                tracker.spawn(tokio::task::unconstrained(Box::pin(async move {
                    side.handle(&body, reply_to).await;
                    drop(permit);
                })));
            }
        }
        side.ending.store(true, Ordering::Relaxed);
        let (sticky, any) = self.0.get_mut();
        if sticky.drain().await.is_err() || any.drain().await.is_err() {
            return;
        }
        let end = tokio::time::Instant::now() + LEAVE_TIMEOUT;
        while let Ok(Some(message)) = tokio::time::timeout_at(end, self.0.next()).await {
            for (body, reply_to) in side.unpack(message) {
                side.handle(&body, reply_to).await;
            }
        }
    }
}

impl WorkflowSide {
    fn unpack(&self, message: Message) -> Vec<(Bytes, ReplyTo)> {
        unpack(message).unwrap_or_else(|error| {
            tracing::warn!(queue = %self.queue, %error, "a message that should be workflow tasks is dropped");
            Vec::new()
        })
    }

    async fn handle(&self, body: &[u8], reply_to: ReplyTo) {
        let began = Instant::now();
        crash::at(Boundary::TurnTaken);
        let mut task: WorkflowTask = match decode(body) {
            Ok(task) => task,
            Err(error) => {
                tracing::error!(queue = %self.queue, %error, "a workflow task cannot be read");
                let message = format!("worker {} cannot read the workflow task: {error}", self.worker);
                let made = Made::stalled(StallKind::InvalidTurn, message);
                self.reply(reply_to, None, made, began).await;
                return;
            }
        };
        let Some(code) = self.registry.workflow(&task.workflow_type) else {
            let made = self.unknown_type(&task);
            self.reply(reply_to, None, made, began).await;
            return;
        };
        if self.ending.load(Ordering::Relaxed) {
            self.reply(reply_to, Some(code), Made::busy(), began).await;
            return;
        }
        if let Err(error) = self.payloads.open_workflow_task(&mut task) {
            tracing::warn!(workflow_id = %task.workflow_id, %error, "a workflow task cannot be decrypted");
            let made = Made::stalled(StallKind::UnreadablePayload, unreadable(&self.worker, &error));
            self.reply(reply_to, Some(code), made, began).await;
            return;
        }
        let slot = self.cache.slot(&task.run_id);
        let made = self.work(&task, code, &slot).await;
        self.reply(reply_to, Some(code), made, began).await;
        let settled = self.cache.settle(&task.run_id, slot);
        self.metrics.cache_size.set(i64::try_from(settled.size).unwrap_or(i64::MAX));
        self.metrics.cache_evictions.inc_by(settled.evicted.len() as u64);
    }

    async fn work(&self, task: &WorkflowTask, code: &WorkflowCode, slot: &RunSlot) -> Made {
        let Ok(mut place) = tokio::time::timeout(RUN_WAIT, slot.lock()).await else { return Made::busy() };
        let (mut instance, replayed) = match place.take().filter(|kept| usable(kept, task)) {
            Some(kept) => {
                self.metrics.cache_hits.inc();
                (kept.instance, false)
            }
            None if task.after == 0 => {
                (Instance::new(code.clone(), task.workflow_id.clone(), task.run_id.clone()), false)
            }
            None => {
                self.metrics.cache_misses.inc();
                // Rare, and large: in a box, so that not every task has room for it.
                let rebuilt = rebuild(&self.connection, &self.payloads, &self.metrics, code, task);
                match Box::pin(rebuilt).await {
                    Ok(instance) => (instance, true),
                    Err(Stalled { kind, message }) => {
                        return sealed(&self.payloads, task, Made::stalled(kind, message)).replayed(true);
                    }
                }
            }
        };
        let span = tracing::info_span!(
            "workflow",
            workflow = %task.workflow_type,
            workflow_id = %task.workflow_id,
            run_id = %task.run_id
        );
        let made = span.in_scope(|| sealed(&self.payloads, task, answer(&mut instance, &task.work)));
        let live = match made.answered {
            Answered::Commands | Answered::Query | Answered::QueryFailed => !instance.closed(),
            Answered::Stalled(_) | Answered::Busy => false,
        };
        if live {
            let mark = match &task.work {
                Work::Turn { .. } => task.next_mark.clone(),
                Work::Query { .. } => task.mark.clone(),
            };
            *place = Some(Kept { instance, mark });
        }
        made.replayed(replayed)
    }

    fn unknown_type(&self, task: &WorkflowTask) -> Made {
        let message = format!(
            "worker {} on queue `{}` has no workflow `{}`; it has {}. Register it there, or start the run with \
             the queue of a worker that has it",
            self.worker,
            self.queue,
            task.workflow_type,
            listed(&self.registry.workflows())
        );
        tracing::warn!(workflow = %task.workflow_type, queue = %self.queue, "no code for a workflow task");
        Made::stalled(StallKind::UnknownType, message)
    }

    async fn reply(&self, reply_to: ReplyTo, code: Option<&WorkflowCode>, made: Made, began: Instant) {
        let Made { answer, answered, replayed } = made;
        let worker = self.worker.clone();
        let reply = WorkflowTaskReply { v: VERSION, worker, answer, replayed, takes_packs: true };
        crash::at(Boundary::TurnMade);
        let sent = reply_to.send(self.connection.client(), encode(&reply)).await;
        crash::at(Boundary::TurnSent);
        if let Err(error) = sent {
            tracing::error!(%error, "a workflow task could not be answered");
            let message = format!("worker {} could not answer: {error}", self.worker);
            let answer = Answer::Stalled { kind: StallKind::InvalidTurn, message };
            let reply = WorkflowTaskReply { answer, ..reply };
            // If this fails as well, the connection is gone, and the orchestrator asks again.
            let _ = reply_to.send(self.connection.client(), encode(&reply)).await;
        }
        self.metrics.workflow_task(code.map(WorkflowCode::name), answered);
        self.metrics.workflow_task_seconds.observe(began.elapsed().as_secs_f64());
    }
}

impl Made {
    fn stalled(kind: StallKind, message: String) -> Self {
        Self { answer: Answer::Stalled { kind, message }, answered: Answered::Stalled(kind), replayed: false }
    }

    fn busy() -> Self {
        Self { answer: Answer::Busy {}, answered: Answered::Busy, replayed: false }
    }

    fn replayed(self, replayed: bool) -> Self {
        Self { replayed, ..self }
    }
}

/// Whether the code stands where the task continues from. The index alone does not say so: the turn that
/// it made for that record may be another one than was recorded.
fn usable(kept: &Kept, task: &WorkflowTask) -> bool {
    kept.instance.position() == task.after && (task.mark.is_none() || kept.mark == task.mark)
}

fn answer(instance: &mut Instance, work: &Work) -> Made {
    let (answer, answered) = match work {
        Work::Turn { at_ms, events, index } => match instance.turn(events, *at_ms, *index) {
            Ok(commands) => (Answer::Commands { commands }, Answered::Commands),
            Err(Stalled { kind, message }) => {
                tracing::warn!(kind = kind.name(), "{message}");
                return Made::stalled(kind, message);
            }
        },
        Work::Query { name, argument } => match instance.query(name, argument) {
            Ok(result) => (Answer::QueryResult { result }, Answered::Query),
            Err(failed) => (Answer::QueryFailed { message: failed.message }, Answered::QueryFailed),
        },
    };
    Made { answer, answered, replayed: false }
}

/// The answer, encrypted. When that cannot be done nothing of it counts, and the code is asked again later.
fn sealed(payloads: &Payloads, task: &WorkflowTask, mut made: Made) -> Made {
    let Err(error) = payloads.seal_answer(task, &mut made.answer) else { return made };
    tracing::warn!(%error, "the answer to a workflow task cannot be encrypted");
    let kind = if error.retryable() { StallKind::UnreadablePayload } else { StallKind::InvalidTurn };
    Made::stalled(kind, error.to_string())
}
