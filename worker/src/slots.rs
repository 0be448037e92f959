//! The places in which activities run. A task that has been asked for has a place; one that comes unasked,
//! after a reconnect, waits for one.

use std::sync::Arc;

use prometheus::IntGauge;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The slots of a worker.
#[derive(Debug)]
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    freed: Arc<Notify>,
    used: IntGauge,
    total: usize,
}

/// A slot that is taken, until this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    freed: Arc<Notify>,
    used: IntGauge,
}

impl Slots {
    pub(crate) fn new(total: usize, used: IntGauge) -> Self {
        let total = total.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(total)), freed: Arc::new(Notify::new()), used, total }
    }

    pub(crate) fn total(&self) -> usize {
        self.total
    }

    pub(crate) fn free(&self) -> usize {
        self.free.available_permits()
    }

    pub(crate) fn used(&self) -> usize {
        self.total.saturating_sub(self.free())
    }

    /// A free slot, if there is one.
    pub(crate) fn try_take(&self) -> Option<Slot> {
        Arc::clone(&self.free).try_acquire_owned().ok().map(|permit| self.slot(permit))
    }

    /// Waits for a free slot.
    pub(crate) async fn take(&self) -> Option<Slot> {
        Arc::clone(&self.free).acquire_owned().await.ok().map(|permit| self.slot(permit))
    }

    /// Waits until a slot is given back; one that was given back since the last call counts.
    pub(crate) async fn freed(&self) {
        self.freed.notified().await;
    }

    fn slot(&self, permit: OwnedSemaphorePermit) -> Slot {
        self.used.inc();
        Slot { permit: Some(permit), freed: Arc::clone(&self.freed), used: self.used.clone() }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // First the slot, then the word of it.
        self.permit = None;
        self.used.dec();
        self.freed.notify_one();
    }
}
