//! What is recorded of a run: a sequence of records on one subject per workflow id, oldest first.
//!
//! One record is one commit: what arrived, what workflow code answered if it was asked, and whether the
//! run is stalled after it. State is rebuilt by applying records in order and in no other way.

use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::failure::Failure;
use crate::ids::{Name, RunId, Seq, StepId, WorkerId};
use crate::message::CompensationAction;
use crate::payload::Payload;

/// One commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Format version; see [`crate::encoding::VERSION`].
    pub v: u32,
    /// The run that it belongs to.
    pub run_id: RunId,
    /// Its place in the run, from 1 without gaps.
    pub index: u64,
    /// When it was decided, in milliseconds since 1970; never less than in the record before.
    pub at_ms: u64,
    /// Highest sequence number of the EVENTS stream that this workflow id has taken in, this record
    /// included. An event at or below it has been handled and changes nothing.
    pub through: u64,
    /// What arrived, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
    /// What the code answered when it was handed every event that it had not yet seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
    /// Why the code could not be asked, or could not answer. A later record without it clears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall: Option<Stall>,
}

/// One answer of the workflow code. `now` in the code is the record's `at_ms`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// What the code asked for, in order.
    pub commands: Vec<Command>,
    /// The worker that ran it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerId>,
    /// How many events were handed over: the oldest so many of those that wake code
    /// ([`Event::wakes_code`]) and had not been handed over before.
    pub delivered: u32,
}

/// Something that happened to a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The first event of every run.
    RunStarted(Box<RunStarted>),
    /// A signal arrived.
    SignalReceived {
        /// The signal's name.
        name: Name,
        /// What it carries.
        payload: Payload,
        /// The sender's id for this request, to recognise a repeat.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
    },
    /// Somebody asked the run to stop; the code may clean up.
    CancelRequested {
        /// Why, for a person.
        reason: String,
    },
    /// The run was ended without asking the code. Nothing is compensated.
    RunTerminated {
        /// Why, for a person.
        reason: String,
    },
    /// The run reached its `run_timeout` or `execution_timeout`; the code may clean up.
    RunTimedOut {
        /// Which timeout, and how long it was.
        failure: Failure,
    },
    /// An attempt ended without a result and another one follows.
    AttemptFailed {
        /// Which activity or compensation.
        step: StepId,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// Why.
        failure: Failure,
        /// When the next attempt may start, in milliseconds since 1970.
        retry_at_ms: u64,
        /// The last heartbeat details, for the next attempt.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            deserialize_with = "crate::payload::present"
        )]
        heartbeat: Option<Payload>,
    },
    /// A worker began an attempt. Recorded only for steps with a `schedule_to_start` timeout.
    AttemptStarted {
        /// Which activity or compensation.
        step: StepId,
        /// The attempt.
        attempt: u32,
    },
    /// A worker had no code for the activity type, or no key; it is dispatched again when one announces itself.
    AttemptRefused {
        /// Which activity or compensation.
        step: StepId,
        /// The attempt, which does not count as made.
        attempt: u32,
        /// What the worker said.
        reason: String,
    },
    /// A waiting step (retry wait over, or a worker appeared) was put on its queue.
    AttemptScheduled {
        /// Which activity or compensation.
        step: StepId,
        /// The attempt.
        attempt: u32,
    },
    /// The activity returned. Final.
    ActivityCompleted {
        /// Which activity.
        seq: Seq,
        /// The attempt that returned.
        attempt: u32,
        /// What it returned.
        result: Payload,
    },
    /// The activity failed for good. Final.
    ActivityFailed {
        /// Which activity.
        seq: Seq,
        /// The last attempt.
        attempt: u32,
        /// Why.
        failure: Failure,
    },
    /// The activity was cancelled and no attempt of it runs any more. Final.
    ActivityCancelled {
        /// Which activity.
        seq: Seq,
    },
    /// A timer is due. Final.
    TimerFired {
        /// Which timer.
        seq: Seq,
    },
    /// A compensation was put on its queue.
    CompensationStarted {
        /// The activity that it undoes.
        seq: Seq,
    },
    /// A compensation did its work. Final.
    CompensationCompleted {
        /// The activity that it undid.
        seq: Seq,
    },
    /// A compensation failed for good: the run is stuck until somebody says what to do.
    CompensationFailed {
        /// The activity that it should have undone.
        seq: Seq,
        /// Why.
        failure: Failure,
    },
    /// Somebody said what to do about a compensation that failed.
    CompensationResolved {
        /// The activity that it should have undone.
        seq: Seq,
        /// What to do.
        action: CompensationAction,
        /// Who or why, for a person.
        reason: String,
    },
    /// Every registered compensation has been run or skipped.
    CompensationsFinished {
        /// The command that waits for it; `None` when the run closes after it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seq: Option<Seq>,
    },
}

