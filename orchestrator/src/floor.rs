//! How far the EVENTS stream has been dealt with, per partition: the sequence below which every event is
//! recorded (or set aside) and every effect of it confirmed.
//!
//! Events are begun in stream order and done in any order; the floor is just below the oldest one that is
//! not done. It never moves past an event by itself, not even when a task dies: only [`Floors::done`] does.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The floors of all partitions.
pub(crate) struct Floors {
    state: Mutex<State>,
    /// Bytes of the bodies that are in flight. Asked for each event that is read, so beside the lock.
    bytes: AtomicUsize,
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
    /// The size of its body.
    pub(crate) bytes: u32,
    pub(crate) sequence: u64,
}

impl Floors {
    pub(crate) fn new(partitions: u32, read: u64) -> Self {
        let partitions = vec![BTreeSet::new(); partitions as usize];
        let state = Mutex::new(State { partitions, read, in_flight: 0 });
        Self { state, bytes: AtomicUsize::new(0) }
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
            self.bytes.fetch_add(receipt.bytes as usize, Ordering::Relaxed);
        }
    }

    /// The event is recorded and what it caused is confirmed.
    pub(crate) fn done(&self, receipt: Receipt) {
        let mut state = self.lock();
        if let Some(open) = state.partitions.get_mut(receipt.partition as usize)
            && open.remove(&receipt.sequence)
        {
            state.in_flight -= 1;
            self.bytes.fetch_sub(receipt.bytes as usize, Ordering::Relaxed);
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

    /// How many bytes the bodies of these events have.
    pub(crate) fn bytes_in_flight(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
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
        let receipt = |partition, sequence| Receipt { partition, bytes: 100, sequence };
        let floors = Floors::new(2, 10);
        assert_eq!(floors.floor(0), 10);
        for (partition, sequence) in [(0, 11), (1, 12), (0, 13)] {
            floors.begin(receipt(partition, sequence));
        }
        floors.done(receipt(0, 13));
        assert_eq!((floors.floor(0), floors.floor(1)), (10, 11));
        floors.done(receipt(0, 11));
        assert_eq!((floors.floor(0), floors.floor(1)), (13, 11));
        floors.done(receipt(1, 12));
        floors.done(receipt(1, 12));
        assert_eq!((floors.floor(0), floors.floor(1), floors.in_flight()), (13, 13, 0));
    }

    #[test]
    fn each_event_counts_once_with_its_bytes() {
        let receipt = |sequence, bytes| Receipt { partition: 0, bytes, sequence };
        let floors = Floors::new(1, 0);
        floors.begin(receipt(1, 5));
        floors.begin(receipt(2, u32::MAX));
        floors.begin(receipt(2, u32::MAX));
        // Of a partition that there is not.
        floors.begin(Receipt { partition: 7, bytes: 5, sequence: 3 });
        assert_eq!((floors.in_flight(), floors.bytes_in_flight()), (2, 5 + u32::MAX as usize));
        floors.done(receipt(2, u32::MAX));
        floors.done(receipt(2, u32::MAX));
        floors.done(Receipt { partition: 7, bytes: 5, sequence: 3 });
        assert_eq!((floors.in_flight(), floors.bytes_in_flight()), (1, 5));
        floors.done(receipt(1, 5));
        assert_eq!((floors.in_flight(), floors.bytes_in_flight()), (0, 0));
    }
}
