//! Timers: sleeping, and the timeouts of other waits.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::FusedFuture;
use stepwell_shared::command::Command;

use super::PendingStep;
use crate::duration::to_ms;
use crate::error::Cancelled;
use crate::run::{Outcome, Shared, StepKind};

/// The future of [`WorkflowContext::sleep`](crate::WorkflowContext::sleep).
#[must_use = "a timer starts when it is first awaited"]
pub struct Sleep {
    timer: Timer,
    done: bool,
}

impl Sleep {
    pub(crate) fn new(timer: Timer) -> Self {
        Self { timer, done: false }
    }
}

impl Future for Sleep {
    type Output = Result<(), Cancelled>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.done {
            return Poll::Pending;
        }
        let ended = self.timer.poll(cx);
        self.done = ended.is_ready();
        ended
    }
}

impl FusedFuture for Sleep {
    fn is_terminated(&self) -> bool {
        self.done
    }
}

/// A timer that starts when it is first polled.
pub(crate) struct Timer {
    run: Arc<Shared>,
    shielded: bool,
    delay_ms: u64,
    at: &'static Location<'static>,
    step: Option<PendingStep>,
}

impl Timer {
    pub(crate) fn new(
        run: Arc<Shared>,
        shielded: bool,
        delay: Duration,
        at: &'static Location<'static>,
    ) -> Self {
        Self { run, shielded, delay_ms: to_ms(delay), at, step: None }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cancelled>> {
        if self.step.is_none() {
            let Some(mut state) = self.run.act("start a timer") else { return Poll::Pending };
            if !self.shielded && state.cancel.is_some() {
                return Poll::Ready(Err(Cancelled));
            }
            let delay_ms = self.delay_ms;
            let seq = state.begin_step(StepKind::Timer, self.shielded, self.at, |seq| Command::StartTimer {
                seq,
                delay_ms,
            });
            drop(state);
            self.step = seq.map(|seq| PendingStep::new(self.run.clone(), seq));
        }
        let Some(step) = &mut self.step else { return Poll::Pending };
        step.poll(cx).map(|outcome| match outcome {
            Outcome::Fired => Ok(()),
            Outcome::Cancelled | Outcome::Completed(_) | Outcome::Failed(_) | Outcome::Compensated => {
                Err(Cancelled)
            }
        })
    }
}
