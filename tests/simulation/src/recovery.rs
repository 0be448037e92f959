//! What predecessors left of a partition, and what of it is to be looked at.

use std::collections::BTreeSet;

use stepwell_shared::ids::WorkflowId;

/// What predecessors left.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    /// What was on TASKS when the partition was taken; `None` when that does not matter any more.
    tasks: Option<BTreeSet<String>>,
    /// What was published again since.
    again: BTreeSet<String>,
    /// The last sequence of TASKS when they were read.
    last_task: u64,
    /// The last sequence of EVENTS when all of them were gone.
    reported_by: Option<u64>,
    /// What predecessors had set aside.
    pub(crate) aside: BTreeSet<String>,
    /// Workflows that are to be looked at when everything has been read, and those that are looked at now.
    pub(crate) later: BTreeSet<WorkflowId>,
    pub(crate) now: BTreeSet<WorkflowId>,
}

impl Recovery {
    pub(crate) fn new(tasks: BTreeSet<String>, last_task: u64) -> Self {
        Self { tasks: Some(tasks), last_task, ..Self::default() }
    }

    /// Whether a task that a predecessor wanted was never published. Answers so only once.
    pub(crate) fn never_published(&mut self, id: &str) -> bool {
        let seen = self.tasks.as_ref().is_some_and(|tasks| tasks.contains(id));
        !seen && self.again.insert(id.to_owned())
    }

    /// Forgets the tasks if nobody can ask for them any more.
    pub(crate) fn forget_tasks_if_gone(&mut self, first_task: u64, last_event: u64, done: u64) {
        let gone = self.tasks.is_some() && first_task > self.last_task;
        if gone && done >= *self.reported_by.get_or_insert(last_event) {
            self.tasks = None;
            self.again.clear();
        }
    }

    /// The workflows that are to be looked at; they are looked at from now on.
    pub(crate) fn take_later(&mut self) -> BTreeSet<WorkflowId> {
        let later = std::mem::take(&mut self.later);
        self.now.extend(later.iter().cloned());
        later
    }

    pub(crate) fn is_over(&self) -> bool {
        self.later.is_empty() && self.now.is_empty()
    }
}
