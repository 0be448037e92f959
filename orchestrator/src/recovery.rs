//! What a successor must know of its predecessors: which activity tasks they had published. Together with
//! the reports on the EVENTS stream this says exactly what was never published, however long ago it was.
//!
//! A task that was wanted is either on the TASKS stream, or a worker has finished it, and its report is on
//! EVENTS below the sequence that was the last when TASKS had been read. What is neither was never
//! published.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use stepwell_connection::page::read_page;
use stepwell_connection::{Connection, JetStreamError};
use stepwell_shared::headers::MESSAGE_ID;
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::subject::{self, Stream};

/// What predecessors left.
pub(crate) struct Recovery {
    /// Hashes of the ids of the tasks that were on the TASKS stream, and of those published again since.
    tasks: Mutex<HashSet<u64>>,
    left: Mutex<Left>,
}

/// Workflows of which it is not known yet whether everything that a predecessor wanted was done.
#[derive(Default)]
struct Left {
    /// To be looked at when everything has been read.
    later: BTreeSet<WorkflowId>,
    /// Being looked at.
    now: BTreeSet<WorkflowId>,
}

impl Recovery {
    /// Reads what predecessors left. Nobody else may be writing.
    pub(crate) async fn read(connection: &Connection) -> Result<Self, JetStreamError> {
        let tasks = task_ids(connection).await?;
        Ok(Self { tasks: Mutex::new(tasks), left: Mutex::default() })
    }

    /// Whether a task that a predecessor wanted was never published. Answers so only once: whoever asks
    /// publishes it.
    pub(crate) fn never_published(&self, id: &str) -> bool {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).insert(hash(id))
    }

    /// Notes a workflow that is to be looked at again when everything has been read.
    pub(crate) fn later(&self, id: &WorkflowId) {
        self.left().later.insert(id.clone());
    }

    /// A workflow is going to be looked at.
    pub(crate) fn now(&self, id: &WorkflowId) {
        self.left().now.insert(id.clone());
    }

    /// The workflows that were noted; they are going to be looked at.
    pub(crate) fn take_later(&self) -> BTreeSet<WorkflowId> {
        let mut left = self.left();
        let later = std::mem::take(&mut left.later);
        left.now.extend(later.iter().cloned());
        later
    }

    /// A workflow was looked at, and what was missing is confirmed.
    pub(crate) fn checked(&self, id: &WorkflowId) {
        self.left().now.remove(id);
    }

    /// Whether workflows are left to be looked at. Until then nothing that was read may count as done: a
    /// successor must find these workflows too.
    pub(crate) fn is_over(&self) -> bool {
        let left = self.left();
        left.later.is_empty() && left.now.is_empty()
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last sequence of a stream.
pub(crate) async fn last_sequence(connection: &Connection, stream: Stream) -> Result<u64, JetStreamError> {
    let other = |error: String| JetStreamError::Other(error);
    let stream = connection.jetstream().get_stream(stream.name(connection.namespace())).await;
    let stream = stream.map_err(|error| other(error.to_string()))?;
    Ok(stream.cached_info().state.last_sequence)
}

async fn task_ids(connection: &Connection) -> Result<HashSet<u64>, JetStreamError> {
    // A work queue allows no second consumer; reading pages takes nothing from its workers.
    let subject = subject::all_tasks(connection.namespace());
    let mut ids = HashSet::new();
    let mut next = 1;
    loop {
        let page = read_page(connection, Stream::Tasks, &subject, next).await?;
        for message in &page.messages {
            next = message.sequence + 1;
            if let Some(id) = message.headers.as_ref().and_then(|headers| headers.get(MESSAGE_ID)) {
                ids.insert(hash(id.as_str()));
            }
        }
        if !page.more {
            return Ok(ids);
        }
    }
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}
