//! Waiting until what was done so far is undone.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::FusedFuture;
use stepwell_shared::command::Command;

use super::{Parking, PendingStep};
use crate::error::Cancelled;
use crate::run::{Outcome, ParkedFor, Shared, StepKind};

/// The future of [`WorkflowContext::compensate`](crate::WorkflowContext::compensate).
///
/// Compensations that have been asked for run to their end, also when this is dropped. Asked for again
/// before that, they are waited for first.
#[must_use = "nothing is undone until this is awaited"]
pub struct Compensating {
    parking: Parking,
    at: &'static Location<'static>,
    step: Option<PendingStep>,
    done: bool,
}

impl Compensating {
    pub(crate) fn new(run: Arc<Shared>, shielded: bool, at: &'static Location<'static>) -> Self {
        Self { parking: Parking::new(run, ParkedFor::Compensations, shielded), at, step: None, done: false }
    }

    fn poll_once(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cancelled>> {
        if self.step.is_none() {
            if self.parking.is_cancelled() {
                return Poll::Ready(Err(Cancelled));
            }
            if self.parking.run().state().compensating.is_some() {
                self.parking.park(cx);
                return Poll::Pending;
            }
            self.step = self.begin();
            self.parking.leave();
        }
        let Some(step) = &mut self.step else { return Poll::Pending };
        step.poll(cx).map(|outcome| match outcome {
            Outcome::Compensated => Ok(()),
            Outcome::Cancelled | Outcome::Completed(_) | Outcome::Failed(_) | Outcome::Fired => {
                Err(Cancelled)
            }
        })
    }

    fn begin(&self) -> Option<PendingStep> {
        let (run, shielded) = (self.parking.run(), self.parking.shielded());
        let command = |seq| Command::Compensate { seq };
        let seq = run.act("compensate")?.begin_step(StepKind::Compensation, shielded, self.at, command)?;
        Some(PendingStep::new(run.clone(), seq))
    }
}

impl Future for Compensating {
    type Output = Result<(), Cancelled>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.done {
            return Poll::Pending;
        }
        let ended = self.poll_once(cx);
        if ended.is_ready() {
            self.done = true;
            self.parking.leave();
        }
        ended
    }
}

impl FusedFuture for Compensating {
    fn is_terminated(&self) -> bool {
        self.done
    }
}
