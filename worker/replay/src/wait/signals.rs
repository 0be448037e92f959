//! All signals of one name, one after the other.

use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::{FusedStream, Stream};
use serde::de::DeserializeOwned;

use super::Receive;
use crate::error::WaitError;
use crate::run::Shared;
use crate::signal::Signal;

/// A stream of signals, made by [`WorkflowContext::signals`](crate::WorkflowContext::signals). It ends
/// when the run is asked to stop and everything that had arrived is taken; a payload that is not a `T`
/// is an item like any other.
#[must_use = "signals are received when the stream is polled"]
pub struct Signals<T> {
    run: Arc<Shared>,
    shielded: bool,
    signal: Signal<T>,
    at: &'static Location<'static>,
    next: Option<Receive<T>>,
    ended: bool,
}

impl<T: DeserializeOwned> Signals<T> {
    pub(crate) fn new(
        run: Arc<Shared>,
        shielded: bool,
        signal: Signal<T>,
        at: &'static Location<'static>,
    ) -> Self {
        Self { run, shielded, signal, at, next: None, ended: false }
    }

    /// Waits for the next signal.
    pub fn receive(&mut self) -> Receive<T> {
        Receive::new(self.run.clone(), self.shielded, self.signal, self.at)
    }
}

impl<T: DeserializeOwned> Stream for Signals<T> {
    type Item = Result<T, WaitError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut next = self.next.take().unwrap_or_else(|| self.receive());
        match Pin::new(&mut next).poll(cx) {
            Poll::Ready(Err(WaitError::Cancelled)) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Ready(received) => Poll::Ready(Some(received)),
            Poll::Pending => {
                self.next = Some(next);
                Poll::Pending
            }
        }
    }
}

impl<T: DeserializeOwned> FusedStream for Signals<T> {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}
