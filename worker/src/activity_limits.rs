//! How long an attempt may go on, by its task. Judged by this process's monotonic clock.

use std::time::Duration;

use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::task::ActivityTask;
use tokio::time::Instant;

use crate::activity::heartbeats::writing_interval;

/// The limits of one attempt.
pub(crate) struct Limits {
    pub(crate) deadline: Option<Instant>,
    start_to_close: Option<Duration>,
    heartbeat: Option<Duration>,
    pub(crate) writing_interval: Duration,
}

impl Limits {
    pub(crate) fn of(task: &ActivityTask) -> Self {
        let start_to_close = task.start_to_close_ms.map(Duration::from_millis);
        let heartbeat = task.heartbeat_timeout_ms.map(Duration::from_millis);
        Self {
            deadline: start_to_close.and_then(|limit| Instant::now().checked_add(limit)),
            start_to_close,
            heartbeat,
            writing_interval: writing_interval(heartbeat),
        }
    }

    fn heartbeat_deadline(&self, last: Instant) -> Option<Instant> {
        self.heartbeat.and_then(|limit| last.checked_add(limit))
    }

    /// When to look whether a limit is exceeded; `last` is the time of the last heartbeat.
    pub(crate) fn next_alarm(&self, last: Instant) -> Option<Instant> {
        [self.deadline, self.heartbeat_deadline(last)].into_iter().flatten().min()
    }

    /// The failure of an attempt that has gone beyond a limit.
    pub(crate) fn exceeded(&self, last: Instant) -> Option<Failure> {
        let now = Instant::now();
        if let (Some(deadline), Some(limit)) = (self.deadline, self.start_to_close)
            && now >= deadline
        {
            let message = format!("the attempt took longer than its start_to_close of {limit:?}");
            return Some(Failure::new(FailureKind::StartToClose, message));
        }
        if let (Some(deadline), Some(limit)) = (self.heartbeat_deadline(last), self.heartbeat)
            && now >= deadline
        {
            let message = format!("the attempt sent no heartbeat for longer than {limit:?}");
            return Some(Failure::new(FailureKind::Heartbeat, message));
        }
        None
    }
}
