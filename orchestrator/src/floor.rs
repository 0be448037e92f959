//! How far a partition's events have been dealt with: the sequence below which every event is recorded (or
//! set aside) and every effect of it confirmed.
//!
//! Events are begun in stream order and done in any order; the floor is just below the oldest one that is
//! not done. It never moves past an event by itself, not even when a task dies: only [`Floor::done`] does.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The floor of one partition.
pub(crate) struct Floor {
    state: Mutex<State>,
    /// Bytes of the bodies that are in flight. Asked for each event that is read, so beside the lock.
    bytes: AtomicUsize,
}

struct State {
    open: BTreeSet<u64>,
    /// Up to where everything of the partition has been read.
    read: u64,
}

/// An event that has been begun and must be reported done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// The size of its body.
    pub(crate) bytes: u32,
    pub(crate) sequence: u64,
}

impl Floor {
    pub(crate) fn new(read: u64) -> Self {
        Self { state: Mutex::new(State { open: BTreeSet::new(), read }), bytes: AtomicUsize::new(0) }
    }

    /// Up to there is nothing that has not been dealt with or begun.
    pub(crate) fn pass(&self, sequence: u64) {
        let mut state = self.lock();
        state.read = state.read.max(sequence);
    }

    /// Takes note of an event, in stream order.
    pub(crate) fn begin(&self, receipt: Receipt) {
        let mut state = self.lock();
        state.read = state.read.max(receipt.sequence);
        if state.open.insert(receipt.sequence) {
            self.bytes.fetch_add(receipt.bytes as usize, Ordering::Relaxed);
        }
    }

    /// The event is recorded and what it caused is confirmed.
    pub(crate) fn done(&self, receipt: Receipt) {
        if self.lock().open.remove(&receipt.sequence) {
            self.bytes.fetch_sub(receipt.bytes as usize, Ordering::Relaxed);
        }
    }

    /// The highest sequence up to which everything of the partition is done.
    pub(crate) fn done_to(&self) -> u64 {
        let state = self.lock();
        state.open.first().map_or(state.read, |oldest| oldest - 1)
    }

    /// The highest sequence up to which everything of the partition has been read.
    pub(crate) fn read_to(&self) -> u64 {
        self.lock().read
    }

    /// How many events are begun and not done.
    pub(crate) fn in_flight(&self) -> usize {
        self.lock().open.len()
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
        let receipt = |sequence| Receipt { bytes: 100, sequence };
        let floor = Floor::new(10);
        assert_eq!(floor.done_to(), 10);
        for sequence in [11, 12, 15] {
            floor.begin(receipt(sequence));
        }
        floor.done(receipt(12));
        assert_eq!((floor.done_to(), floor.read_to()), (10, 15));
        floor.done(receipt(11));
        floor.pass(20);
        assert_eq!((floor.done_to(), floor.read_to()), (14, 20));
        floor.done(receipt(15));
        floor.done(receipt(15));
        assert_eq!((floor.done_to(), floor.in_flight()), (20, 0));
    }

    #[test]
    fn each_event_counts_once_with_its_bytes() {
        let receipt = |sequence, bytes| Receipt { bytes, sequence };
        let floor = Floor::new(0);
        floor.begin(receipt(1, 5));
        floor.begin(receipt(2, u32::MAX));
        floor.begin(receipt(2, u32::MAX));
        assert_eq!((floor.in_flight(), floor.bytes_in_flight()), (2, 5 + u32::MAX as usize));
        floor.done(receipt(2, u32::MAX));
        floor.done(receipt(2, u32::MAX));
        floor.done(receipt(3, 7));
        assert_eq!((floor.in_flight(), floor.bytes_in_flight()), (1, 5));
        floor.done(receipt(1, 5));
        assert_eq!((floor.in_flight(), floor.bytes_in_flight()), (0, 0));
    }
}
