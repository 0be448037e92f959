//! Waiting for a condition over the code's own variables.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::FusedFuture;

use super::{Parking, Timer};
use crate::error::WaitError;
use crate::run::{ParkedFor, Shared};

/// The future of [`WorkflowContext::wait_until`](crate::WorkflowContext::wait_until).
///
/// A condition that holds wins over a timeout and a request to stop of the same turn.
#[must_use = "a condition is looked at when this is awaited"]
pub struct WaitUntil<F> {
    parking: Parking,
    condition: F,
    timer: Option<Timer>,
    at: &'static Location<'static>,
    done: bool,
}

// The condition is called, never pinned.
impl<F> Unpin for WaitUntil<F> {}

impl<F: FnMut() -> bool> WaitUntil<F> {
    pub(crate) fn new(
        run: Arc<Shared>,
        shielded: bool,
        condition: F,
        at: &'static Location<'static>,
    ) -> Self {
        let parking = Parking::new(run, ParkedFor::Condition, shielded);
        Self { parking, condition, timer: None, at, done: false }
    }

    /// Waits no longer than this. The timer starts when the wait begins, and is cancelled when it ends.
    pub fn timeout(mut self, longest: Duration) -> Self {
        self.timer = Some(Timer::new(self.parking.run().clone(), self.parking.shielded(), longest, self.at));
        self
    }

    fn poll_once(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WaitError>> {
        if (self.condition)() {
            if let Some(mut state) = self.parking.run().act("end a wait") {
                state.progress += 1;
                return Poll::Ready(Ok(()));
            }
            return Poll::Pending;
        }
        if self.parking.is_cancelled() {
            return Poll::Ready(Err(WaitError::Cancelled));
        }
        if let Some(timer) = &mut self.timer {
            match timer.poll(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(Err(WaitError::TimedOut)),
                Poll::Ready(Err(cancelled)) => return Poll::Ready(Err(cancelled.into())),
                Poll::Pending => {}
            }
        }
        self.parking.park(cx);
        Poll::Pending
    }
}

impl<F: FnMut() -> bool> Future for WaitUntil<F> {
    type Output = Result<(), WaitError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.done {
            return Poll::Pending;
        }
        let ended = self.poll_once(cx);
        if ended.is_ready() {
            self.done = true;
            self.timer = None;
            self.parking.leave();
        }
        ended
    }
}

impl<F: FnMut() -> bool> FusedFuture for WaitUntil<F> {
    fn is_terminated(&self) -> bool {
        self.done
    }
}
