//! A wait without a number as its future holds it.

use std::sync::Arc;
use std::task::Context;

use crate::run::{ParkedFor, Shared};

pub(crate) struct Parking {
    run: Arc<Shared>,
    what: ParkedFor,
    shielded: bool,
    place: Option<u64>,
}

impl Parking {
    pub(crate) fn new(run: Arc<Shared>, what: ParkedFor, shielded: bool) -> Self {
        Self { run, what, shielded, place: None }
    }

    pub(crate) fn run(&self) -> &Arc<Shared> {
        &self.run
    }

    pub(crate) fn shielded(&self) -> bool {
        self.shielded
    }

    /// Whether the wait is to end because the run is asked to stop.
    pub(crate) fn is_cancelled(&self) -> bool {
        !self.shielded && self.run.state().cancel.is_some()
    }

    /// Waits on.
    pub(crate) fn park(&mut self, cx: &Context<'_>) {
        let before = self
            .run
            .act("wait")
            .and_then(|mut state| state.park(&mut self.place, self.what, self.shielded, cx.waker()));
        drop(before);
    }

    /// Waits no longer.
    pub(crate) fn leave(&mut self) {
        let waker = self.run.state().unpark(&mut self.place);
        drop(waker);
    }
}

impl Drop for Parking {
    fn drop(&mut self) {
        self.leave();
    }
}
