//! One attempt of an activity from delivery to report: its timeouts, its heartbeats, its cancellation.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use stepwell_connection::clock::now_ms;
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::message::Outcome;
use stepwell_shared::payload::Payload;
use stepwell_shared::subject::{Bucket, heartbeat_key};
use stepwell_shared::task::ActivityTask;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ActivityContext;
use crate::activity_tasks::ActivityWork;
use crate::heartbeats::Heartbeats;
use crate::reports::{Report, report};

/// How many signs of life are sent within the time after which the server takes the worker for dead.
const SIGNS_PER_ACK_WAIT: u32 = 3;

/// Heartbeat details are stored at most this often, as a share of the heartbeat timeout.
const STORE_SHARE: f64 = 0.8;

/// Sees a task to its end: runs the attempt, reports, acknowledges.
pub(crate) async fn attend(work: &Arc<ActivityWork>, task: ActivityTask, message: &jetstream::Message) {
    let delivered = message.info().map_or(1, |info| info.delivered);
    let found = if delivered > 1 {
        // Another worker had it and may have begun it: whether to try again is not ours to decide.
        Report::of(lost(work, &task).await)
    } else {
        run(work, &task, message).await
    };
    work.metrics.attempt(&task, &found);
    report(&work.connection, &work.metrics, &work.worker, &task, found).await;
    if let Err(error) = message.ack().await {
        // It is delivered again, and reported as lost; by then the report has been taken in.
        tracing::warn!(%error, "a task could not be acknowledged");
    }
}

async fn run(work: &Arc<ActivityWork>, task: &ActivityTask, message: &jetstream::Message) -> Report {
    let Some(code) = work.registry.get(&task.activity_type) else {
        let known: Vec<_> = work.registry.names().iter().map(ToString::to_string).collect();
        let reason = format!(
            "worker {} has no activity `{}`; it has {}",
            work.worker,
            task.activity_type,
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        );
        return Report::of(Outcome::Refused { reason });
    };
    let Some(cancelled) = work.cancellations.begin(&task.run_id, task.step) else {
        return Report::of(Outcome::Cancelled {});
    };
    if task.schedule_to_start_ms.is_some() {
        let started = Report::of(Outcome::Started {});
        report(&work.connection, &work.metrics, &work.worker, task, started).await;
    }
    let schedule_to_start_ms = Some(now_ms().saturating_sub(task.scheduled_at_ms));
    let began = Instant::now();
    let heartbeats = Arc::new(Heartbeats::new());
    let context = ActivityContext::new(task, Arc::clone(&heartbeats), cancelled.clone());
    let attempt = tokio::spawn(code(context, task.input.clone()));
    let outcome = Watch { work, task, message, heartbeats, cancelled }.until_over(attempt).await;
    work.cancellations.end(&task.run_id, task.step);
    let execution_ms = Some(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
    Report { outcome, schedule_to_start_ms, execution_ms }
}

struct Watch<'a> {
    work: &'a ActivityWork,
    task: &'a ActivityTask,
    message: &'a jetstream::Message,
    heartbeats: Arc<Heartbeats>,
    cancelled: CancellationToken,
}