/// How a run began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStarted {
    /// The workflow type.
    #[serde(rename = "type")]
    pub workflow_type: Name,
    /// The queue whose workers run the code.
    pub queue: Name,
    /// The input.
    pub input: Payload,
    /// The starter's id for this request, to recognise a repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Longest time for this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_timeout_ms: Option<u64>,
    /// Longest time for the execution, over all its runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_timeout_ms: Option<u64>,
}

/// Why a run cannot go on. It goes on by itself when the reason is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stall {
    /// The kind of reason.
    pub kind: StallKind,
    /// For a person: what was found and what to do.
    pub message: String,
    /// When the code is asked again if nothing happens before, in milliseconds since 1970.
    pub retry_at_ms: u64,
    /// How many times in a row the code was asked in vain.
    pub failures: u32,
}

/// The kinds of reason why workflow code cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StallKind {
    /// No worker listens on the queue.
    NoWorker,
    /// Workers listen, but the one asked has no code for the workflow type.
    UnknownType,
    /// The code asked for something else than the history says it did.
    Nondeterminism,
    /// The code waits for something that is not Stepwell's, such as a tokio timer or a channel.
    ForeignWait,
    /// The code panicked.
    Panic,
    /// The input could not be decoded, or the commands were not acceptable.
    InvalidTurn,
    /// The worker did not answer in time.
    TaskTimeout,
    /// The worker cannot decrypt something: it lacks the key, or the data were changed.
    UnreadablePayload,
}

impl StallKind {
    /// The name used in metrics and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoWorker => "no_worker",
            Self::UnknownType => "unknown_type",
            Self::Nondeterminism => "nondeterminism",
            Self::ForeignWait => "foreign_wait",
            Self::Panic => "panic",
            Self::InvalidTurn => "invalid_turn",
            Self::TaskTimeout => "task_timeout",
            Self::UnreadablePayload => "unreadable_payload",
        }
    }
}

impl Event {
    /// Whether workflow code is to be asked because of it.
    #[must_use]
    pub fn wakes_code(&self) -> bool {
        match self {
            Self::RunStarted(_)
            | Self::SignalReceived { .. }
            | Self::CancelRequested { .. }
            | Self::RunTimedOut { .. }
            | Self::ActivityCompleted { .. }
            | Self::ActivityFailed { .. }
            | Self::ActivityCancelled { .. }
            | Self::TimerFired { .. } => true,
            Self::CompensationsFinished { seq } => seq.is_some(),
            Self::RunTerminated { .. }
            | Self::AttemptFailed { .. }
            | Self::AttemptStarted { .. }
            | Self::AttemptRefused { .. }
            | Self::AttemptScheduled { .. }
            | Self::CompensationStarted { .. }
            | Self::CompensationCompleted { .. }
            | Self::CompensationFailed { .. }
            | Self::CompensationResolved { .. } => false,
        }
    }

    /// The name used in tables and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::RunStarted(_) => "run_started",
            Self::SignalReceived { .. } => "signal_received",
            Self::CancelRequested { .. } => "cancel_requested",
            Self::RunTerminated { .. } => "run_terminated",
            Self::RunTimedOut { .. } => "run_timed_out",
            Self::AttemptFailed { .. } => "attempt_failed",
            Self::AttemptStarted { .. } => "attempt_started",
            Self::AttemptRefused { .. } => "attempt_refused",
            Self::AttemptScheduled { .. } => "attempt_scheduled",
            Self::ActivityCompleted { .. } => "activity_completed",
            Self::ActivityFailed { .. } => "activity_failed",
            Self::ActivityCancelled { .. } => "activity_cancelled",
            Self::TimerFired { .. } => "timer_fired",
            Self::CompensationStarted { .. } => "compensation_started",
            Self::CompensationCompleted { .. } => "compensation_completed",
            Self::CompensationFailed { .. } => "compensation_failed",
            Self::CompensationResolved { .. } => "compensation_resolved",
            Self::CompensationsFinished { .. } => "compensations_finished",
        }
    }
}
