//! When runs are to be woken: one entry per sleeping run, in memory and in the `timers` bucket.
//!
//! A run has many alarms; only the earliest is kept here, and it is rewritten only when an earlier one
//! comes up or when it has fired. A stored time may therefore be too early, which costs a wake in vain,
//! but never too late.
//!
//! The entry in the bucket is also what brings a successor to a run that was woken by the clock and whose
//! effects were not all published. So it is taken away, or moved to a later time, only when nothing that
//! the run wanted is unconfirmed; see [`Timers::begin`] and [`Timers::end`].

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

/// What the bucket is to hold of a run.
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

/// What is known of one run. There is none for a run that does not sleep and at which nobody works.
#[derive(Default)]
struct Entry {
    wanted: Option<Alarm>,
    /// What the bucket holds, or was told to hold.
    stored: Option<TimerEntry>,
    /// How many drives have begun whose effects are not confirmed.
    unconfirmed: usize,
}

struct Alarm {
    entry: TimerEntry,
    fired: bool,
}

impl Timers {
    /// Takes an entry that was read from the bucket.
    pub(crate) fn restore(&self, id: &WorkflowId, entry: TimerEntry) {
        let mut state = self.lock();
        state.entries.entry(id.clone()).or_default().stored = Some(entry.clone());
        state.set(id, Some(entry));
        drop(state);
        self.changed.notify_one();
    }

    /// Somebody begins to work on a run.
    pub(crate) fn begin(&self, id: &WorkflowId) {
        self.lock().entries.entry(id.clone()).or_default().unconfirmed += 1;
    }

    /// What somebody wanted for a run who had begun is confirmed. Returns what is to be stored now, if
    /// nothing else of the run is unconfirmed.
    pub(crate) fn end(&self, id: &WorkflowId) -> Option<TimerWrite> {
        let mut state = self.lock();
        let entry = state.entries.get_mut(id)?;
        entry.unconfirmed = entry.unconfirmed.saturating_sub(1);
        if entry.unconfirmed > 0 {
            return None;
        }
        let write = entry.store();
        state.forget_idle(id);
        write
    }

    /// The same, for a run at which somebody is going to look again: what is stored stays.
    pub(crate) fn end_unchecked(&self, id: &WorkflowId) {
        if let Some(entry) = self.lock().entries.get_mut(id) {
            entry.unconfirmed = entry.unconfirmed.saturating_sub(1);
        }
    }

    /// Whether something brings somebody to a run by `next_ms`, if it is to be looked at then.
    pub(crate) fn reminds(&self, id: &WorkflowId, next_ms: Option<u64>) -> bool {
        let Some(next_ms) = next_ms else { return true };
        self.lock().entries.get(id).is_some_and(|entry| {
            // Somebody is at it, and says when it is to be looked at next.
            let at_it = entry.unconfirmed > 0;
            at_it || entry.wanted.as_ref().is_some_and(|alarm| alarm.entry.due_ms <= next_ms)
        })
    }

    /// Whether everything that anybody wanted for a run is confirmed.
    pub(crate) fn all_confirmed(&self, id: &WorkflowId) -> bool {
        self.lock().entries.get(id).is_none_or(|entry| entry.unconfirmed == 0)
    }

    /// Says when a run wants to be woken next, after a commit. Returns what is to be stored before what
    /// led to it counts as done. `idle`: the run is closed and wants nothing more.
    pub(crate) fn want(
        &self,
        id: &WorkflowId,
        next_ms: Option<u64>,
        idle: bool,
        waits_on: BTreeSet<Name>,
    ) -> Option<TimerWrite> {
        let mut state = self.lock();
        let before = state.entries.get(id).and_then(|entry| entry.wanted.as_ref());
        let wanted = next_ms.filter(|_| !idle);
        let changes = match (wanted, before) {
            (None, None) => false,
            // Too early is cheaper than to rewrite it: it fires in vain.
            (None, Some(before)) => idle || before.fired,
            (Some(_), None) => true,
            (Some(next_ms), Some(before)) => {
                next_ms < before.entry.due_ms || before.fired || waits_on != before.entry.waits_on
            }
        };
        if changes {
            let v = stepwell_shared::encoding::VERSION;
            state.set(id, wanted.map(|due_ms| TimerEntry { v, due_ms, waits_on }));
            self.changed.notify_one();
        }
        let entry = state.entries.get_mut(id)?;
        if entry.takes_away() { None } else { entry.store() }
    }

    /// What was to be stored last, in case that it must be said again.
    pub(crate) fn stored(&self, id: &WorkflowId) -> TimerWrite {
        let stored = self.lock().entries.get(id).and_then(|entry| entry.stored.clone());
        stored.map_or(TimerWrite::Remove, TimerWrite::Put)
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
        self.lock().due.len()
    }

