//! The heartbeats of one attempt: the latest details and when they came.

use std::sync::{Mutex, MutexGuard, PoisonError};

use stepwell_shared::payload::Payload;
use tokio::time::Instant;

/// The heartbeats of one attempt.
#[derive(Debug)]
pub(crate) struct Heartbeats {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    latest: Option<Payload>,
    at: Instant,
    /// Whether `latest` came after it was last taken for storing.
    unstored: bool,
}

impl Heartbeats {
    /// The attempt begins; that counts as a sign of life.
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State { latest: None, at: Instant::now(), unstored: false }) }
    }

    pub(crate) fn beat(&self, details: Option<Payload>) {
        let mut state = self.lock();
        state.at = Instant::now();
        if details.is_some() {
            state.latest = details;
            state.unstored = true;
        }
    }

    pub(crate) fn latest(&self) -> Option<Payload> {
        self.lock().latest.clone()
    }

    pub(crate) fn last_at(&self) -> Instant {
        self.lock().at
    }

    /// The latest details, if they were not taken before.
    pub(crate) fn take_unstored(&self) -> Option<Payload> {
        let mut state = self.lock();
        std::mem::take(&mut state.unstored).then(|| state.latest.clone()).flatten()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
