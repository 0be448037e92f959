//! When runs are to be woken, and how far events have been dealt with: the tables of an orchestrator.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use stepwell_shared::ids::{Name, WorkflowId};

/// What lies in the `timers` bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TimerEntry {
    pub(crate) v: u32,
    pub(crate) due_ms: u64,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) waits_on: BTreeSet<Name>,
}

/// A change that the bucket needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TimerWrite {
    Put(TimerEntry),
    Remove,
}

/// The entries of all sleeping runs. What is in the bucket is also what brings a successor to a run that
/// was woken and whose effects were not all published: it is taken away only when nothing is unconfirmed.
#[derive(Debug, Default)]
pub(crate) struct Timers(BTreeMap<WorkflowId, Timer>);

#[derive(Debug, Default)]
struct Timer {
    wanted: Option<Wanted>,
    stored: Option<TimerEntry>,
    unconfirmed: usize,
}

#[derive(Debug)]
struct Wanted {
    entry: TimerEntry,
    fired: bool,
}

impl Timers {
    pub(crate) fn restore(&mut self, id: WorkflowId, entry: &TimerEntry) {
        let timer = self.0.entry(id).or_default();
        timer.stored = Some(entry.clone());
        timer.wanted = Some(Wanted { entry: entry.clone(), fired: false });
    }

    /// Somebody begins to work on a run.
    pub(crate) fn begin(&mut self, id: &WorkflowId) {
        self.0.entry(id.clone()).or_default().unconfirmed += 1;
    }

    /// What somebody wanted for a run is confirmed.
    pub(crate) fn end(&mut self, id: &WorkflowId) -> Option<TimerWrite> {
        let timer = self.0.get_mut(id)?;
        timer.unconfirmed -= 1;
        if timer.unconfirmed > 0 {
            return None;
        }
        let write = timer.store();
        if timer.wanted.is_none() && timer.stored.is_none() {
            self.0.remove(id);
        }
        write
    }

    /// The same for a run at which somebody will look again: what is stored stays.
    pub(crate) fn end_unchecked(&mut self, id: &WorkflowId) {
        if let Some(timer) = self.0.get_mut(id) {
            timer.unconfirmed -= 1;
        }
    }

    /// Whether everything that anybody wanted for a run is confirmed.
    pub(crate) fn all_confirmed(&self, id: &WorkflowId) -> bool {
        self.0.get(id).is_none_or(|timer| timer.unconfirmed == 0)
    }

    pub(crate) fn want(
        &mut self,
        id: &WorkflowId,
        next_ms: Option<u64>,
        idle: bool,
        waits_on: BTreeSet<Name>,
    ) -> Option<TimerWrite> {
        let timer = self.0.get_mut(id)?;
        let wanted = next_ms.filter(|_| !idle);
        let changes = match (wanted, &timer.wanted) {
            (None, None) => false,
            (None, Some(before)) => idle || before.fired,
            (Some(_), None) => true,
            (Some(next_ms), Some(before)) => {
                next_ms < before.entry.due_ms || before.fired || waits_on != before.entry.waits_on
            }
        };
        if changes {
            let entry = |due_ms| TimerEntry { v: 1, due_ms, waits_on };
            timer.wanted = wanted.map(entry).map(|entry| Wanted { entry, fired: false });
        }
        if timer.takes_away() { None } else { timer.store() }
    }

    /// What was to be stored last.
    pub(crate) fn stored(&self, id: &WorkflowId) -> TimerWrite {
        let stored = self.0.get(id).and_then(|timer| timer.stored.clone());
        stored.map_or(TimerWrite::Remove, TimerWrite::Put)
    }

    pub(crate) fn take_due(&mut self, now_ms: u64) -> Vec<WorkflowId> {
        let mut found = Vec::new();
        for (id, timer) in &mut self.0 {
            if let Some(wanted) = timer.wanted.as_mut().filter(|it| !it.fired && it.entry.due_ms <= now_ms) {
                wanted.fired = true;
                found.push((wanted.entry.due_ms, id.clone()));
            }
        }
        found.sort();
        found.into_iter().map(|(_, id)| id).collect()
    }

    pub(crate) fn next_ms(&self) -> Option<u64> {
        let waiting = self.0.values().filter_map(|timer| timer.wanted.as_ref());
        waiting.filter(|wanted| !wanted.fired).map(|wanted| wanted.entry.due_ms).min()
    }
}

impl Timer {
    fn takes_away(&self) -> bool {
        match (&self.wanted, &self.stored) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(wanted), Some(stored)) => wanted.entry.due_ms > stored.due_ms,
        }
    }

    fn store(&mut self) -> Option<TimerWrite> {
        let wanted = self.wanted.as_ref().map(|wanted| &wanted.entry);
        if wanted == self.stored.as_ref() {
            return None;
        }
        self.stored = wanted.cloned();
        Some(self.stored.clone().map_or(TimerWrite::Remove, TimerWrite::Put))
    }
}

/// An event that has been begun, or a part of one that is a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) sequence: u64,
    /// Which part, from 0.
    pub(crate) part: usize,
}

/// How far a partition has been dealt with.
#[derive(Debug)]
pub(crate) struct Floor {
    /// Which parts of each event are not done.
    open: BTreeMap<u64, BTreeSet<usize>>,
    read: u64,
    /// An event is done as soon as one of its parts is.
    careless: bool,
}

impl Floor {
    pub(crate) fn new(read: u64, careless: bool) -> Self {
        Self { open: BTreeMap::new(), read, careless }
    }

    /// Everything up to an event was read, and it needs no work.
    pub(crate) fn pass(&mut self, sequence: u64) {
        self.read = self.read.max(sequence);
    }

    /// Takes note of all parts of an event.
    pub(crate) fn begin(&mut self, parts: &[Receipt]) {
        for receipt in parts {
            self.pass(receipt.sequence);
            self.open.entry(receipt.sequence).or_default().insert(receipt.part);
        }
    }

    pub(crate) fn done(&mut self, receipt: Receipt) {
        if let Some(parts) = self.open.get_mut(&receipt.sequence) {
            parts.remove(&receipt.part);
            if parts.is_empty() || self.careless {
                self.open.remove(&receipt.sequence);
            }
        }
    }

    pub(crate) fn read_to(&self) -> u64 {
        self.read
    }

    pub(crate) fn done_to(&self) -> u64 {
        self.open.first_key_value().map_or(self.read, |(oldest, _)| oldest - 1)
    }
}
