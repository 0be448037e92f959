//! What the code waits for without a number: signals, conditions, being asked to stop.

use std::collections::{BTreeSet, VecDeque};
use std::task::Waker;

use stepwell_shared::ids::Seq;
use stepwell_shared::payload::Payload;

use super::state::State;

/// Signals of one name, in order of arrival, and who waits for the next one.
#[derive(Default)]
pub(super) struct Inbox {
    buffer: VecDeque<Payload>,
    waiting: BTreeSet<u64>,
}

/// One wait.
pub(super) struct Parked {
    what: ParkedFor,
    shielded: bool,
    waker: Waker,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParkedFor {
    /// A signal of this name.
    Signal(&'static str),
    /// A condition over the code's own variables.
    Condition,
    /// Being asked to stop.
    Cancel,
    /// The end of compensations that are running.
    Compensations,
}

impl State {
    /// Leaves a waker, under `place` if there is one already. The waker that was there before is handed
    /// out to be dropped where no lock is held.
    pub(crate) fn park(
        &mut self,
        place: &mut Option<u64>,
        what: ParkedFor,
        shielded: bool,
        waker: &Waker,
    ) -> Option<Waker> {
        if let Some(parked) = place.and_then(|place| self.parked.get_mut(&place)) {
            let same = parked.waker.will_wake(waker);
            return (!same).then(|| std::mem::replace(&mut parked.waker, waker.clone()));
        }
        let id = self.next_parked;
        self.next_parked += 1;
        *place = Some(id);
        self.parked.insert(id, Parked { what, shielded, waker: waker.clone() });
        match what {
            ParkedFor::Signal(name) => {
                self.inbox(name).waiting.insert(id);
            }
            ParkedFor::Condition => {
                self.conditions.insert(id);
            }
            ParkedFor::Cancel | ParkedFor::Compensations => {}
        }
        None
    }

    /// Takes a wait back.
    pub(crate) fn unpark(&mut self, place: &mut Option<u64>) -> Option<Waker> {
        let id = place.take()?;
        let parked = self.parked.remove(&id)?;
        match parked.what {
            ParkedFor::Signal(name) => {
                self.inbox(name).waiting.remove(&id);
            }
            ParkedFor::Condition => {
                self.conditions.remove(&id);
            }
            ParkedFor::Cancel | ParkedFor::Compensations => {}
        }
        Some(parked.waker)
    }

    /// The oldest signal of this name that the code has not received.
    pub(crate) fn take_signal(&mut self, name: &str) -> Option<Payload> {
        let payload = self.inboxes.get_mut(name)?.buffer.pop_front()?;
        self.progress += 1;
        Some(payload)
    }

    /// A signal arrived.
    pub(super) fn buffer_signal(&mut self, name: &str, payload: Payload, wake: &mut Vec<Waker>) {
        self.inbox(name).buffer.push_back(payload);
        // All who wait are woken, not the first alone: it may be a branch that is never polled again.
        let Some(inbox) = self.inboxes.get(name) else { return };
        wake.extend(
            inbox.waiting.iter().filter_map(|id| self.parked.get(id)).map(|parked| parked.waker.clone()),
        );
    }

    /// Whom to wake so that conditions are looked at again.
    pub(crate) fn condition_wakers(&self) -> Vec<Waker> {
        self.conditions
            .iter()
            .filter_map(|id| self.parked.get(id))
            .map(|parked| parked.waker.clone())
            .collect()
    }

    /// Whom to wake when the run is asked to stop.
    pub(super) fn wake_parked_for_cancel(&self, wake: &mut Vec<Waker>) {
        let ends = |parked: &&Parked| !parked.shielded || parked.what == ParkedFor::Cancel;
        wake.extend(self.parked.values().filter(ends).map(|parked| parked.waker.clone()));
    }

    /// Compensations have run; from here on others may be asked for.
    pub(super) fn end_compensations(&mut self, seq: Seq, wake: &mut Vec<Waker>) {
        if self.compensating != Some(seq) {
            return;
        }
        self.compensating = None;
        let waits = |parked: &&Parked| parked.what == ParkedFor::Compensations;
        wake.extend(self.parked.values().filter(waits).map(|parked| parked.waker.clone()));
    }

    /// Everything that holds user code's wakers, to be dropped where no lock is held.
    pub(super) fn take_parked_wakers(&mut self) -> Vec<Waker> {
        self.conditions.clear();
        self.inboxes.clear();
        std::mem::take(&mut self.parked).into_values().map(|parked| parked.waker).collect()
    }

    fn inbox(&mut self, name: &str) -> &mut Inbox {
        if !self.inboxes.contains_key(name) {
            self.inboxes.insert(name.to_owned(), Inbox::default());
        }
        self.inboxes.get_mut(name).expect("it was put there")
    }
}
