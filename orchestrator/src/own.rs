//! Up to where the history of each open run is this process's own, or was looked at by it. What lies beyond
//! was left by somebody else: a predecessor, or one that has not noticed yet that it is one. It may have
//! died before it did what it recorded.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use stepwell_shared::ids::WorkflowId;

/// Sequence numbers of the HISTORY stream by workflow id. One entry for each open run at which this
/// process has worked, as there is one in the timers.
#[derive(Default)]
pub(crate) struct Own {
    runs: Mutex<HashMap<WorkflowId, u64>>,
    last: AtomicU64,
}

impl Own {
    /// Up to which sequence; 0 for a run at which this process has not worked.
    pub(crate) fn up_to(&self, id: &WorkflowId) -> u64 {
        self.lock().get(id).copied().unwrap_or(0)
    }

    /// The run's history is known up to this sequence.
    pub(crate) fn set(&self, id: &WorkflowId, sequence: u64) {
        self.last.fetch_max(sequence, Ordering::Relaxed);
        let mut own = self.lock();
        match own.get_mut(id) {
            Some(known) => *known = sequence,
            None => {
                own.insert(id.clone(), sequence);
            }
        }
    }

    /// The highest sequence of HISTORY that is known here.
    pub(crate) fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// The run is closed.
    pub(crate) fn forget(&self, id: &WorkflowId) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WorkflowId, u64>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