    fn take_due(&self, now: u64) -> (Vec<Due>, Option<u64>) {
        let mut state = self.lock();
        let mut due = Vec::new();
        while due.len() < MAX_DUE
            && let Some((due_ms, _)) = state.due.first()
            && *due_ms <= now
            && let Some((due_ms, id)) = state.due.pop_first()
        {
            if let Some(alarm) = state.entries.get_mut(&id).and_then(|entry| entry.wanted.as_mut()) {
                alarm.fired = true;
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
    fn set(&mut self, id: &WorkflowId, wanted: Option<TimerEntry>) {
        let entry = self.entries.entry(id.clone()).or_default();
        if let Some(before) = entry.wanted.take() {
            self.due.remove(&(before.entry.due_ms, id.clone()));
        }
        entry.wanted = wanted.map(|entry| {
            self.due.insert((entry.due_ms, id.clone()));
            Alarm { entry, fired: false }
        });
        self.forget_idle(id);
    }

    fn forget_idle(&mut self, id: &WorkflowId) {
        let idle = self
            .entries
            .get(id)
            .is_some_and(|entry| entry.unconfirmed == 0 && entry.wanted.is_none() && entry.stored.is_none());
        if idle {
            self.entries.remove(id);
        }
    }
}

impl Entry {
    /// Whether storing what is wanted would take away what brings a successor to the run in time.
    fn takes_away(&self) -> bool {
        match (&self.wanted, &self.stored) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(wanted), Some(stored)) => wanted.entry.due_ms > stored.due_ms,
        }
    }

    /// What makes the bucket hold what is wanted, if it does not.
    fn store(&mut self) -> Option<TimerWrite> {
        let wanted = self.wanted.as_ref().map(|alarm| &alarm.entry);
        if wanted == self.stored.as_ref() {
            return None;
        }
        self.stored = wanted.cloned();
        Some(self.stored.clone().map_or(TimerWrite::Remove, TimerWrite::Put))
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

    fn entry(due_ms: u64) -> TimerEntry {
        TimerEntry { v: 1, due_ms, waits_on: BTreeSet::new() }
    }

    fn put(due_ms: u64) -> Option<TimerWrite> {
        Some(TimerWrite::Put(entry(due_ms)))
    }

    fn fire(timers: &Timers, due_ms: u64) {
        assert_eq!(timers.take_due(due_ms), (vec![Due { id: id("a"), due_ms }], None));
    }

    #[test]
    fn only_an_earlier_time_is_written() {
        let timers = Timers::default();
        timers.begin(&id("a"));
        assert_eq!(want(&timers, None, false), None);
        assert_eq!(want(&timers, Some(100), false), put(100));
        assert_eq!(want(&timers, Some(200), false), None);
        assert_eq!(want(&timers, None, false), None);
        assert_eq!(want(&timers, Some(50), false), put(50));
        assert_eq!(timers.take_due(49), (vec![], Some(50)));
        assert_eq!(timers.end(&id("a")), None);
        assert_eq!(timers.len(), 1);
    }

    #[test]
    fn an_entry_is_taken_away_when_everything_is_confirmed() {
        let timers = Timers::default();
        timers.restore(&id("a"), entry(100));
        fire(&timers, 100);
        timers.begin(&id("a"));
        assert_eq!(want(&timers, Some(300), false), None, "a successor needs the earlier one");
        timers.begin(&id("a"));
        assert_eq!(timers.end(&id("a")), None, "the other one is not confirmed");
        assert_eq!(timers.stored(&id("a")), TimerWrite::Put(entry(100)));
        assert_eq!(timers.end(&id("a")), put(300));
        fire(&timers, 300);
        timers.begin(&id("a"));
        assert_eq!(want(&timers, None, false), None);
        assert_eq!(timers.end(&id("a")), Some(TimerWrite::Remove));
        assert_eq!(timers.stored(&id("a")), TimerWrite::Remove);
        assert!(timers.lock().entries.is_empty());
    }

    #[test]
    fn a_closed_run_leaves_nothing() {
        let timers = Timers::default();
        timers.begin(&id("a"));
        assert_eq!(want(&timers, Some(100), false), put(100));
        assert_eq!(want(&timers, None, true), None);
        assert_eq!(timers.len(), 0);
        assert_eq!(timers.end(&id("a")), Some(TimerWrite::Remove));
        timers.begin(&id("a"));
        assert_eq!(timers.end(&id("a")), None);
        assert!(timers.lock().entries.is_empty());
    }

    #[test]
    fn who_is_forgotten_is_known() {
        let timers = Timers::default();
        assert!(timers.reminds(&id("a"), None), "it wants nothing");
        assert!(!timers.reminds(&id("a"), Some(100)));
        timers.begin(&id("a"));
        assert!(timers.reminds(&id("a"), Some(100)), "somebody is at it");
        want(&timers, Some(100), false);
        timers.end(&id("a"));
        assert!(timers.reminds(&id("a"), Some(100)) && timers.reminds(&id("a"), Some(101)));
        assert!(!timers.reminds(&id("a"), Some(99)), "that is too late");
    }

    #[test]
    fn whom_a_run_waits_on_is_stored() {
        let timers = Timers::default();
        timers.begin(&id("a"));
        assert_eq!(want(&timers, Some(100), false), put(100));
        let waits_on = BTreeSet::from([Name::new("q").unwrap()]);
        let waiting = TimerEntry { waits_on: waits_on.clone(), ..entry(100) };
        let write = timers.want(&id("a"), Some(100), false, waits_on);
        assert_eq!(write, Some(TimerWrite::Put(waiting)));
    }
}
