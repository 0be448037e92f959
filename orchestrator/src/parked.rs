//! Which runs wait for a worker to appear on which queue. A hint: a run is asked again by its own wake
//! time as well.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use stepwell_shared::ids::{Name, WorkflowId};

/// The runs that wait, by queue.
#[derive(Default)]
pub(crate) struct Parked {
    by_queue: Mutex<HashMap<Name, BTreeSet<WorkflowId>>>,
}

impl Parked {
    /// Replaces the queues on which a run waits. `before` are those that were set last.
    pub(crate) fn set(&self, id: &WorkflowId, before: &BTreeSet<Name>, now: &BTreeSet<Name>) {
        if before.is_empty() && now.is_empty() {
            return;
        }
        let mut by_queue = self.lock();
        for queue in before.difference(now) {
            if let Some(ids) = by_queue.get_mut(queue) {
                ids.remove(id);
                if ids.is_empty() {
                    by_queue.remove(queue);
                }
            }
        }
        for queue in now {
            by_queue.entry(queue.clone()).or_default().insert(id.clone());
        }
    }

    /// Takes out every run that waits on `queue`; those that still have to wait will say so again.
    pub(crate) fn take(&self, queue: &Name) -> BTreeSet<WorkflowId> {
        self.lock().remove(queue).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, BTreeSet<WorkflowId>>> {
        self.by_queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
