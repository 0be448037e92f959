//! What a successor must know of its predecessors: which activity tasks they had published. Together with
//! the reports on the EVENTS stream this says exactly what was never published, however long ago it was.
//!
//! A task that was wanted is either on the TASKS stream of its shard, or a worker has finished it, and its report is on
//! EVENTS below the sequence that was the last when TASKS had been read. What is neither was never
//! published.
//!
//! Which tasks there were must be known for as long as one of them lies on TASKS, though everything that was
//! left has long been looked at: an activity may run for days, and its run is not read before something
//! happens to it. What is then outstanding must be told from what was never published. When all of them are
//! gone and every report that was stored until then is taken in, no run waits for any of them, and they are
//! forgotten. What a predecessor still records that has not noticed that it is one wants tasks that were never
//! among them, and is dealt with in the same way before and after. The bound is that of TASKS: some sixteen
//! bytes for each message that it holds. Partitions that are taken at the same time share one reading.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stepwell_connection::page::read_page;
use stepwell_connection::{Connection, JetStreamError, leader};
use stepwell_shared::headers::MESSAGE_ID;
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::shard::{Shard, Shards};
use stepwell_shared::subject::{self, Stream};

/// What was on the TASKS streams at some moment.
#[derive(Debug, Default)]
pub(crate) struct TasksSeen {
    /// Hashes of the tasks' ids.
    ids: HashSet<u64>,
    /// The last sequence of each shard that was read.
    last: BTreeMap<Shard, u64>,
}

/// What predecessors left of a partition.
pub(crate) struct Recovery {
    tasks: Mutex<Tasks>,
    left: Mutex<Left>,
}

struct Tasks {
    /// What was on TASKS when the partition was taken; `None` when that does not matter any more.
    seen: Option<Arc<TasksSeen>>,
    /// Hashes of the ids of those published again since.
    again: HashSet<u64>,
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

impl TasksSeen {
    /// Reads what is on TASKS now, nothing left out that was acknowledged before.
    pub(crate) async fn read(connection: &Connection, shards: Shards) -> Result<Self, JetStreamError> {
        let mut seen = Self::default();
        for shard in shards.all() {
            seen.read_shard(connection, shard).await?;
        }
        Ok(seen)
    }

    async fn read_shard(&mut self, connection: &Connection, shard: Shard) -> Result<(), JetStreamError> {
        let tasks = Stream::Tasks(shard);
        let (stream, subject) =
            (tasks.name(connection.namespace()), subject::all_tasks(connection.namespace(), shard));
        let up_to = leader::state(connection, &stream).await?.last_sequence;
        let mut last = 0;
        // A work queue allows no second consumer; reading pages takes nothing from its workers.
        loop {
            let page = read_page(connection, tasks, &subject, last + 1).await?;
            for message in &page.messages {
                last = message.sequence;
                self.see(message.headers.as_ref());
            }
            if !page.more {
                break;
            }
        }
        // What the replica that answered did not have yet.
        while last < up_to
            && let Some(message) = leader::next_message(connection, &stream, &subject, last + 1).await?
        {
            last = message.sequence;
            self.see(Some(&message.headers));
        }
        self.last.insert(shard, last.max(up_to));
        Ok(())
    }

    /// Whether a task of this id was there.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.ids.contains(&hash(id))
    }

    /// Whether all of them are gone, when these are the first sequences that are still there.
    fn gone(&self, first: &BTreeMap<Shard, u64>) -> bool {
        self.last.iter().all(|(shard, last)| first.get(shard).is_some_and(|first| first > last))
    }

    fn see(&mut self, headers: Option<&async_nats::HeaderMap>) {
        if let Some(id) = headers.and_then(|headers| headers.get(MESSAGE_ID)) {
            self.ids.insert(hash(id.as_str()));
        }
    }
}

impl Recovery {
    /// For a partition whose tasks are among `seen`, if they were published at all.
    pub(crate) fn new(seen: Arc<TasksSeen>) -> Self {
        let tasks = Tasks { seen: Some(seen), again: HashSet::new(), reported_by: None };
        Self { tasks: Mutex::new(tasks), left: Mutex::default() }
    }

