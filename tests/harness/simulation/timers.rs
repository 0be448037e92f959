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

/// The entries of all sleeping runs.
#[derive(Debug, Default)]
pub(crate) struct Timers(BTreeMap<WorkflowId, Timer>);

#[derive(Debug, Clone, Copy)]
struct Timer {
    due_ms: u64,
    fired: bool,
    waiting: bool,
}

impl Timers {
    pub(crate) fn restore(&mut self, id: WorkflowId, entry: &TimerEntry) {
        let timer = Timer { due_ms: entry.due_ms, fired: false, waiting: !entry.waits_on.is_empty() };
        self.0.insert(id, timer);
    }

    pub(crate) fn want(
        &mut self,
        id: &WorkflowId,
        next_ms: Option<u64>,
        idle: bool,
        waits_on: BTreeSet<Name>,
    ) -> Option<TimerWrite> {
        let waiting = !waits_on.is_empty();
        let known = self.0.get(id).copied();
        match (next_ms.filter(|_| !idle), known) {
            (None, None) => None,
            (None, Some(timer)) if idle || timer.fired => {
                self.0.remove(id);
                Some(TimerWrite::Remove)
            }
            (None, Some(_)) => None,
            (Some(next_ms), Some(timer))
                if timer.due_ms <= next_ms && !timer.fired && waiting == timer.waiting =>
            {
                None
            }
            (Some(due_ms), _) => {
                self.0.insert(id.clone(), Timer { due_ms, fired: false, waiting });
                Some(TimerWrite::Put(TimerEntry { v: 1, due_ms, waits_on }))
            }
        }
    }

    pub(crate) fn take_due(&mut self, now_ms: u64) -> Vec<WorkflowId> {
        let due = |timer: &Timer| !timer.fired && timer.due_ms <= now_ms;
        let mut found: Vec<(u64, WorkflowId)> = self
            .0
            .iter()
            .filter(|(_, timer)| due(timer))
            .map(|(id, timer)| (timer.due_ms, id.clone()))
            .collect();
        found.sort();
        for (_, id) in &found {
            if let Some(timer) = self.0.get_mut(id) {
                timer.fired = true;
            }
        }
        found.into_iter().map(|(_, id)| id).collect()
    }

    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.0.values().filter(|timer| !timer.fired).map(|timer| timer.due_ms).min()
    }
}

/// An event that has been begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) partition: u32,
    pub(crate) sequence: u64,
}

/// How far every partition has been dealt with.
#[derive(Debug)]
pub(crate) struct Floors {
    open: Vec<BTreeSet<u64>>,
    read: u64,
}

impl Floors {
    pub(crate) fn new(partitions: u32, read: u64) -> Self {
        Self { open: vec![BTreeSet::new(); partitions as usize], read }
    }

    pub(crate) fn begin(&mut self, receipt: Receipt) {
        self.read = self.read.max(receipt.sequence);
        self.open[receipt.partition as usize].insert(receipt.sequence);
    }

    pub(crate) fn done(&mut self, receipt: Receipt) {
        self.open[receipt.partition as usize].remove(&receipt.sequence);
    }

    pub(crate) fn floor(&self, partition: u32) -> u64 {
        let oldest = self.open[partition as usize].first();
        oldest.map_or(self.read, |oldest| oldest - 1)
    }
}
