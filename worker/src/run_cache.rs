//! The live runs of a worker, so that the next task of a run need not replay its history. Only a cache:
//! whatever is lost here is rebuilt.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stepwell_shared::ids::RunId;
use stepwell_worker_replay::Instance;

/// A run's place in the cache. Whoever holds the lock works on the run; others wait.
pub(crate) type Place = Arc<tokio::sync::Mutex<Option<Instance>>>;

/// The live runs, the least recently used ones dropped first.
pub(crate) struct RunCache {
    state: Mutex<State>,
    capacity: usize,
}

#[derive(Default)]
struct State {
    places: HashMap<RunId, (Place, u64)>,
    by_use: BTreeMap<u64, RunId>,
    uses: u64,
}

impl RunCache {
    /// With a capacity of 0 every run is rebuilt for each of its tasks.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { state: Mutex::default(), capacity }
    }

    /// The place of a run, made if there is none.
    pub(crate) fn place(&self, run_id: &RunId) -> Place {
        let mut state = self.lock();
        state.uses += 1;
        let now = state.uses;
        let (place, before) = match state.places.get_mut(run_id) {
            Some((place, used)) => (Arc::clone(place), Some(std::mem::replace(used, now))),
            None => {
                let place = Place::default();
                state.places.insert(run_id.clone(), (Arc::clone(&place), now));
                (place, None)
            }
        };
        if let Some(before) = before {
            state.by_use.remove(&before);
        }
        state.by_use.insert(now, run_id.clone());
        place
    }

    /// Forgets a run that is over.
    pub(crate) fn forget(&self, run_id: &RunId) {
        let mut state = self.lock();
        if let Some((_, used)) = state.places.remove(run_id) {
            state.by_use.remove(&used);
        }
    }

    /// Drops the least recently used runs until the rest fits; says how many. A run that somebody works on
    /// is lost to the cache when that is done.
    pub(crate) fn trim(&self) -> u64 {
        let mut state = self.lock();
        let mut dropped = 0;
        while state.places.len() > self.capacity
            && let Some((_, run_id)) = state.by_use.pop_first()
        {
            state.places.remove(&run_id);
            dropped += 1;
        }
        dropped
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().places.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
