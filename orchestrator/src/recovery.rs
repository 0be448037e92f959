//! What a successor must know of its predecessors: which activity tasks they had published. Together with
//! the reports on the EVENTS stream this says exactly what was never published, however long ago it was.
//!
//! A task that was wanted is either on the TASKS stream, or a worker has finished it, and its report is on
//! EVENTS below the sequence that was the last when TASKS had been read. What is neither was never
//! published.
//!
//! Which tasks there were must be known for as long as one of them lies on TASKS, though everything that was
//! left has long been looked at: an activity may run for days, and its run is not read before something
//! happens to it. What is then outstanding must be told from what was never published. When all of them are
//! gone and every report that was stored until then is taken in, no run waits for any of them, and they are
//! forgotten. What a predecessor still records that has not noticed that it is one wants tasks that were never
//! among them, and is dealt with in the same way before and after. The bound is that of TASKS: some sixteen
//! bytes for each message that it holds.

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
    tasks: Mutex<Tasks>,
    left: Mutex<Left>,
}

/// What was on the TASKS stream.
#[derive(Default)]
struct Tasks {
    /// Hashes of the tasks' ids, and of those published again since.
    ids: HashSet<u64>,
    /// The last sequence that was read.
    last: u64,
    /// The last sequence of EVENTS when all of them were gone: no report on them came after it.
    reported_by: Option<u64>,
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
        let tasks = read_tasks(connection).await?;
        Ok(Self { tasks: Mutex::new(tasks), left: Mutex::default() })
    }

    /// Whether a task that a predecessor wanted was never published. Answers so only once: whoever asks
    /// publishes it.
    pub(crate) fn never_published(&self, id: &str) -> bool {
        self.tasks().ids.insert(hash(id))
    }

    /// Forgets the tasks if nobody can ask for them any more. `done`: up to where everything that was on
    /// EVENTS is taken in.
    pub(crate) async fn forget_tasks(
        &self,
        connection: &Connection,
        done: impl FnOnce() -> u64,
    ) -> Result<(), JetStreamError> {
        if self.tasks().ids.is_empty() {
            return Ok(());
        }
        let first_task = stream_state(connection, Stream::Tasks).await?.first_sequence;
        let last_event = last_sequence(connection, Stream::Events).await?;
        self.forget_tasks_if_gone(first_task, last_event, done());
        Ok(())
    }

    /// `first_task` is the first sequence of TASKS, `last_event` the last one of EVENTS after that was asked.
    fn forget_tasks_if_gone(&self, first_task: u64, last_event: u64, done: u64) {
        let mut tasks = self.tasks();
        if first_task > tasks.last && done >= *tasks.reported_by.get_or_insert(last_event) {
            tasks.ids = HashSet::new();
        }
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

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last sequence of a stream.
pub(crate) async fn last_sequence(connection: &Connection, stream: Stream) -> Result<u64, JetStreamError> {
    Ok(stream_state(connection, stream).await?.last_sequence)
}

async fn stream_state(
    connection: &Connection,
    stream: Stream,
) -> Result<async_nats::jetstream::stream::State, JetStreamError> {
    let other = |error: String| JetStreamError::Other(error);
    let stream = connection.jetstream().get_stream(stream.name(connection.namespace())).await;
    let stream = stream.map_err(|error| other(error.to_string()))?;
    Ok(stream.cached_info().state.clone())
}

async fn read_tasks(connection: &Connection) -> Result<Tasks, JetStreamError> {
    // A work queue allows no second consumer; reading pages takes nothing from its workers.
    let subject = subject::all_tasks(connection.namespace());
    let mut tasks = Tasks::default();
    loop {
        let page = read_page(connection, Stream::Tasks, &subject, tasks.last + 1).await?;
        for message in &page.messages {
            tasks.last = message.sequence;
            if let Some(id) = message.headers.as_ref().and_then(|headers| headers.get(MESSAGE_ID)) {
                tasks.ids.insert(hash(id.as_str()));
            }
        }
        if !page.more {
            return Ok(tasks);
        }
    }
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_known_until_all_are_gone_and_every_report_is_taken_in() {
        let tasks = Tasks { ids: HashSet::from([hash("run/1/1")]), last: 7, reported_by: None };
        let recovery = Recovery { tasks: Mutex::new(tasks), left: Mutex::default() };
        for (first_task, last_event, done) in [(7, 100, 100), (8, 100, 99), (8, 200, 99)] {
            recovery.forget_tasks_if_gone(first_task, last_event, done);
            assert!(!recovery.never_published("run/1/1"), "{first_task} {last_event} {done}");
        }
        // What was stored since is no report on them.
        recovery.forget_tasks_if_gone(9, 300, 100);
        assert!(recovery.tasks().ids.is_empty());
    }

    #[test]
    fn what_was_never_published_is_said_once() {
        let recovery = Recovery { tasks: Mutex::default(), left: Mutex::default() };
        assert!(recovery.never_published("run/1/1"));
        assert!(!recovery.never_published("run/1/1"));
    }
}
