//! Contexts for tests of activities without a worker.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stepwell_shared::encoding::VERSION;
use stepwell_shared::ids::{Name, RunId, StepId, WorkflowId};
use stepwell_shared::payload::Payload;
use stepwell_shared::task::ActivityTask;
use tokio_util::sync::CancellationToken;

use crate::activity::context::ActivityContext;
use crate::activity::heartbeats::Heartbeats;

/// Stands in for the worker around one attempt of an activity.
///
/// ```
/// use stepwell::prelude::*;
/// use stepwell::testing::TestActivity;
///
/// #[activity(start_to_close = "1s")]
/// async fn double(ctx: ActivityContext, n: u32) -> Result<u32, ActivityError> {
///     ctx.heartbeat(n);
///     Ok(n * 2)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let test = TestActivity::new();
/// assert_eq!(double::call(test.context(), 4).await.unwrap(), 8);
/// assert_eq!(test.heartbeat::<u32>(), Some(4));
/// # }
/// ```
#[derive(Debug)]
pub struct TestActivity {
    task: ActivityTask,
    stop: CancellationToken,
    heartbeats: Arc<Heartbeats>,
}

impl TestActivity {
    /// A first attempt.
    #[must_use]
    pub fn new() -> Self {
        let name = || Name::new("test").expect("a valid name");
        let task = ActivityTask {
            v: VERSION,
            workflow_id: WorkflowId::new("test").expect("a valid id"),
            workflow_type: name(),
            run_id: RunId::new("test").expect("a valid id"),
            step: StepId::Action(1),
            attempt: 1,
            activity_type: name(),
            input: Payload::null(),
            idempotency_key: "test/1".to_owned(),
            token: String::new(),
            partition: None,
            scheduled_at_ms: 0,
            schedule_to_start_ms: None,
            expires_at_ms: None,
            start_to_close_ms: None,
            heartbeat_timeout_ms: None,
            maximum_attempts: None,
            heartbeat: None,
            last_failure: None,
        };
        Self { task, stop: CancellationToken::new(), heartbeats: Arc::new(Heartbeats::new()) }
    }

    /// A further attempt, after one whose last heartbeat had these details.
    ///
    /// # Panics
    /// When the details have no JSON form.
    #[must_use]
    pub fn after<T: Serialize>(mut self, attempts: u32, last_heartbeat: T) -> Self {
        self.task.attempt = attempts + 1;
        self.task.heartbeat = Some(Payload::encode(&last_heartbeat).expect("details with a JSON form"));
        self
    }

    /// The activity's context.
    #[must_use]
    pub fn context(&self) -> ActivityContext {
        let queue = Name::new("test").expect("a valid name");
        let heartbeats = Arc::clone(&self.heartbeats);
        ActivityContext::new(self.task.clone(), queue, None, self.stop.clone(), heartbeats)
    }

    /// Tells the activity to stop.
    pub fn cancel(&self) {
        self.stop.cancel();
    }

    /// The details of the activity's latest heartbeat, if they are of this type.
    #[must_use]
    pub fn heartbeat<T: DeserializeOwned>(&self) -> Option<T> {
        self.heartbeats.latest()?.decode().ok()
    }
}

impl Default for TestActivity {
    fn default() -> Self {
        Self::new()
    }
}
