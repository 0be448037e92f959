//! One activity, or one compensation, from its first dispatch to its end. A retry wait exists only in
//! the state that waits.

use stepwell_shared::failure::Failure;
use stepwell_shared::ids::{Name, StepId};
use stepwell_shared::limits::MAX_TASK_PAYLOAD_BYTES;
use stepwell_shared::options::ActivityOptions;
use stepwell_shared::payload::Payload;

use crate::alarms::{Alarm, Alarms};
use crate::effect::Dispatch;

/// First wait before a step is offered again to a queue whose workers had no code for it, in
/// milliseconds. A worker that appears with the code ends the wait at once.
const REFUSED_WAIT_MS: u64 = 30_000;

/// The longest such wait: each refusal is a record in the history.
const REFUSED_WAIT_MAX_MS: u64 = 600_000;

/// A step that is not finished.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) activity_type: Name,
    pub(crate) queue: Name,
    pub(crate) input: Payload,
    pub(crate) options: ActivityOptions,
    pub(crate) scheduled_at_ms: u64,
    /// The number of the first attempt; above 1 when a failed compensation is run again.
    pub(crate) first_attempt: u32,
    pub(crate) attempt: u32,
    pub(crate) state: StepState,
    pub(crate) cancel_requested: bool,
    pub(crate) heartbeat: Option<Payload>,
    pub(crate) last_failure: Option<Failure>,
    pub(crate) refusals: u32,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StepState {
    /// On its queue, or held by a worker.
    Queued {
        /// Since when.
        since_ms: u64,
        /// The record that put it there.
        wanted_by: u64,
    },
    /// Begun by a worker that said so (it says so when there is a `schedule_to_start`).
    Started {
        /// Since when it is on its queue.
        since_ms: u64,
        /// The record that put it there.
        wanted_by: u64,
    },
    /// Waits for its next attempt.
    WaitingRetry {
        /// Until when.
        at_ms: u64,
    },
    /// Waits for a worker that has code for it.
    WaitingWorker {
        /// Until when at most.
        at_ms: u64,
    },
}

impl Step {
    /// Puts the step on its queue for attempt `attempt`.
    pub(crate) fn queue(
        &mut self,
        id: StepId,
        attempt: u32,
        at_ms: u64,
        wanted_by: u64,
        alarms: &mut Alarms,
    ) {
        self.leave_state(id, alarms);
        self.attempt = attempt;
        self.state = StepState::Queued { since_ms: at_ms, wanted_by };
        if let Some(deadline) = self.start_deadline(at_ms) {
            alarms.set(deadline, Alarm::ScheduleToStart(id));
        }
    }

    /// A worker has begun the current attempt.
    pub(crate) fn started(&mut self, id: StepId, alarms: &mut Alarms) {
        if let StepState::Queued { since_ms, wanted_by } = self.state {
            self.leave_state(id, alarms);
            self.state = StepState::Started { since_ms, wanted_by };
        }
    }

    /// Lets the step wait for attempt `attempt`.
    pub(crate) fn wait_retry(&mut self, id: StepId, attempt: u32, at_ms: u64, alarms: &mut Alarms) {
        self.leave_state(id, alarms);
        self.attempt = attempt;
        self.state = StepState::WaitingRetry { at_ms };
        alarms.set(at_ms, Alarm::Retry(id));
    }

    /// Lets the step wait for a worker; the attempt does not count.
    pub(crate) fn wait_worker(&mut self, id: StepId, now_ms: u64, alarms: &mut Alarms) {
        self.leave_state(id, alarms);
        let wait = REFUSED_WAIT_MS.saturating_mul(1 << self.refusals.min(16)).min(REFUSED_WAIT_MAX_MS);
        self.refusals = self.refusals.saturating_add(1);
        let at_ms = now_ms.saturating_add(wait);
        self.state = StepState::WaitingWorker { at_ms };
        alarms.set(at_ms, Alarm::Retry(id));
    }

    /// Arms the timeout over all attempts.
    pub(crate) fn arm(&self, id: StepId, alarms: &mut Alarms) {
        if let Some(deadline) = self.close_deadline() {
            alarms.set(deadline, Alarm::ScheduleToClose(id));
        }
    }

    /// Takes every alarm of the step out.
    pub(crate) fn disarm(&self, id: StepId, alarms: &mut Alarms) {
        self.leave_state(id, alarms);
        if let Some(deadline) = self.close_deadline() {
            alarms.clear(deadline, Alarm::ScheduleToClose(id));
        }
    }

    /// When an attempt that lies on its queue since `since_ms` must have begun.
    fn start_deadline(&self, since_ms: u64) -> Option<u64> {
        self.options.schedule_to_start_ms.map(|limit| since_ms.saturating_add(limit))
    }

    /// When all attempts must be over.
    pub(crate) fn close_deadline(&self) -> Option<u64> {
        self.options.schedule_to_close_ms.map(|limit| self.scheduled_at_ms.saturating_add(limit))
    }

    /// Whether a worker has or may take the current attempt.
    pub(crate) fn in_flight(&self) -> bool {
        match self.state {
            StepState::Queued { .. } | StepState::Started { .. } => true,
            StepState::WaitingRetry { .. } | StepState::WaitingWorker { .. } => false,
        }
    }

    /// The attempt's number as the retry policy counts.
    pub(crate) fn policy_attempt(&self) -> u32 {
        self.attempt - self.first_attempt + 1
    }

    /// The current attempt as an effect, if it is to be on the queue.
    pub(crate) fn dispatch(&self, id: StepId) -> Option<Dispatch> {
        let (since_ms, wanted_by) = match self.state {
            StepState::Queued { since_ms, wanted_by } | StepState::Started { since_ms, wanted_by } => {
                (since_ms, wanted_by)
            }
            StepState::WaitingRetry { .. } | StepState::WaitingWorker { .. } => return None,
        };
        Some(Dispatch {
            step: id,
            attempt: self.attempt,
            wanted_by,
            activity_type: self.activity_type.clone(),
            queue: self.queue.clone(),
            input: self.input.clone(),
            scheduled_at_ms: since_ms,
            schedule_to_start_ms: self.options.schedule_to_start_ms,
            expires_at_ms: self.close_deadline(),
            // An attempt never outlives the activity's own deadline.
            start_to_close_ms: min_some(
                self.options.start_to_close_ms,
                self.close_deadline().map(|deadline| deadline.saturating_sub(since_ms).max(1)),
            ),
            heartbeat_timeout_ms: self.options.heartbeat_timeout_ms,
            maximum_attempts: self.options.retry.maximum_attempts,
            heartbeat: self
                .heartbeat
                .clone()
                .filter(|it| self.input.size() + it.size() <= MAX_TASK_PAYLOAD_BYTES),
            last_failure: self.last_failure.clone(),
        })
    }

    fn leave_state(&self, id: StepId, alarms: &mut Alarms) {
        match self.state {
            StepState::Queued { since_ms, .. } => {
                if let Some(deadline) = self.start_deadline(since_ms) {
                    alarms.clear(deadline, Alarm::ScheduleToStart(id));
                }
            }
            StepState::Started { .. } => {}
            StepState::WaitingRetry { at_ms } | StepState::WaitingWorker { at_ms } => {
                alarms.clear(at_ms, Alarm::Retry(id));
            }
        }
    }
}

fn min_some(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (Some(only), None) | (None, Some(only)) => Some(only),
        (None, None) => None,
    }
}
