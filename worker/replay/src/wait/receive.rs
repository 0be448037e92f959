//! Waiting for one signal.

use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::FusedFuture;
use serde::de::DeserializeOwned;
use stepwell_shared::payload::Payload;

use super::{Parking, Timer};
use crate::error::{MalformedSignal, WaitError};
use crate::run::{ParkedFor, Shared};
use crate::signal::Signal;

/// The future of [`WorkflowContext::receive`](crate::WorkflowContext::receive).
///
/// A signal that is there wins over everything else, also when the run is asked to stop or the timeout
/// passes at the same time.
#[must_use = "a signal is received when this is awaited"]
pub struct Receive<T> {
    parking: Parking,
    signal: &'static str,
    timer: Option<Timer>,
    at: &'static Location<'static>,
    done: bool,
    carries: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Receive<T> {
    pub(crate) fn new(
        run: Arc<Shared>,
        shielded: bool,
        signal: Signal<T>,
        at: &'static Location<'static>,
    ) -> Self {
        let parking = Parking::new(run, ParkedFor::Signal(signal.name()), shielded);
        Self { parking, signal: signal.name(), timer: None, at, done: false, carries: PhantomData }
    }

    /// Waits no longer than this. The timer starts when the wait begins, and is cancelled when it ends.
    pub fn timeout(mut self, longest: Duration) -> Self {
        self.timer = Some(Timer::new(self.parking.run().clone(), self.parking.shielded(), longest, self.at));
        self
    }

    /// Ready when a signal is there; does not wait.
    pub(super) fn take(&mut self) -> Option<Result<T, MalformedSignal>> {
        take_signal(self.parking.run(), self.signal)
    }

    fn poll_once(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, WaitError>> {
        if let Some(received) = self.take() {
            return Poll::Ready(received.map_err(WaitError::Malformed));
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

impl<T: DeserializeOwned> Future for Receive<T> {
    type Output = Result<T, WaitError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.done {
            return Poll::Pending;
        }
        let received = self.poll_once(cx);
        if received.is_ready() {
            self.done = true;
            self.timer = None;
            self.parking.leave();
        }
        received
    }
}

impl<T: DeserializeOwned> FusedFuture for Receive<T> {
    fn is_terminated(&self) -> bool {
        self.done
    }
}

/// The oldest signal of this name, if one is there.
pub(crate) fn take_signal<T: DeserializeOwned>(
    run: &Shared,
    name: &'static str,
) -> Option<Result<T, MalformedSignal>> {
    let payload = run.act("receive a signal")?.take_signal(name)?;
    Some(payload.decode().map_err(|error| malformed::<T>(name, payload, &error.to_string())))
}

fn malformed<T>(name: &str, payload: Payload, reason: &str) -> MalformedSignal {
    let expected = std::any::type_name::<T>();
    MalformedSignal { signal: name.to_owned(), expected, reason: reason.to_owned(), payload }
}
