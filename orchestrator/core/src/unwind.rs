//! Compensations: what is registered, in which order it is undone, and what becomes of the run then.
//!
//! An action's compensation is registered when the action is asked for, before it is dispatched, so an
//! action whose outcome is unknown is undone too. Compensations run one at a time, latest action first,
//! after every action that is to be undone has come to rest. One that fails for good stops the unwinding
//! until somebody says whether to retry or skip it. Cancelling does not touch them.

use std::collections::BTreeMap;

use stepwell_shared::api::CompensationState;
use stepwell_shared::command::Compensation;
use stepwell_shared::failure::Failure;
use stepwell_shared::ids::{Name, Seq};
use stepwell_shared::payload::Payload;
use stepwell_shared::summary::Status;

/// Everything that is registered in a run, by the number of the action.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Compensations(pub(crate) BTreeMap<Seq, Registered>);

/// One registered compensation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Registered {
    pub(crate) action: Name,
    pub(crate) input: Payload,
    pub(crate) output: Option<Payload>,
    pub(crate) compensation: Compensation,
    pub(crate) state: CompensationState,
    pub(crate) attempts_made: u32,
    pub(crate) failure: Option<Failure>,
}

/// An unwinding that is under way.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unwinding {
    /// Only actions below this number are undone.
    pub(crate) below: Seq,
    /// What follows when it is done.
    pub(crate) then: Then,
}

/// What follows an unwinding.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Then {
    /// The code waits for it under this number.
    Tell(Seq),
    /// The run closes.
    Close(Ending),
}

/// How a run ends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ending {
    pub(crate) status: Status,
    pub(crate) result: Option<Payload>,
    pub(crate) failure: Option<Failure>,
}

impl Unwinding {
    /// The number under which the code waits for the end of it.
    pub(crate) fn told(&self) -> Option<Seq> {
        match self.then {
            Then::Tell(seq) => Some(seq),
            Then::Close(_) => None,
        }
    }
}

impl Compensations {
    /// Whether an action below `below` is still to be undone, is being undone or failed to be undone.
    pub(crate) fn unfinished(&self, below: Seq) -> bool {
        self.0.range(..below).any(|(_, registered)| unfinished(registered.state))
    }

    /// The action to be undone next: the latest one, unless one is under way or failed.
    pub(crate) fn next(&self, below: Seq) -> Option<Seq> {
        for (seq, registered) in self.0.range(..below).rev() {
            match registered.state {
                CompensationState::Registered => return Some(*seq),
                CompensationState::Running | CompensationState::Failed => return None,
                CompensationState::Completed | CompensationState::Skipped | CompensationState::Released => {}
            }
        }
        None
    }

    /// Whether one failed for good and waits for somebody.
    pub(crate) fn failed(&self) -> bool {
        self.0.values().any(|registered| registered.state == CompensationState::Failed)
    }

    /// Whether anything was undone.
    pub(crate) fn any_undone(&self) -> bool {
        self.0.values().any(|registered| match registered.state {
            CompensationState::Completed | CompensationState::Skipped => true,
            CompensationState::Registered
            | CompensationState::Running
            | CompensationState::Failed
            | CompensationState::Released => false,
        })
    }

    /// Nothing that is registered so far for an action from number `from` on will run.
    pub(crate) fn release_from(&mut self, from: Seq) {
        for (_, registered) in self.0.range_mut(from..) {
            if registered.state == CompensationState::Registered {
                registered.state = CompensationState::Released;
            }
        }
    }
}

fn unfinished(state: CompensationState) -> bool {
    match state {
        CompensationState::Registered | CompensationState::Running | CompensationState::Failed => true,
        CompensationState::Completed | CompensationState::Skipped | CompensationState::Released => false,
    }
}