    /// Whether a task that a predecessor wanted was never published. Answers so only once: whoever asks
    /// publishes it.
    pub(crate) fn never_published(&self, id: &str) -> bool {
        let mut tasks = self.tasks();
        let seen = tasks.seen.as_ref().is_some_and(|seen| seen.has(id));
        !seen && tasks.again.insert(hash(id))
    }

    /// Forgets the tasks if nobody can ask for them any more. `done`: up to where everything that was on
    /// EVENTS is taken in.
    pub(crate) async fn forget_tasks(
        &self,
        connection: &Connection,
        done: impl FnOnce() -> u64,
    ) -> Result<(), JetStreamError> {
        if self.tasks().seen.is_none() {
            return Ok(());
        }
        let namespace = connection.namespace();
        let mut first_tasks = BTreeMap::new();
        for shard in connection.shards().await?.all() {
            let state = leader::state(connection, &Stream::Tasks(shard).name(namespace)).await?;
            first_tasks.insert(shard, state.first_sequence);
        }
        let last_event = leader::state(connection, &Stream::Events.name(namespace)).await?.last_sequence;
        self.forget_tasks_if_gone(&first_tasks, last_event, done());
        Ok(())
    }

    /// `first_tasks` are the first sequences of TASKS, `last_event` the last one of EVENTS after that was asked.
    fn forget_tasks_if_gone(&self, first_tasks: &BTreeMap<Shard, u64>, last_event: u64, done: u64) {
        let mut tasks = self.tasks();
        let gone = tasks.seen.as_ref().is_some_and(|seen| seen.gone(first_tasks));
        if gone && done >= *tasks.reported_by.get_or_insert(last_event) {
            tasks.seen = None;
            tasks.again = HashSet::new();
        }
    }

    /// Notes a workflow that is to be looked at again when everything has been read.
    pub(crate) fn later(&self, id: &WorkflowId) {
        self.left().later.insert(id.clone());
    }

    /// A workflow is going to be looked at.
    pub(crate) fn now(&self, id: &WorkflowId) {
        let mut left = self.left();
        left.later.remove(id);
        left.now.insert(id.clone());
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

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recovery(ids: &[&str], last: [u64; 2]) -> Recovery {
        let ids = ids.iter().map(|id| hash(id)).collect();
        Recovery::new(Arc::new(TasksSeen { ids, last: of_shards(last) }))
    }

    fn of_shards(sequences: [u64; 2]) -> BTreeMap<Shard, u64> {
        Shards::try_from(2).unwrap().all().zip(sequences).collect()
    }

    #[test]
    fn tasks_are_known_until_all_are_gone_and_every_report_is_taken_in() {
        let recovery = recovery(&["run/1/1"], [7, 40]);
        for (first_tasks, last_event, done) in
            [([7, 41], 100, 100), ([8, 40], 100, 100), ([8, 41], 100, 99), ([8, 41], 200, 99)]
        {
            recovery.forget_tasks_if_gone(&of_shards(first_tasks), last_event, done);
            assert!(!recovery.never_published("run/1/1"), "{first_tasks:?} {last_event} {done}");
        }
        // What was stored since is no report on them.
        recovery.forget_tasks_if_gone(&of_shards([9, 50]), 300, 100);
        assert!(recovery.tasks().seen.is_none());
    }

    #[test]
    fn it_is_not_over_from_when_a_workflow_is_noted_until_it_was_looked_at() {
        let (recovery, id) = (recovery(&[], [0, 0]), WorkflowId::new("order-1").unwrap());
        recovery.later(&id);
        assert!(!recovery.is_over(), "nobody has taken it up yet");
        recovery.now(&id);
        assert!(!recovery.is_over());
        recovery.checked(&id);
        assert!(recovery.is_over());
        recovery.later(&id);
        assert_eq!(recovery.take_later().len(), 1);
        assert!(!recovery.is_over());
        recovery.checked(&id);
        assert!(recovery.is_over());
    }

    #[test]
    fn what_was_never_published_is_said_once() {
        let recovery = recovery(&[], [0, 0]);
        assert!(recovery.never_published("run/1/1"));
        assert!(!recovery.never_published("run/1/1"));
    }
}
