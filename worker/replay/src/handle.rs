//! An activity that has been asked for: its result, and a way to stop it.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::FusedFuture;
use serde::de::DeserializeOwned;
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::ids::Seq;

use crate::error::ActivityFailure;
use crate::run::Outcome;
use crate::wait::PendingStep;

/// A future of an activity's result, made by [`ActivityCall::start`](crate::ActivityCall::start).
/// Dropping it while the activity is open cancels the activity.
#[must_use = "dropping the handle cancels the activity"]
pub struct ActivityHandle<O> {
    activity: Arc<str>,
    stage: Stage,
    returns: PhantomData<fn() -> O>,
}

pub(crate) enum Stage {
    /// It was asked for.
    Open(PendingStep),
    /// It could not be asked for.
    Refused(ActivityFailure),
    /// It could not be asked for, and the turn will not count.
    Dead,
    /// The result has been taken.
    Done,
}

impl<O> ActivityHandle<O> {
    pub(crate) fn new(activity: Arc<str>, stage: Stage) -> Self {
        Self { activity, stage, returns: PhantomData }
    }

    /// Asks for the activity to be stopped. The handle then resolves to a cancellation: at once, or,
    /// with [`wait_on_cancel`](crate::ActivityCall::wait_on_cancel), to whatever the activity ended with
    /// when it no longer runs. Does nothing when it has ended.
    pub fn cancel(&self) {
        match &self.stage {
            Stage::Open(step) => step.cancel(),
            Stage::Refused(_) | Stage::Dead | Stage::Done => {}
        }
    }

    /// The command's number; `None` when the activity could not be asked for or its result was taken.
    #[must_use]
    pub fn seq(&self) -> Option<Seq> {
        match &self.stage {
            Stage::Open(step) => Some(step.seq()),
            Stage::Refused(_) | Stage::Dead | Stage::Done => None,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        match &self.stage {
            Stage::Done => true,
            Stage::Open(_) | Stage::Refused(_) | Stage::Dead => false,
        }
    }
}

impl<O: DeserializeOwned> Future for ActivityHandle<O> {
    type Output = Result<O, ActivityFailure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Open(mut step) => match step.poll(cx) {
                Poll::Ready(outcome) => Poll::Ready(result(&self.activity, step.seq(), outcome)),
                Poll::Pending => {
                    self.stage = Stage::Open(step);
                    Poll::Pending
                }
            },
            Stage::Refused(failure) => Poll::Ready(Err(failure)),
            stage @ (Stage::Dead | Stage::Done) => {
                self.stage = stage;
                Poll::Pending
            }
        }
    }
}

impl<O: DeserializeOwned> FusedFuture for ActivityHandle<O> {
    fn is_terminated(&self) -> bool {
        self.is_done()
    }
}

fn result<O: DeserializeOwned>(activity: &str, seq: Seq, outcome: Outcome) -> Result<O, ActivityFailure> {
    let failure = match outcome {
        Outcome::Completed(payload) => match payload.decode() {
            Ok(output) => return Ok(output),
            Err(error) => {
                let expected = std::any::type_name::<O>();
                Failure::new(FailureKind::Payload, format!("what it returned is not a `{expected}`: {error}"))
            }
        },
        Outcome::Failed(failure) => failure,
        Outcome::Cancelled | Outcome::Fired | Outcome::Compensated => {
            Failure::new(FailureKind::Cancelled, "it was cancelled")
        }
    };
    Err(ActivityFailure::new(activity, Some(seq), failure))
}
