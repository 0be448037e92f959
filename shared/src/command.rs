//! What workflow code asks for, in the order in which it asked. Imperative; recorded verbatim in the
//! history, so that a replay can compare.

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::ids::{Name, Seq};
use crate::options::ActivityOptions;
use crate::payload::Payload;

/// One thing that workflow code wants done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Run an activity.
    RunActivity(RunActivity),
    /// Stop caring about an activity; tell the worker that runs it.
    CancelActivity {
        /// The activity's number.
        seq: Seq,
    },
    /// Wake the code after a time.
    StartTimer {
        /// The timer's number.
        seq: Seq,
        /// From the turn's time on, in milliseconds.
        delay_ms: u64,
    },
    /// Stop caring about a timer.
    CancelTimer {
        /// The timer's number.
        seq: Seq,
    },
    /// A race between branches was decided; recorded so that the winner is a matter of history.
    RaceWon {
        /// The race's number.
        seq: Seq,
        /// Index of the branch that won.
        winner: u32,
    },
    /// From here on nothing that was done so far is undone.
    Pivot {
        /// The marker's number.
        seq: Seq,
    },
    /// Run the compensations that are registered, then tell the code.
    Compensate {
        /// The number under which the code waits for it.
        seq: Seq,
    },
    /// The run is done.
    CompleteRun {
        /// What it returns.
        result: Payload,
    },
    /// The run failed; compensations run first.
    FailRun {
        /// Why.
        failure: Failure,
    },
    /// The run accepts that it was cancelled or timed out; compensations run first.
    CancelRun {
        /// The cancellation that the code accepted.
        failure: Failure,
    },
}

/// The request to run an activity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunActivity {
    /// The activity's number.
    pub seq: Seq,
    /// The activity type.
    #[serde(rename = "type")]
    pub activity_type: Name,
    /// Where workers look for it.
    pub queue: Name,
    /// Its input.
    pub input: Payload,
    /// Timeouts and retries.
    #[serde(default)]
    pub options: ActivityOptions,
    /// How to undo it; registered before the activity is dispatched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<Box<Compensation>>,
}

/// How to undo an activity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compensation {
    /// The activity type that undoes it. Its input is a [`crate::task::UndoInput`].
    #[serde(rename = "type")]
    pub activity_type: Name,
    /// Where workers look for it.
    pub queue: Name,
    /// Timeouts and retries of its own.
    #[serde(default)]
    pub options: ActivityOptions,
}

impl Command {
    /// The number that this command introduces, if it introduces one.
    #[must_use]
    pub fn new_seq(&self) -> Option<Seq> {
        match self {
            Self::RunActivity(run) => Some(run.seq),
            Self::StartTimer { seq, .. }
            | Self::RaceWon { seq, .. }
            | Self::Pivot { seq }
            | Self::Compensate { seq } => Some(*seq),
            Self::CancelActivity { .. }
            | Self::CancelTimer { .. }
            | Self::CompleteRun { .. }
            | Self::FailRun { .. }
            | Self::CancelRun { .. } => None,
        }
    }

    /// Whether this command ends the run; nothing may follow it.
    #[must_use]
    pub fn closes(&self) -> bool {
        match self {
            Self::CompleteRun { .. } | Self::FailRun { .. } | Self::CancelRun { .. } => true,
            Self::RunActivity(_)
            | Self::CancelActivity { .. }
            | Self::StartTimer { .. }
            | Self::CancelTimer { .. }
            | Self::RaceWon { .. }
            | Self::Pivot { .. }
            | Self::Compensate { .. } => false,
        }
    }
}
