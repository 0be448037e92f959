//! One attempt of an activity, from its task to its acknowledged report: decoding, timeouts, heartbeats,
//! cancellation, panics. It never decides whether another attempt follows.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Subject;
use bytes::Bytes;
use stepwell_connection::clock::now_ms;
use stepwell_connection::crash::{self, Boundary};
use stepwell_connection::{Connection, JetStreamError};
use stepwell_encryption::Payloads;
use stepwell_shared::encoding::decode;
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::ids::{Name, WorkerId};
use stepwell_shared::message::Outcome;
use stepwell_shared::payload::Payload;
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::{self, Bucket};
use stepwell_shared::task::ActivityTask;
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::activity::context::ActivityContext;
use crate::activity::error::ActivityError;
use crate::activity::heartbeats::Heartbeats;
use crate::activity_limits::Limits;
use crate::activity_outcome::{Ended, outcome, returned};
use crate::given_before::{Before, reported as reported_of};
use crate::metric_definitions::Metrics;
use crate::pull_words::GivenOut;
use crate::queue_shards::QueueShards;
use crate::registry::{Registered, Registry, listed};
use crate::report::{NotReported, Reporter};
use crate::report_packs::ReportPacks;
use crate::running::{Entry, Known, RunningAttempts, Stop};
use crate::sealing::{Whose, seal_heartbeat, seal_outcome, unreadable};
use crate::slots::{Slot, Slots};
use crate::until_stored::Stored;
use crate::wanted::{may_begin_late, wanted};

/// Acknowledges a task: its report is stored.
const ACK: Bytes = Bytes::from_static(b"+ACK");

/// Gives a task up: nobody can read it.
const TERMINATE: Bytes = Bytes::from_static(b"+TERM");

/// Pause before it is asked again whether a task was given out before.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What all attempts of a worker share.
#[derive(Debug)]
pub(crate) struct ActivitySide {
    pub(crate) connection: Connection,
    pub(crate) payloads: Payloads,
    pub(crate) queue: Name,
    pub(crate) worker: WorkerId,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) slots: Slots,
    pub(crate) running: RunningAttempts,
    pub(crate) shards: QueueShards,
    pub(crate) reports: ReportPacks,
    /// Cancelled when attempts are no longer waited for.
    pub(crate) give_up: CancellationToken,
    pub(crate) heartbeats: OnceCell<async_nats::jetstream::kv::Store>,
    /// How long the server waits for a word about a task.
    pub(crate) ack_wait: watch::Sender<Duration>,
}

/// A task as it arrived.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) body: Bytes,
    /// Where it lies.
    pub(crate) shard: Shard,
    /// Where to acknowledge it.
    pub(crate) ack: Subject,
    /// What the server says of it.
    pub(crate) given_out: GivenOut,
    /// The slot that was kept free for it; `None` when it came unasked.
    pub(crate) slot: Option<Slot>,
}

impl ActivitySide {
    /// Runs the task's attempt, reports how it ended and acknowledges the task.
    pub(crate) async fn handle(&self, delivery: Delivery) {
        crash::at(Boundary::TaskTaken);
        let Delivery { body, shard, ack, given_out, slot } = delivery;
        let mut task: ActivityTask = match decode(&body) {
            Ok(task) => task,
            Err(error) => {
                self.metrics.unreadable_tasks.inc();
                tracing::error!(queue = %self.queue, %error, "an activity task cannot be read and is given up");
                self.answer(&ack, TERMINATE).await;
                return;
            }
        };
        match self.running.known(&task.run_id, task.step, task.attempt) {
            Known::No => {}
            // This process only seemed to be gone, or the server forgot that it gave the task out.
            Known::Running => return,
            Known::Reported => return self.answer(&ack, ACK).await,
        }
        // From here on the server is told that somebody is at it.
        let place = (shard, given_out.sequence);
        let entry = self.running.enter(&task, ack.clone(), place);
        if !wanted(self, &task).await {
            self.metrics.not_wanted.inc();
            return self.answer(&ack, ACK).await;
        }
        // Rare, and large, as are others below: in a box, so that not every attempt has room for it.
        if given_out.count > 1 {
            return Box::pin(self.lost(&task, ack)).await;
        }
        match self.given_before(&task, shard, given_out, &entry.stop).await {
            Some(Before::Nothing) if may_begin_late(&task) => {}
            Some(Before::Nothing) => {
                self.metrics.not_wanted.inc();
                return self.answer(&ack, ACK).await;
            }
            // The other worker acknowledges it, or it is given out again when that one dies.
            Some(Before::Held) | None => return,
            Some(Before::Begun(_)) => return Box::pin(self.lost(&task, ack)).await,
            Some(Before::Ended) => return self.answer(&ack, ACK).await,
        }
        entry.decided();
        let able = match self.registry.activity(&task.activity_type) {
            None => Err(self.no_code(&task)),
            Some(registered) => match self.payloads.open_activity_task(&mut task) {
                Ok(()) => Ok(registered),
                Err(error) => Err(unreadable(&self.worker, &error)),
            },
        };
        match able {
            Ok(registered) => self.attempt(task, registered, entry, ack, slot).await,
            Err(reason) => {
                // Nothing runs here that a further task of the step could be taken for.
                drop(entry);
                Box::pin(self.refuse(&task, &ack, reason)).await;
            }
        }
    }

