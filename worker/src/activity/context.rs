//! What an activity can know and say while it runs.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;
use stepwell_shared::ids::{Name, RunId, StepId, WorkflowId};
use stepwell_shared::limits::MAX_PAYLOAD_BYTES;
use stepwell_shared::payload::Payload;
use stepwell_shared::task::ActivityTask;
use tokio_util::sync::CancellationToken;

use super::heartbeats::Heartbeats;

/// The hand of a running activity to the rest of the system. Cheap to clone.
///
/// ```
/// use stepwell::prelude::*;
///
/// #[activity(start_to_close = "1h", heartbeat = "30s")]
/// async fn copy_pages(ctx: ActivityContext, pages: u32) -> Result<u32, ActivityError> {
///     // Goes on where the attempt before stopped.
///     let first = ctx.last_heartbeat::<u32>().unwrap_or(0);
///     for page in first..pages {
///         if ctx.is_cancelled() {
///             return Err(ActivityError::cancelled());
///         }
///         ctx.heartbeat(page);
///     }
///     Ok(pages)
/// }
/// ```
#[derive(Clone)]
pub struct ActivityContext(Arc<Inner>);

struct Inner {
    info: ActivityInfo,
    idempotency_key: String,
    heartbeat_before: Option<Payload>,
    deadline: Option<Instant>,
    cancelled: CancellationToken,
    heartbeats: Arc<Heartbeats>,
}

/// Facts about an attempt, from [`ActivityContext::info`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityInfo {
    /// The workflow that asked for it.
    pub workflow_id: WorkflowId,
    /// The workflow's type.
    pub workflow_type: Name,
    /// The run that asked for it.
    pub run_id: RunId,
    /// Which step of the run: a number, or `undo-` and the number of the step that it undoes.
    pub step: StepId,
    /// The activity type.
    pub activity_type: Name,
    /// The queue that it came over.
    pub queue: Name,
    /// Which attempt this is, from 1. Tasks that workers refused take numbers and do not count as made, so this may skip
    /// some and be more than `maximum_attempts`.
    pub attempt: u32,
    /// Attempts in all that may be made; `None` for no limit.
    pub maximum_attempts: Option<u32>,
    /// When the attempt was put on the queue.
    pub scheduled_at: SystemTime,
    /// Longest gap between two heartbeats.
    pub heartbeat_timeout: Option<Duration>,
    /// Why the attempt before failed, for a person.
    pub last_failure: Option<String>,
}

impl ActivityContext {
    pub(crate) fn new(
        task: ActivityTask,
        queue: Name,
        deadline: Option<Instant>,
        cancelled: CancellationToken,
        heartbeats: Arc<Heartbeats>,
    ) -> Self {
        let info = ActivityInfo {
            workflow_id: task.workflow_id,
            workflow_type: task.workflow_type,
            run_id: task.run_id,
            step: task.step,
            activity_type: task.activity_type,
            queue,
            attempt: task.attempt,
            maximum_attempts: task.maximum_attempts,
            scheduled_at: SystemTime::UNIX_EPOCH + Duration::from_millis(task.scheduled_at_ms),
            heartbeat_timeout: task.heartbeat_timeout_ms.map(Duration::from_millis),
            last_failure: task.last_failure,
        };
        Self(Arc::new(Inner {
            info,
            idempotency_key: task.idempotency_key,
            heartbeat_before: task.heartbeat,
            deadline,
            cancelled,
            heartbeats,
        }))
    }

    /// Says that the activity is alive and how far it is. The details are handed to the next attempt if
    /// this one does not finish. Costs next to nothing: call it as often as you like.
    ///
    /// Details that have no JSON form or are larger than a payload may be are left out, with a warning in
    /// the log; the heartbeat counts all the same.
    pub fn heartbeat<T: Serialize>(&self, details: T) {
        let encoded = match Payload::encode(&details) {
            Ok(payload) if payload.size() <= MAX_PAYLOAD_BYTES => Some(payload),
            Ok(payload) => {
                self.warn(&format!(
                    "they have {} bytes; at most {MAX_PAYLOAD_BYTES} are kept",
                    payload.size()
                ));
                None
            }
            Err(error) => {
                self.warn(&format!("they have no JSON form: {error}"));
                None
            }
        };
        self.0.heartbeats.beat(encoded);
    }

    /// The details of the last heartbeat of the attempts before, if there were any of this type.
    #[must_use]
    pub fn last_heartbeat<T: DeserializeOwned>(&self) -> Option<T> {
        self.0.heartbeat_before.as_ref()?.decode().ok()
    }

    /// Waits until the activity is told to stop. Then finish quickly; return
    /// [`ActivityError::cancelled`](crate::ActivityError::cancelled) if the work is not done.
    pub async fn cancelled(&self) {
        self.0.cancelled.cancelled().await;
    }

    /// Whether the activity was told to stop: because its run asked for it, or because the worker ends.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.is_cancelled()
    }

    /// Facts about this attempt.
    #[must_use]
    pub fn info(&self) -> &ActivityInfo {
        &self.0.info
    }

    /// The same for every attempt of this step, and for no other step of any run: give it to services that
    /// take one, so that a repeat does nothing.
    #[must_use]
    pub fn idempotency_key(&self) -> &str {
        &self.0.idempotency_key
    }

    /// When the attempt will have taken too long.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline
    }

    /// How much time is left; `None` when there is no limit.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.0.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    fn warn(&self, what: &str) {
        let info = &self.0.info;
        tracing::warn!(
            activity = %info.activity_type,
            workflow_id = %info.workflow_id,
            step = %info.step,
            "heartbeat details were left out: {what}"
        );
    }
}

impl fmt::Debug for ActivityContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActivityContext")
            .field("info", &self.0.info)
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}