impl Watch<'_> {
    async fn until_over(&self, mut attempt: JoinHandle<Result<Payload, Failure>>) -> Outcome {
        let began = Instant::now();
        let deadline = self.task.start_to_close_ms.map(|limit| began + Duration::from_millis(limit));
        let sign_every = self.work.ack_wait / SIGNS_PER_ACK_WAIT;
        let mut next_sign = began + sign_every;
        let heartbeat = self.task.heartbeat_timeout_ms.map(Duration::from_millis);
        let store_every = heartbeat.map(|timeout| timeout.mul_f64(STORE_SHARE));
        let mut next_store = store_every.map(|every| began + every.min(Duration::from_secs(1)));
        loop {
            let silent_at = heartbeat.map(|timeout| self.heartbeats.last_at() + timeout);
            tokio::select! {
                biased;
                joined = &mut attempt => return self.joined(joined),
                () = at(deadline) => {
                    self.cancelled.cancel();
                    attempt.abort();
                    let limit = self.task.start_to_close_ms.unwrap_or_default();
                    let message = format!("the attempt took longer than {limit} ms");
                    return self.failed(Failure::new(FailureKind::StartToClose, message));
                }
                () = at(silent_at) => {
                    // Looked at again: a heartbeat may have come while this waited.
                    let silent = heartbeat.is_some_and(|timeout| self.heartbeats.last_at().elapsed() >= timeout);
                    if silent {
                        self.cancelled.cancel();
                        attempt.abort();
                        let limit = self.task.heartbeat_timeout_ms.unwrap_or_default();
                        let message = format!("the attempt sent no heartbeat for {limit} ms");
                        return self.failed(Failure::new(FailureKind::Heartbeat, message));
                    }
                }
                () = at(Some(next_sign)) => {
                    let _ = self.message.ack_with(jetstream::AckKind::Progress).await;
                    next_sign = Instant::now() + sign_every;
                }
                () = at(next_store) => {
                    self.store_heartbeat().await;
                    next_store = store_every.map(|every| Instant::now() + every);
                }
            }
        }
    }

    fn joined(&self, joined: Result<Result<Payload, Failure>, JoinError>) -> Outcome {
        match joined {
            Ok(Ok(result)) => Outcome::Completed { result },
            Ok(Err(failure)) if self.work.stopping.is_cancelled() => {
                let mut failure = failure;
                if failure.kind == FailureKind::Cancelled {
                    failure = Failure::typed(
                        FailureKind::Application,
                        "WorkerShutdown",
                        "the worker shut down before the activity was done",
                    );
                    failure.next_retry_delay_ms = Some(0);
                }
                self.failed(failure)
            }
            Ok(Err(failure)) if failure.kind == FailureKind::Cancelled && self.cancelled.is_cancelled() => {
                Outcome::Cancelled {}
            }
            Ok(Err(failure)) => self.failed(failure),
            Err(error) if error.is_panic() => {
                let panic = error.into_panic();
                let text = panic
                    .downcast_ref::<&str>()
                    .map(|text| (*text).to_owned())
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_else(|| "it panicked with something that is not text".to_owned());
                self.failed(Failure::new(FailureKind::Panic, text))
            }
            Err(_) => self.failed(Failure::new(FailureKind::Lost, "the worker stopped the attempt")),
        }
    }

    fn failed(&self, failure: Failure) -> Outcome {
        let heartbeat = self.heartbeats.latest().or_else(|| self.task.heartbeat.clone());
        Outcome::Failed { failure, heartbeat }
    }

    /// Keeps the latest details where another worker finds them if this one dies.
    async fn store_heartbeat(&self) {
        let Some(details) = self.heartbeats.take_unstored() else { return };
        let connection = &self.work.connection;
        let key = heartbeat_key(&self.task.run_id, self.task.step);
        let subject = Bucket::Heartbeats.subject(connection.namespace(), &key);
        let body = bytes::Bytes::from(details.json().to_owned());
        if let Err(error) = connection.publisher().publish(subject, None, body).await {
            tracing::debug!(%error, "heartbeat details could not be stored");
        }
    }
}

/// What is said of an attempt whose worker is gone, with the last heartbeat details that it stored.
async fn lost(work: &ActivityWork, task: &ActivityTask) -> Outcome {
    let mut heartbeat = None;
    if task.heartbeat_timeout_ms.is_some()
        && let Ok(bucket) = work.connection.bucket(Bucket::Heartbeats).await
        && let Ok(Some(details)) = bucket.get(heartbeat_key(&task.run_id, task.step)).await
    {
        heartbeat = String::from_utf8(details.to_vec()).ok().and_then(|text| Payload::from_json(text).ok());
    }
    let message = "the worker that held the attempt is gone; whether it did the work is not known";
    Outcome::Failed {
        failure: Failure::new(FailureKind::Lost, message),
        heartbeat: heartbeat.or_else(|| task.heartbeat.clone()),
    }
}

/// Returns at `when`; never, if there is no such time.
async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}
