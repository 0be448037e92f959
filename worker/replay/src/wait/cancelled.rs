//! Waiting until the run is asked to stop.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::FusedFuture;

use super::Parking;
use crate::run::{ParkedFor, Shared};

/// The future of [`WorkflowContext::cancelled`](crate::WorkflowContext::cancelled).
#[must_use = "nothing is waited for until this is awaited"]
pub struct CancelledFuture {
    parking: Parking,
    done: bool,
}

impl CancelledFuture {
    pub(crate) fn new(run: Arc<Shared>) -> Self {
        Self { parking: Parking::new(run, ParkedFor::Cancel, true), done: false }
    }
}

impl Future for CancelledFuture {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.done {
            return Poll::Pending;
        }
        if self.parking.run().state().cancel.is_some() {
            self.done = true;
            self.parking.leave();
            return Poll::Ready(());
        }
        self.parking.park(cx);
        Poll::Pending
    }
}

impl FusedFuture for CancelledFuture {
    fn is_terminated(&self) -> bool {
        self.done
    }
}