    /// What is known of a task's attempt; asks until there is an answer. `None` when the worker ends before.
    async fn given_before(
        &self,
        task: &ActivityTask,
        shard: Shard,
        given_out: GivenOut,
        stop: &Stop,
    ) -> Option<Before> {
        loop {
            let error = tokio::select! {
                () = stop.asked_by_worker() => return None,
                found = self.shards.of(shard).given_before.look(self, task, given_out) => match found {
                    Ok(before) => return Some(before),
                    Err(error) => error,
                },
            };
            tracing::warn!(error, "it cannot be found out whether a task was given out before; trying again");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// A task that somebody has had before: whether the attempt was made is not known, so it is not made
    /// again.
    async fn lost(&self, task: &ActivityTask, ack: Subject) {
        if let Some(registered) = self.registry.activity(&task.activity_type) {
            registered.metrics.lost.inc();
        }
        let message = format!(
            "the worker that held attempt {} of `{}` is gone; what it did is not known",
            task.attempt, task.activity_type
        );
        let failure = Failure::new(FailureKind::Lost, message);
        let heartbeat = self.written_heartbeat(task).await.or_else(|| task.heartbeat.clone());
        let reporter = Reporter::new(task, &self.worker);
        let outcome = Outcome::Failed { failure, heartbeat };
        if reporter.report(&self.connection, &self.metrics, outcome).await.is_ok() {
            self.answer(&ack, ACK).await;
        }
    }

    fn no_code(&self, task: &ActivityTask) -> String {
        format!(
            "worker {} on queue `{}` has no activity `{}`; it has {}. Register it, or give the call the queue of \
             a worker that has it",
            self.worker,
            self.queue,
            task.activity_type,
            listed(&self.registry.activities())
        )
    }

    /// Leaves the attempt to a worker that can make it.
    async fn refuse(&self, task: &ActivityTask, ack: &Subject, reason: String) {
        self.metrics.refused();
        tracing::warn!(activity = %task.activity_type, queue = %self.queue, reason, "an activity task is refused");
        let reporter = Reporter::new(task, &self.worker);
        if reporter.report(&self.connection, &self.metrics, Outcome::Refused { reason }).await.is_ok() {
            self.answer(ack, ACK).await;
        }
    }

    async fn attempt(
        &self,
        task: ActivityTask,
        registered: &Registered,
        entry: Entry<'_>,
        ack: Subject,
        slot: Option<Slot>,
    ) {
        let slot = match slot {
            Some(slot) => Some(slot),
            None => self.slots.take().await,
        };
        let mut reporter = Reporter::new(&task, &self.worker);
        let waited_ms = now_ms().saturating_sub(task.scheduled_at_ms);
        reporter.schedule_to_start_ms = Some(waited_ms);
        registered.metrics.started(Duration::from_millis(waited_ms));
        let heartbeats = Arc::new(Heartbeats::new());
        let mut left_over = None;
        let outcome = if entry.stop.token.is_cancelled() && entry.stop.asked_by_run() {
            registered.metrics.cancelled.inc();
            Outcome::Cancelled {}
        } else {
            if !self.may_begin(&task, &reporter).await {
                return;
            }
            crash::at(Boundary::BeforeCode);
            let started = Instant::now();
            let (ended, running) =
                self.run(task, reporter.whose(), registered, &entry.stop, &heartbeats).await;
            crash::at(Boundary::CodeDone);
            let ran = started.elapsed();
            registered.metrics.ran(ran);
            reporter.execution_ms = Some(u64::try_from(ran.as_millis()).unwrap_or(u64::MAX));
            left_over = running;
            outcome(ended, registered, &entry.stop, &heartbeats)
        };
        let outcome = seal_outcome(&self.payloads, reporter.whose(), outcome).await;
        match reporter.report_end(&self.connection, &self.reports, &self.metrics, outcome).await {
            // From here on nobody has to be told that it is alive.
            Ok(()) => entry.reported(),
            Err(NotReported) => return,
        }
        self.answer(&ack, ACK).await;
        if let Some(running) = left_over {
            // Code that does not yield to being stopped still takes its slot.
            let _ = running.await;
        }
        drop(slot);
    }

    /// Says that the attempt begins, if somebody must know. False when it may not begin.
    async fn may_begin(&self, task: &ActivityTask, reporter: &Reporter) -> bool {
        let once = task.maximum_attempts == Some(1);
        if task.schedule_to_start_ms.is_none() && !once {
            return true;
        }
        let reported = reporter.report(&self.connection, &self.metrics, Outcome::Started {});
        match Box::pin(reported).await {
            Ok(Stored::Now) => true,
            Ok(Stored::Before) if !once => true,
            // Either this is a repeat of our own word, or somebody else has the task, too.
            Ok(Stored::Before) => match Box::pin(reported_of(&self.connection, task)).await {
                Ok(before) => before == Before::Begun(Some(self.worker.clone())),
                Err(error) => {
                    tracing::warn!(%error, "it cannot be found out whether an attempt was begun elsewhere");
                    false
                }
            },
            Err(NotReported) => false,
        }
    }

    /// Runs the code until it ends or must end. What was told to end and perhaps has not is handed back.
    async fn run(
        &self,
        task: ActivityTask,
        whose: Whose<'_>,
        registered: &Registered,
        stop: &Stop,
        heartbeats: &Arc<Heartbeats>,
    ) -> (Ended, Option<JoinHandle<Result<Payload, ActivityError>>>) {
        let limits = Limits::of(&task);
        let key = subject::heartbeat_key(&self.queue, &task.run_id, task.step);
        let heartbeat_subject = Bucket::Heartbeats.subject(self.connection.namespace(), &key);
        let span = tracing::info_span!(
            "activity",
            activity = %task.activity_type,
            workflow_id = %task.workflow_id,
            step = %task.step,
            attempt = task.attempt
        );
        let input = task.input.clone();
        let deadline = limits.deadline.map(Instant::into_std);
        let context = ActivityContext::new(
            task,
            self.queue.clone(),
            deadline,
            stop.token.clone(),
            Arc::clone(heartbeats),
        );
        let code = registered.code.clone();
        // A task of its own: code that blocks its thread does not keep its timeouts from being seen.
        let mut running = tokio::spawn(async move { code.begin(context, input).await }.instrument(span));
        let mut next_writing = Instant::now();
        loop {
            let alarm = limits.next_alarm(heartbeats.last());
            let ended = tokio::select! {
                biased;
                joined = &mut running => return (returned(joined), None),
                () = self.give_up.cancelled() => Ended::WorkerGone,
                () = writing_is_due(heartbeats, next_writing) => {
                    if let Some(details) = heartbeats.take_unwritten()
                        && let Some(details) = seal_heartbeat(&self.payloads, whose, details)
                    {
                        self.write_heartbeat(heartbeat_subject.clone(), &details);
                    }
                    next_writing = Instant::now() + limits.writing_interval;
                    continue;
                }
                () = sleep_until(alarm) => match limits.exceeded(heartbeats.last()) {
                    Some(failure) => Ended::TimedOut(failure),
                    None => continue,
                },
            };
            stop.token.cancel();
            running.abort();
            return (ended, Some(running));
        }
    }

    /// Sends the details without waiting: timeouts must be seen while NATS is slow.
    fn write_heartbeat(&self, subject: String, details: &Payload) {
        self.metrics.heartbeats_written.inc();
        let publisher = self.connection.publisher().clone();
        let body = Bytes::copy_from_slice(details.json().as_bytes());
        tokio::spawn(async move {
            crash::at(Boundary::BeforeHeartbeat);
            let written = match publisher.publish(subject, None, body).await {
                Ok(pending) => pending.await.map(|_| crash::at(Boundary::HeartbeatStored)),
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                tracing::warn!(%error, "heartbeat details could not be written down; the next ones will be");
            }
        });
    }

    /// The details that the attempt wrote down before it was lost.
    async fn written_heartbeat(&self, task: &ActivityTask) -> Option<Payload> {
        let key = subject::heartbeat_key(&self.queue, &task.run_id, task.step);
        let read = async {
            let open = || self.connection.bucket(Bucket::Heartbeats);
            let store = self.heartbeats.get_or_try_init(open).await?;
            store.get(key).await.map_err(|error| JetStreamError::Other(error.to_string()))
        };
        match read.await {
            Ok(bytes) => Payload::from_json(String::from_utf8(bytes?.to_vec()).ok()?).ok(),
            Err(error) => {
                tracing::warn!(%error, "the heartbeat details of a lost attempt cannot be read");
                None
            }
        }
    }

    /// Says something to the server about a task. If it is not heard, the task is given out again and
    /// recognised.
    pub(crate) async fn answer(&self, ack: &Subject, word: Bytes) {
        crash::at(Boundary::BeforeAck);
        if let Err(error) = self.connection.client().publish(ack.clone(), word).await {
            tracing::debug!(%error, "a task could not be acknowledged");
        }
        crash::at(Boundary::AckSent);
    }
}

async fn writing_is_due(heartbeats: &Heartbeats, earliest: Instant) {
    heartbeats.unwritten().await;
    tokio::time::sleep_until(earliest).await;
}

async fn sleep_until(alarm: Option<Instant>) {
    match alarm {
        Some(alarm) => tokio::time::sleep_until(alarm).await,
        None => std::future::pending().await,
    }
}
