//! Everything that a run can want done outside of it. Effects may be carried out only after the record
//! that wanted them is stored, and carrying one out twice must be harmless: each is named by run, step
//! and attempt.

use stepwell_shared::failure::Failure;
use stepwell_shared::ids::{Name, StepId};
use stepwell_shared::payload::Payload;
use stepwell_shared::summary::RunSummary;

/// One thing to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Put an attempt of an activity on its queue.
    Dispatch(Box<Dispatch>),
    /// Tell whoever runs the step to stop.
    CancelActivity {
        /// The queue of the activity.
        queue: Name,
        /// The step.
        step: StepId,
    },
    /// Write the run's summary for lists and waiting clients.
    WriteSummary(Box<RunSummary>),
    /// Write the summary and tell everybody who waits that the run closed.
    Close(Box<RunSummary>),
}

/// One attempt to be put on a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispatch {
    /// Which step.
    pub step: StepId,
    /// From 1, never the same twice for one step.
    pub attempt: u32,
    /// The index of the record that wanted it.
    pub wanted_by: u64,
    /// The activity type.
    pub activity_type: Name,
    /// The queue.
    pub queue: Name,
    /// The input.
    pub input: Payload,
    /// When it was put on the queue, in milliseconds since 1970.
    pub scheduled_at_ms: u64,
    /// Longest wait for a worker; the worker is to say when it begins.
    pub schedule_to_start_ms: Option<u64>,
    /// From when on nobody waits for any attempt, in milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
    /// Longest time for the attempt.
    pub start_to_close_ms: Option<u64>,
    /// Longest gap between heartbeats.
    pub heartbeat_timeout_ms: Option<u64>,
    /// The policy's limit of attempts.
    pub maximum_attempts: Option<u32>,
    /// The last heartbeat details of the attempt before.
    pub heartbeat: Option<Payload>,
    /// Why the attempt before failed.
    pub last_failure: Option<Failure>,
}
