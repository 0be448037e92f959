//! The places in which activities run. A task that has been asked for has a place; one that comes unasked,
//! after a reconnect, waits for one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntGauge;
use stepwell_shared::shard::Shard;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::shares::Shares;

/// The slots of a worker.
#[derive(Debug)]
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    shares: Mutex<Shares>,
    freed: watch::Sender<()>,
    /// The last shard that was asked for less than others may have.
    left: watch::Sender<Option<Shard>>,
    used: IntGauge,
    total: usize,
}

/// A slot that is taken, until this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    freed: watch::Sender<()>,
    used: IntGauge,
}

/// Tells who asks for tasks of a shard when it may ask for more.
pub(crate) struct Room {
    shard: Shard,
    freed: watch::Receiver<()>,
    left: watch::Receiver<Option<Shard>>,
}

impl Room {
    /// What has happened until now is known.
    pub(crate) fn known(&mut self) {
        self.freed.mark_unchanged();
        self.left.mark_unchanged();
    }

    /// Waits until a slot is given back, or others ask for less, since that was known.
    pub(crate) async fn wait(&mut self) {
        loop {
            tokio::select! {
                Ok(()) = self.freed.changed() => return,
                // If it was this one itself, it knew of everything that others had left before.
                Ok(()) = self.left.changed() => if *self.left.borrow_and_update() != Some(self.shard) {
                    return;
                },
                else => std::future::pending().await,
            }
        }
    }
}

impl Slots {
    pub(crate) fn new(total: usize, used: IntGauge) -> Self {
        let total = total.min(Semaphore::MAX_PERMITS);
        let free = Arc::new(Semaphore::new(total));
        let (freed, left) = (watch::Sender::new(()), watch::Sender::new(None));
        Self { free, shares: Mutex::default(), freed, left, used, total }
    }

    pub(crate) fn total(&self) -> usize {
        self.total
    }

    pub(crate) fn used(&self) -> usize {
        self.total.saturating_sub(self.free.available_permits())
    }

    /// A free slot, if there is one.
    pub(crate) fn try_take(&self) -> Option<Slot> {
        Arc::clone(&self.free).try_acquire_owned().ok().map(|permit| self.slot(permit))
    }

    /// Waits for a free slot.
    pub(crate) async fn take(&self) -> Option<Slot> {
        Arc::clone(&self.free).acquire_owned().await.ok().map(|permit| self.slot(permit))
    }

    /// For whoever asks for tasks of a shard.
    pub(crate) fn room(&self, shard: Shard) -> Room {
        Room { shard, freed: self.freed.subscribe(), left: self.left.subscribe() }
    }

    /// Says that `asked` tasks of a shard may still come, and whether others were asked for `in_vain`; has `more` choose
    /// how many to ask for besides, given how many there may be of the shard at all. What it chooses counts as asked for.
    pub(crate) fn ask(
        &self,
        shard: Shard,
        (asked, in_vain): (usize, bool),
        more: impl FnOnce(usize) -> Option<usize>,
    ) -> Option<usize> {
        let mut shares = self.shares();
        shares.set(shard, Some(asked));
        let free = self.free.available_permits();
        let more = more(shares.of(shard, free));
        shares.set(shard, Some(asked + more.unwrap_or(0)));
        if in_vain {
            self.tell_others(&shares, shard, free);
        }
        more
    }

    /// Nothing is asked for of a shard until the next [`Slots::ask`]; others have its share.
    pub(crate) fn ask_nothing(&self, shard: Shard) {
        let mut shares = self.shares();
        shares.set(shard, None);
        self.tell_others(&shares, shard, self.free.available_permits());
    }

    /// While `shares` are locked, so that what is told last was done last.
    fn tell_others(&self, shares: &Shares, shard: Shard, free: usize) {
        if shares.others_may_ask(shard, free) {
            self.left.send_replace(Some(shard));
        }
    }

    fn shares(&self) -> MutexGuard<'_, Shares> {
        // Nothing panics while it is held.
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, permit: OwnedSemaphorePermit) -> Slot {
        self.used.inc();
        Slot { permit: Some(permit), freed: self.freed.clone(), used: self.used.clone() }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // First the slot, then the word of it.
        self.permit = None;
        self.used.dec();
        self.freed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use stepwell_shared::shard::Shards;

    use super::*;

    fn slots(total: usize) -> Slots {
        Slots::new(total, IntGauge::new("used", "used").unwrap())
    }

    /// Whether it is told to ask without anything happening any more.
    async fn told(room: &mut Room) -> bool {
        tokio::time::timeout(Duration::from_millis(1), room.wait()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_something_tells_the_others_and_not_itself() {
        let all: Vec<Shard> = Shards::try_from(2).unwrap().all().collect();
        let (slots, a, b) = (slots(16), all[0], all[1]);
        let (mut room_a, mut room_b) = (slots.room(a), slots.room(b));
        assert_eq!(slots.ask(a, (0, false), Some), Some(16));
        assert_eq!(slots.ask(b, (0, false), |most| (most > 0).then_some(most)), None);
        assert!(!told(&mut room_a).await && !told(&mut room_b).await);
        assert_eq!(slots.ask(a, (0, true), Some), Some(8));
        assert!(told(&mut room_b).await && !told(&mut room_a).await);
        assert!(!told(&mut room_b).await, "once");
        assert_eq!(slots.ask(b, (0, false), Some), Some(8));
        slots.ask_nothing(b);
        assert!(told(&mut room_a).await && !told(&mut room_b).await);
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_is_told_of_a_slot_that_is_given_back_though_nobody_waited_then() {
        let slots = slots(1);
        let (mut room, slot) = (slots.room(Shard::FIRST), slots.try_take());
        assert!(slot.is_some() && slots.try_take().is_none() && !told(&mut room).await);
        drop(slot);
        assert!(told(&mut room).await);
        room.known();
        assert!(!told(&mut room).await);
        assert_eq!(slots.used(), 0);
    }
}
