//! What a successor must know of its predecessors: which activity tasks they had published. Together with
//! the reports on the EVENTS stream this says exactly what was never published, however long ago it was.
//!
//! A task that was wanted is either on the TASKS stream, or a worker has finished it, and its report is on
//! EVENTS below the sequence that was the last when TASKS had been read. What is neither was never
//! published.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use stepwell_connection::page::read_page;
use stepwell_connection::{Connection, JetStreamError};
use stepwell_shared::headers::MESSAGE_ID;
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::subject::{self, Stream};

/// What predecessors left.
pub(crate) struct Recovery {
    /// Records up to this sequence of the HISTORY stream are not ours.
    pub(crate) history_sequence: u64,
    /// Hashes of the ids of the tasks that were on the TASKS stream, and of those published again since.
    tasks: Mutex<HashSet<u64>>,
    later: Mutex<BTreeSet<WorkflowId>>,
}

impl Recovery {
    /// Reads what predecessors left. Nobody else may be writing.
    pub(crate) async fn read(connection: &Connection) -> Result<Self, JetStreamError> {
        let history_sequence = last_sequence(connection, Stream::History).await?;
        let tasks = task_ids(connection).await?;
        Ok(Self { history_sequence, tasks: Mutex::new(tasks), later: Mutex::default() })
    }

    /// Whether a task that a predecessor wanted was never published. Answers so only once: whoever asks
    /// publishes it.
    pub(crate) fn never_published(&self, id: &str) -> bool {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).insert(hash(id))
    }

    /// Notes a workflow that is to be looked at again when everything has been read.
    pub(crate) fn later(&self, id: &WorkflowId) {
        self.later.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
    }

    /// The workflows that were noted.
    pub(crate) fn take_later(&self) -> BTreeSet<WorkflowId> {
        std::mem::take(&mut *self.later.lock().unwrap_or_else(PoisonError::into_inner))
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
