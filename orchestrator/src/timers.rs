//! When runs are to be woken: one entry per sleeping run, in memory and in the `timers` bucket.
//!
//! A run has many alarms; only the earliest is kept here, and it is rewritten only when an earlier one
//! comes up or when it has fired. A stored time may therefore be too early, which costs a wake in vain,
//! but never too late.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stepwell_connection::clock::now_ms;
use stepwell_shared::ids::{Name, WorkflowId};
use tokio::sync::Notify;

/// The longest sleep between two looks at the clock: wall clocks may be set.
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// Most wakes that are handed out at once.
const MAX_DUE: usize = 1_024;

/// What lies in the bucket under a workflow's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TimerEntry {
    pub(crate) v: u32,
    pub(crate) due_ms: u64,
    /// The queues on which the run waits for a worker to appear.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) waits_on: BTreeSet<Name>,
}

/// A change that the bucket needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TimerWrite {
    /// Store this.
    Put(TimerEntry),
    /// Remove the key.
    Remove,
}

/// A run whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) id: WorkflowId,
    pub(crate) due_ms: u64,
}

/// The entries of all sleeping runs.
#[derive(Default)]
pub(crate) struct Timers {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    entries: HashMap<WorkflowId, Entry>,
    due: BTreeSet<(u64, WorkflowId)>,
}

struct Entry {
    due_ms: u64,
    fired: bool,
    waiting: bool,
}

impl Timers {
    /// Takes an entry that was read from the bucket.
    pub(crate) fn restore(&self, id: WorkflowId, entry: &TimerEntry) {
        let waiting = !entry.waits_on.is_empty();
        self.lock().put(&id, entry.due_ms, waiting);
        self.changed.notify_one();
    }

    /// Says when a run wants to be woken next, after a commit. Returns what the bucket needs, if anything.
    /// `idle`: the run is closed and wants nothing more.
    pub(crate) fn want(
        &self,
        id: &WorkflowId,
        next_ms: Option<u64>,
        idle: bool,
        waits_on: BTreeSet<Name>,
    ) -> Option<TimerWrite> {
        let mut state = self.lock();
        let waiting = !waits_on.is_empty();
        let (fired, stored, was_waiting) = match state.entries.get(id) {
            Some(entry) => (entry.fired, Some(entry.due_ms), entry.waiting),
            None => (false, None, false),
        };
        match (next_ms.filter(|_| !idle), stored) {
            (None, None) => None,
            (None, Some(_)) if idle || fired => {
                state.remove(id);
                Some(TimerWrite::Remove)
            }
            // Too early, and cheaper to let it fire in vain than to rewrite it.
            (None, Some(_)) => None,
            (Some(next_ms), Some(stored)) if stored <= next_ms && !fired && waiting == was_waiting => None,
            (Some(next_ms), _) => {
                state.put(id, next_ms, waiting);
                drop(state);
                self.changed.notify_one();
                Some(TimerWrite::Put(TimerEntry {
                    v: stepwell_shared::encoding::VERSION,
                    due_ms: next_ms,
                    waits_on,
                }))
            }
        }
    }

    /// Waits until runs are due and returns them, earliest first. Never early.
    pub(crate) async fn due(&self) -> Vec<Due> {
        loop {
            let now = now_ms();
            let (due, next) = self.take_due(now);
            if !due.is_empty() {
                return due;
            }
            let sleep = next.map_or(MAX_SLEEP, |next| Duration::from_millis(next.saturating_sub(now)));
            tokio::select! {
                () = tokio::time::sleep(sleep.min(MAX_SLEEP)) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// How many runs sleep.
    pub(crate) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    fn take_due(&self, now: u64) -> (Vec<Due>, Option<u64>) {
        let mut state = self.lock();
        let mut due = Vec::new();
        while due.len() < MAX_DUE
            && let Some((due_ms, _)) = state.due.first()
            && *due_ms <= now
            && let Some((due_ms, id)) = state.due.pop_first()
        {
            if let Some(entry) = state.entries.get_mut(&id) {
                entry.fired = true;
            }
            due.push(Due { id, due_ms });
        }
        (due, state.due.first().map(|(due_ms, _)| *due_ms))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, id: &WorkflowId, due_ms: u64, waiting: bool) {
        self.remove(id);
        self.entries.insert(id.clone(), Entry { due_ms, fired: false, waiting });
        self.due.insert((due_ms, id.clone()));
    }

    fn remove(&mut self, id: &WorkflowId) {
        if let Some(entry) = self.entries.remove(id) {
            self.due.remove(&(entry.due_ms, id.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> WorkflowId {
        WorkflowId::new(text).unwrap()
    }

    fn want(timers: &Timers, next_ms: Option<u64>, idle: bool) -> Option<TimerWrite> {
        timers.want(&id("a"), next_ms, idle, BTreeSet::new())
    }

    fn put(due_ms: u64) -> Option<TimerWrite> {
        Some(TimerWrite::Put(TimerEntry { v: 1, due_ms, waits_on: BTreeSet::new() }))
    }

    #[test]
    fn only_an_earlier_time_is_written() {
        let timers = Timers::default();
        assert_eq!(want(&timers, None, false), None);
        assert_eq!(want(&timers, Some(100), false), put(100));
        assert_eq!(want(&timers, Some(200), false), None);
        assert_eq!(want(&timers, None, false), None);
        assert_eq!(want(&timers, Some(50), false), put(50));
        assert_eq!(want(&timers, None, true), Some(TimerWrite::Remove));
        assert_eq!(timers.len(), 0);
    }

    #[test]
    fn after_firing_the_entry_is_replaced_or_removed() {
        let timers = Timers::default();
        want(&timers, Some(100), false);
        assert_eq!(timers.take_due(99), (vec![], Some(100)));
        assert_eq!(timers.take_due(100), (vec![Due { id: id("a"), due_ms: 100 }], None));
        assert_eq!(want(&timers, Some(300), false), put(300));
        timers.take_due(300);
        assert_eq!(want(&timers, None, false), Some(TimerWrite::Remove));
    }
}
