//! How far a partition's events have been dealt with: the sequence below which every event is recorded (or
//! set aside) and every effect of it confirmed.
//!
//! Events are begun in stream order and done in any order; the floor is just below the oldest one that is
//! not done. It never moves past an event by itself, not even when a task dies: only [`Floor::done`] does.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use stepwell_shared::limits::MAX_PACK;

/// The floor of one partition.
pub(crate) struct Floor {
    state: Mutex<State>,
    /// Bytes of the bodies that are in flight. Asked for each event that is read, so beside the lock.
    bytes: AtomicUsize,
}

struct State {
    /// Which parts of each event that is begun are not done: one bit for each.
    open: BTreeMap<u64, u64>,
    /// How many these are.
    parts: usize,
    /// Up to where everything of the partition has been read.
    read: u64,
}

// A pack has no more parts than there are bits.
const _: () = assert!(MAX_PACK <= u64::BITS as usize);

/// An event that has been begun, or a part of one that is a pack, and must be reported done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// The size of the event's body.
    pub(crate) bytes: u32,
    pub(crate) sequence: u64,
    /// Which part, from 0.
    pub(crate) part: u8,
}

impl Receipt {
    fn bit(self) -> u64 {
        1_u64.checked_shl(u32::from(self.part)).unwrap_or(0)
    }
}

impl Floor {
    pub(crate) fn new(read: u64) -> Self {
        Self {
            state: Mutex::new(State { open: BTreeMap::new(), parts: 0, read }),
            bytes: AtomicUsize::new(0),
        }
    }

    /// Up to there is nothing that has not been dealt with or begun.
    pub(crate) fn pass(&self, sequence: u64) {
        let mut state = self.lock();
        state.read = state.read.max(sequence);
    }

    /// Takes note of an event's parts, in stream order: all parts of an event at once.
    pub(crate) fn begin(&self, parts: &[Receipt]) {
        let Some(first) = parts.first() else { return };
        let mut state = self.lock();
        state.read = state.read.max(first.sequence);
        if let Entry::Vacant(entry) = state.open.entry(first.sequence) {
            entry.insert(parts.iter().fold(0, |bits, receipt| bits | receipt.bit()));
            state.parts += parts.len();
            self.bytes.fetch_add(first.bytes as usize, Ordering::Relaxed);
        }
    }

    /// The event, or this part of it, is recorded and what it caused is confirmed.
    pub(crate) fn done(&self, receipt: Receipt) {
        let mut state = self.lock();
        let State { open, parts, .. } = &mut *state;
        let Entry::Occupied(mut entry) = open.entry(receipt.sequence) else { return };
        if *entry.get() & receipt.bit() != 0 {
            *entry.get_mut() &= !receipt.bit();
            *parts -= 1;
        }
        if *entry.get() == 0 {
            entry.remove();
            self.bytes.fetch_sub(receipt.bytes as usize, Ordering::Relaxed);
        }
    }

    /// The highest sequence up to which everything of the partition is done.
    pub(crate) fn done_to(&self) -> u64 {
        let state = self.lock();
        state.open.first_key_value().map_or(state.read, |(oldest, _)| oldest - 1)
    }

    /// The highest sequence up to which everything of the partition has been read.
    pub(crate) fn read_to(&self) -> u64 {
        self.lock().read
    }

    /// How many events, or parts of events, are begun and not done.
    pub(crate) fn in_flight(&self) -> usize {
        self.lock().parts
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
        let receipt = |sequence| Receipt { bytes: 100, sequence, part: 0 };
        let floor = Floor::new(10);
        assert_eq!(floor.done_to(), 10);
        for sequence in [11, 12, 15] {
            floor.begin(&[receipt(sequence)]);
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
        let receipt = |sequence, bytes| Receipt { bytes, sequence, part: 0 };
        let floor = Floor::new(0);
        floor.begin(&[receipt(1, 5)]);
        floor.begin(&[receipt(2, u32::MAX)]);
        floor.begin(&[receipt(2, u32::MAX)]);
        assert_eq!((floor.in_flight(), floor.bytes_in_flight()), (2, 5 + u32::MAX as usize));
        floor.done(receipt(2, u32::MAX));
        floor.done(receipt(2, u32::MAX));
        floor.done(receipt(3, 7));
        assert_eq!((floor.in_flight(), floor.bytes_in_flight()), (1, 5));
        floor.done(receipt(1, 5));
        assert_eq!((floor.in_flight(), floor.bytes_in_flight()), (0, 0));
    }

    #[test]
    fn an_event_of_several_parts_is_done_when_all_are() {
        let parts = [0, 5, 63].map(|part| Receipt { bytes: 7, sequence: 3, part });
        let floor = Floor::new(2);
        floor.begin(&parts);
        assert_eq!((floor.done_to(), floor.in_flight(), floor.bytes_in_flight()), (2, 3, 7));
        for (part, left) in
            [(parts[2], 2), (parts[0], 1), (parts[0], 1), (Receipt { part: 6, ..parts[0] }, 1)]
        {
            floor.done(part);
            assert_eq!((floor.done_to(), floor.in_flight(), floor.bytes_in_flight()), (2, left, 7));
        }
        floor.done(parts[1]);
        assert_eq!((floor.done_to(), floor.in_flight(), floor.bytes_in_flight()), (3, 0, 0));
    }
}
