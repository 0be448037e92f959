//! A durable pull consumer in memory: what was handed out, what is overdue, how often each.

use std::collections::{BTreeMap, BTreeSet};

use super::stream::{MemoryStream, matches};

/// A queue's consumer.
pub(super) struct Consumer {
    filter: String,
    ack_wait_ms: u64,
    /// The highest sequence that was handed out for the first time.
    delivered: u64,
    /// Handed out and not acknowledged: when each is overdue.
    pending: BTreeMap<u64, u64>,
    /// Overdue, to be handed out again first.
    overdue: BTreeSet<u64>,
    counts: BTreeMap<u64, u64>,
}

impl Consumer {
    pub(super) fn new(filter: String, ack_wait_ms: u64) -> Self {
        Self {
            filter,
            ack_wait_ms,
            delivered: 0,
            pending: BTreeMap::new(),
            overdue: BTreeSet::new(),
            counts: BTreeMap::new(),
        }
    }

    /// The next task with the number of its delivery.
    pub(super) fn next(&mut self, stream: &MemoryStream, now_ms: u64) -> Option<(u64, u64)> {
        self.look_for_overdue(now_ms);
        let sequence = match self.overdue.pop_first() {
            Some(sequence) => sequence,
            None => {
                let next = stream
                    .messages
                    .range(self.delivered + 1..)
                    .find(|(_, stored)| matches(&self.filter, &stored.subject));
                self.delivered = *next?.0;
                self.delivered
            }
        };
        self.pending.insert(sequence, now_ms + self.ack_wait_ms);
        let count = self.counts.entry(sequence).or_insert(0);
        *count += 1;
        Some((sequence, *count))
    }

    /// When the next task that is handed out becomes overdue.
    pub(super) fn next_overdue_ms(&self) -> Option<u64> {
        self.pending.values().min().copied()
    }

    pub(super) fn ack(&mut self, sequence: u64) {
        self.pending.remove(&sequence);
        self.overdue.remove(&sequence);
        self.counts.remove(&sequence);
    }

    pub(super) fn in_progress(&mut self, sequence: u64, now_ms: u64) {
        if let Some(overdue_ms) = self.pending.get_mut(&sequence) {
            *overdue_ms = now_ms + self.ack_wait_ms;
        }
    }

    fn look_for_overdue(&mut self, now_ms: u64) {
        let overdue: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, at_ms)| **at_ms <= now_ms)
            .map(|(sequence, _)| *sequence)
            .collect();
        for sequence in overdue {
            self.pending.remove(&sequence);
            self.overdue.insert(sequence);
        }
    }
}
