//! Telling running activities to stop.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use stepwell_shared::ids::{RunId, StepId};
use tokio_util::sync::CancellationToken;

/// Most cancellations that are remembered for tasks that have not arrived yet. They are told again every
/// few seconds anyway.
const MAX_REMEMBERED: usize = 10_000;

type Key = (RunId, StepId);

/// The running activities of a worker, and what was recently cancelled.
#[derive(Default)]
pub(crate) struct Cancellations {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: HashMap<Key, CancellationToken>,
    recent: HashSet<Key>,
    oldest_first: VecDeque<Key>,
}

impl Cancellations {
    /// An attempt begins. `None` when its step was cancelled already.
    pub(crate) fn begin(&self, run_id: &RunId, step: StepId) -> Option<CancellationToken> {
        let mut state = self.lock();
        let key = (run_id.clone(), step);
        if state.recent.contains(&key) {
            return None;
        }
        let token = CancellationToken::new();
        state.running.insert(key, token.clone());
        Some(token)
    }

    /// The attempt is over.
    pub(crate) fn end(&self, run_id: &RunId, step: StepId) {
        self.lock().running.remove(&(run_id.clone(), step));
    }

    /// Somebody wants the step to stop, whether it runs here or not.
    pub(crate) fn cancel(&self, run_id: RunId, step: StepId) {
        let mut state = self.lock();
        let key = (run_id, step);
        if let Some(token) = state.running.get(&key) {
            token.cancel();
        } else if state.recent.insert(key.clone()) {
            state.oldest_first.push_back(key);
            if state.recent.len() > MAX_REMEMBERED
                && let Some(oldest) = state.oldest_first.pop_front()
            {
                state.recent.remove(&oldest);
            }
        }
    }

    /// Everything is to stop.
    pub(crate) fn cancel_all(&self) {
        for token in self.lock().running.values() {
            token.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
