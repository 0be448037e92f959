//! How far the EVENTS stream has been dealt with, per partition: the sequence below which every event is
//! recorded (or set aside) and every effect of it confirmed.
//!
//! Events are begun in stream order and done in any order; the floor is just below the oldest one that is
//! not done. It never moves past an event by itself, not even when a task dies: only [`Floors::done`] does.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The floors of all partitions.
pub(crate) struct Floors {
    state: Mutex<State>,
}

struct State {
    partitions: Vec<BTreeSet<u64>>,
    /// The highest sequence read, of whatever partition: the stream is read in order.
    read: u64,
    in_flight: usize,
}

/// An event that has been begun and must be reported done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) partition: u32,
    pub(crate) sequence: u64,
}

impl Floors {
    pub(crate) fn new(partitions: u32, read: u64) -> Self {
        let partitions = vec![BTreeSet::new(); partitions as usize];
        Self { state: Mutex::new(State { partitions, read, in_flight: 0 }) }
    }

    /// An event was read that had been dealt with before.
    pub(crate) fn pass(&self, sequence: u64) {
        let mut state = self.lock();
        state.read = state.read.max(sequence);
    }

    /// Takes note of an event, in stream order.
    pub(crate) fn begin(&self, receipt: Receipt) {
        let mut state = self.lock();
        state.read = state.read.max(receipt.sequence);
        if let Some(open) = state.partitions.get_mut(receipt.partition as usize)
            && open.insert(receipt.sequence)
        {
            state.in_flight += 1;
        }
    }

    /// The event is recorded and what it caused is confirmed.
    pub(crate) fn done(&self, receipt: Receipt) {
        let mut state = self.lock();
        if let Some(open) = state.partitions.get_mut(receipt.partition as usize)
            && open.remove(&receipt.sequence)
        {
            state.in_flight -= 1;
        }
    }

    /// The highest sequence up to which everything of the partition is done.
    pub(crate) fn floor(&self, partition: u32) -> u64 {
        let state = self.lock();
        let oldest = state.partitions.get(partition as usize).and_then(|open| open.first().copied());
        oldest.map_or(state.read, |oldest| oldest - 1)
    }

    /// How many events are begun and not done.
    pub(crate) fn in_flight(&self) -> usize {
        self.lock().in_flight
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_waits_for_the_oldest() {
        let floors = Floors::new(2, 10);
        assert_eq!(floors.floor(0), 10);
        for (partition, sequence) in [(0, 11), (1, 12), (0, 13)] {
            floors.begin(Receipt { partition, sequence });
        }
        floors.done(Receipt { partition: 0, sequence: 13 });
        assert_eq!((floors.floor(0), floors.floor(1)), (10, 11));
        floors.done(Receipt { partition: 0, sequence: 11 });
        assert_eq!((floors.floor(0), floors.floor(1)), (13, 11));
        floors.done(Receipt { partition: 1, sequence: 12 });
        floors.done(Receipt { partition: 1, sequence: 12 });
        assert_eq!((floors.floor(0), floors.floor(1), floors.in_flight()), (13, 13, 0));
    }
}
