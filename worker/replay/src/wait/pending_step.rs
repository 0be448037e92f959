//! A numbered wait as its future holds it. Dropping it while it is open cancels what was asked for.

use std::sync::Arc;
use std::task::{Context, Poll};

use stepwell_shared::ids::Seq;

use crate::run::{Outcome, Phase, Shared};

pub(crate) struct PendingStep {
    run: Arc<Shared>,
    seq: Seq,
    taken: bool,
}

impl PendingStep {
    pub(crate) fn new(run: Arc<Shared>, seq: Seq) -> Self {
        Self { run, seq, taken: false }
    }

    pub(crate) fn seq(&self) -> Seq {
        self.seq
    }

    /// The outcome, once.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let polled = self.run.act("wait for a step").map(|mut state| state.poll_step(self.seq, cx.waker()));
        match polled {
            Some((Some(outcome), _)) => {
                self.taken = true;
                Poll::Ready(outcome)
            }
            Some((None, _)) | None => Poll::Pending,
        }
    }

    /// Asks for it to be cancelled.
    pub(crate) fn cancel(&self) {
        let waker = self.run.act("cancel a step").and_then(|mut state| state.cancel_step(self.seq));
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for PendingStep {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        let waker = if self.run.state().phase == Phase::Over {
            self.run.state().abandon_step(self.seq, false)
        } else {
            self.run.act("drop a step").and_then(|mut state| state.abandon_step(self.seq, true))
        };
        drop(waker);
    }
}
