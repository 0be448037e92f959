//! Waiting until what was done so far is undone.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::FusedFuture;
use stepwell_shared::command::Command;

use super::PendingStep;
use crate::error::Cancelled;
use crate::run::{Outcome, Shared, StepKind};

/// The future of [`WorkflowContext::compensate`](crate::WorkflowContext::compensate).
#[must_use = "nothing is undone until this is awaited"]
pub struct Compensating {
    run: Arc<Shared>,
    shielded: bool,
    at: &'static Location<'static>,
    step: Option<PendingStep>,
    done: bool,
}

impl Compensating {
    pub(crate) fn new(run: Arc<Shared>, shielded: bool, at: &'static Location<'static>) -> Self {
        Self { run, shielded, at, step: None, done: false }
    }

    fn poll_once(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cancelled>> {
        if self.step.is_none() {
            let Some(mut state) = self.run.act("compensate") else { return Poll::Pending };
            if !self.shielded && state.cancel.is_some() {
                return Poll::Ready(Err(Cancelled));
            }
            let seq = state.begin_step(StepKind::Compensation, self.shielded, self.at, |seq| {
                Command::Compensate { seq }
            });
            drop(state);
            self.step = seq.map(|seq| PendingStep::new(self.run.clone(), seq));
        }
        let Some(step) = &mut self.step else { return Poll::Pending };
        step.poll(cx).map(|outcome| match outcome {
            Outcome::Compensated => Ok(()),
            Outcome::Cancelled | Outcome::Completed(_) | Outcome::Failed(_) | Outcome::Fired => {
                Err(Cancelled)
            }
        })
    }
}

impl Future for Compensating {
    type Output = Result<(), Cancelled>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.done {
            return Poll::Pending;
        }
        let ended = self.poll_once(cx);
        self.done = ended.is_ready();
        ended
    }
}

impl FusedFuture for Compensating {
    fn is_terminated(&self) -> bool {
        self.done
    }
}
