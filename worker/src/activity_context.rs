//! What an activity knows of itself and can say while it runs.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;
use stepwell_shared::ids::{Name, RunId, StepId, WorkflowId};
use stepwell_shared::limits::MAX_PAYLOAD_BYTES;
use stepwell_shared::payload::Payload;
use stepwell_shared::task::ActivityTask;
use tokio_util::sync::CancellationToken;

use crate::ActivityError;
use crate::heartbeats::Heartbeats;

/// Handed to every activity. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ActivityContext {
    inner: Arc<Inner>,
}

/// Which attempt of which activity this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityInfo {
    /// The workflow that asked for it.
    pub workflow_id: WorkflowId,
    /// That workflow's type.
    pub workflow_type: Name,
    /// The run that asked for it.
    pub run_id: RunId,
    /// Which step of the run.
    pub step: StepId,
    /// The activity type.
    pub activity_type: Name,
    /// The attempt, from 1.
    pub attempt: u32,
    /// When the attempt must be over.
    pub deadline: Option<SystemTime>,
    /// Why the attempt before failed, for a person.
    pub last_failure: Option<String>,
}

#[derive(Debug)]
struct Inner {
    info: ActivityInfo,
    idempotency_key: String,
    last_heartbeat: Option<Payload>,
    heartbeats: Arc<Heartbeats>,
    cancelled: CancellationToken,
}

impl ActivityContext {
    pub(crate) fn new(task: &ActivityTask, heartbeats: Arc<Heartbeats>, cancelled: CancellationToken) -> Self {
        let limit = task.start_to_close_ms.map(Duration::from_millis);
        let info = ActivityInfo {
            workflow_id: task.workflow_id.clone(),
            workflow_type: task.workflow_type.clone(),
            run_id: task.run_id.clone(),
            step: task.step,
            activity_type: task.activity_type.clone(),
            attempt: task.attempt,
            deadline: limit.and_then(|limit| SystemTime::now().checked_add(limit)),
            last_failure: task.last_failure.clone(),
        };
        let inner = Inner {
            info,
            idempotency_key: task.idempotency_key.clone(),
            last_heartbeat: task.heartbeat.clone(),
            heartbeats,
            cancelled,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Which attempt of which activity this is.
    #[must_use]
    pub fn info(&self) -> &ActivityInfo {
        &self.inner.info
    }

    /// The same for every attempt of this step, and for no other step of any run: what to hand to a third
    /// party so that it recognises a repeat.
    #[must_use]
    pub fn idempotency_key(&self) -> &str {
        &self.inner.idempotency_key
    }

    /// Says that the activity is alive and how far it is. Cheap; call it as often as you like. When the
    /// attempt fails or its worker dies, the next attempt gets the latest details.
    ///
    /// # Errors
    /// When `details` have no JSON form or are larger than a payload may be.
    pub fn heartbeat<T: Serialize + ?Sized>(&self, details: &T) -> Result<(), ActivityError> {
        let details = Payload::encode(details)?;
        if details.size() > MAX_PAYLOAD_BYTES {
            let message = format!(
                "the heartbeat details have {} bytes; at most {MAX_PAYLOAD_BYTES} are allowed",
                details.size()
            );
            return Err(ActivityError::new("PayloadError", message).non_retryable());
        }
        self.inner.heartbeats.beat(Some(details));
        Ok(())
    }

    /// The details of the last heartbeat of the attempt before, if there are any.
    ///
    /// # Errors
    /// When they are not a `T`.
    pub fn last_heartbeat<T: DeserializeOwned>(&self) -> Result<Option<T>, ActivityError> {
        match &self.inner.last_heartbeat {
            Some(details) => Ok(Some(details.decode()?)),
            None => Ok(None),
        }
    }

    /// Returns when the activity is told to stop: its run was cancelled or has no use for it any more, it
    /// timed out, or the worker shuts down. Clean up and return [`ActivityError::cancelled`].
    pub async fn cancelled(&self) {
        self.inner.cancelled.cancelled().await;
    }

    /// Whether the activity was told to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancelled.is_cancelled()
    }
}
