//! Everything that can happen to a workflow, and how it was taken.

use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::history::RunStarted;
use stepwell_shared::ids::{Name, RunId, Seq, StepId};
use stepwell_shared::message::{CompensationAction, Outcome};
use stepwell_shared::payload::Payload;

/// Something that arrived, with its place in the EVENTS stream if it came from there.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    /// Its sequence number in the EVENTS stream; `None` for wakes and workers.
    pub sequence: Option<u64>,
    /// What it is.
    pub input: Input,
}

/// Everything that can happen to a workflow.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Somebody wants a run started.
    Start {
        /// What to start.
        start: Box<RunStarted>,
        /// The id that the run gets if it is started.
        run_id: RunId,
    },
    /// A signal.
    Signal {
        /// Its name.
        name: Name,
        /// What it carries.
        payload: Payload,
        /// The sender's id for this request.
        request_id: Option<String>,
    },
    /// Somebody wants the run cancelled.
    Cancel {
        /// Why.
        reason: String,
    },
    /// Somebody wants the run ended without asking its code.
    Terminate {
        /// Why.
        reason: String,
    },
    /// A worker reports how an attempt ended. The shell has checked the task's token.
    Report {
        /// The run that the report names.
        run_id: RunId,
        /// The step.
        step: StepId,
        /// The attempt.
        attempt: u32,
        /// How it ended.
        outcome: Outcome,
    },
    /// Somebody said what to do about a compensation that failed for good.
    Resolve {
        /// The activity that it should have undone.
        seq: Seq,
        /// What to do.
        action: CompensationAction,
        /// Who or why.
        reason: String,
    },
    /// The time that [`crate::Workflow::next_wake`] named has come, or may have come.
    Wake,
    /// A worker became known that was not known before.
    WorkerAppeared {
        /// Its queue.
        queue: Name,
        /// Its workflow types.
        workflows: Vec<Name>,
        /// Its activity types.
        activities: Vec<Name>,
    },
}

/// How an arrival was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// Events were staged for this run; it counts once the record is stored.
    Accepted {
        /// The run.
        run_id: RunId,
    },
    /// It had been taken before, by this run; nothing changed.
    Duplicate {
        /// The run.
        run_id: RunId,
    },
    /// It changes nothing and nobody needs to be told: a delivery that was handled before, a wake with
    /// nothing due.
    Ignored,
    /// It is refused.
    Rejected {
        /// The kind of reason.
        code: ErrorCode,
        /// What was found and what to do.
        message: String,
        /// The run that stands in the way, if one does.
        run_id: Option<RunId>,
    },
}

impl Ruling {
    /// Whether the input is to be set aside.
    #[must_use]
    pub fn is_rejection(&self) -> bool {
        match self {
            Self::Rejected { .. } => true,
            Self::Accepted { .. } | Self::Duplicate { .. } | Self::Ignored => false,
        }
    }
}
