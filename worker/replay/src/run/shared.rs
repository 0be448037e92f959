//! The state behind a lock, shared by the driver, the contexts and the futures they make. No user code,
//! and no waker, runs or is dropped while the lock is held.

use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard};

use super::state::{Phase, State};
use crate::query::lock;
use crate::stalled::{LastCall, Stalled};
use crate::wake::RootWaker;

/// One run.
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) root: Arc<RootWaker>,
}

impl Shared {
    pub(crate) fn new(state: State) -> Self {
        Self { state: Mutex::new(state), root: Arc::new(RootWaker::default()) }
    }

    /// The state, to look at, or for the driver.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The state, for workflow code that wants to do something; `None` when it may not now. `what`
    /// completes "a query may not …".
    pub(crate) fn act(&self, what: &'static str) -> Option<MutexGuard<'_, State>> {
        let mut state = self.state();
        let here = self.root.is_driven_here();
        match state.phase {
            Phase::Running if here => Some(state),
            Phase::Running | Phase::Idle => {
                let last_call = state.last_call;
                state.fault.get_or_insert_with(|| used_elsewhere(what, last_call));
                None
            }
            Phase::Querying => {
                state.violate_query(what);
                None
            }
            Phase::Over => None,
        }
    }

    /// Whether variables of the code may change now; counts as progress of the code.
    pub(crate) fn may_change(&self, what: &'static str) -> bool {
        let mut state = self.state();
        match state.phase {
            Phase::Querying => {
                state.violate_query(what);
                false
            }
            Phase::Running | Phase::Idle | Phase::Over => {
                state.progress += 1;
                true
            }
        }
    }

    /// Remembers a call of a context's method.
    pub(crate) fn note(&self, what: &'static str, at: &'static Location<'static>) {
        self.state().last_call = Some(LastCall { what, at });
    }

    /// Lets go of everything of the user's, once the code is gone.
    pub(crate) fn tear_down(&self) {
        let (wakers, queries) = {
            let mut state = self.state();
            state.phase = Phase::Over;
            let mut wakers = state.take_step_wakers();
            wakers.extend(state.take_parked_wakers());
            (wakers, std::mem::take(&mut state.queries))
        };
        crate::panics::drop_quietly(wakers);
        for handler in queries.into_values() {
            crate::panics::drop_quietly(handler);
        }
    }
}

fn used_elsewhere(what: &'static str, last_call: Option<LastCall>) -> Stalled {
    let found = format!(
        "its context was used to {what} from another thread or task, outside of the workflow's own future."
    );
    Stalled::foreign_wait(&found, last_call)
}
