//! What an orchestrator process has whatever partitions it owns.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stepwell_connection::Connection;
use stepwell_connection::provision::Settings;
use stepwell_shared::ids::{Name, WorkflowId};
use stepwell_shared::subject::partition;
use tokio::sync::Semaphore;

use crate::metric_definitions::Metrics;
use crate::options::Options;
use crate::pulse::Pulse;
use crate::shared_reader::SharedReader;
use crate::shell::Shell;
use crate::token::Tokens;
use crate::workers::Workers;

/// What an orchestrator process has whatever partitions it owns. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) connection: Connection,
    pub(crate) pulse: Pulse,
    pub(crate) options: Arc<Options>,
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) workers: Arc<Workers>,
    pub(crate) tokens: Tokens,
    /// Queues whose consumer is known to exist.
    pub(crate) queues: Arc<Mutex<HashSet<Name>>>,
    pub(crate) owned: Owned,
    pub(crate) reader: SharedReader,
    /// For runs that are worked at without an event.
    pub(crate) rooms: Arc<Semaphore>,
}

impl Ground {
    /// What one partition may have of something that the process has `total` of; at least one.
    pub(crate) fn share(&self, total: usize) -> usize {
        (total / self.owned.count().max(1)).max(1)
    }
}

/// The partitions at which this process works now.
#[derive(Clone, Default)]
pub(crate) struct Owned(Arc<Mutex<BTreeMap<u32, Arc<Shell>>>>);

impl Owned {
    pub(crate) fn insert(&self, shell: &Arc<Shell>) {
        self.lock().insert(shell.partition, Arc::clone(shell));
    }

    pub(crate) fn remove(&self, partition: u32) {
        self.lock().remove(&partition);
    }

    /// The partition of a workflow id, if this process works at it.
    pub(crate) fn of(&self, id: &WorkflowId, partitions: u32) -> Option<Arc<Shell>> {
        self.get(partition(id, partitions))
    }

    /// A partition, if this process works at it.
    pub(crate) fn get(&self, partition: u32) -> Option<Arc<Shell>> {
        self.lock().get(&partition).cloned()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Shell>> {
        self.lock().values().cloned().collect()
    }

    /// Their numbers.
    pub(crate) fn partitions(&self) -> Vec<u32> {
        self.lock().keys().copied().collect()
    }

    /// How many they are.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<Shell>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
