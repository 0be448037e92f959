//! A call of an activity: the options of this one call, and the future of its result.

use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::FusedFuture;
use serde::de::DeserializeOwned;
use stepwell_shared::options::ActivityOptions;
use stepwell_shared::payload::Payload;
use stepwell_shared::retry::RetryPolicy;

use crate::activity::{Activity, ActivityDefaults, Undo};
use crate::duration::to_ms;
use crate::error::ActivityFailure;
use crate::handle::ActivityHandle;
use crate::prepared::{Prepared, PreparedUndo};
use crate::run::Shared;

/// A call of an activity that takes an `I` and returns an `O`; made by
/// [`WorkflowContext::run`](crate::WorkflowContext::run).
///
/// It is a future: the activity is asked for when it is first awaited. Dropped before its result is
/// there, it cancels the activity. Options given here replace what the activity declares.
///
/// ```
/// use stepwell_worker_replay::*;
/// # struct Summarise;
/// # impl Activity for Summarise { type Input = String; type Output = String; const NAME: &'static str = "summarise"; }
/// async fn code(ctx: WorkflowContext, text: String) -> Result<String, WorkflowError> {
///     let summary = ctx
///         .run(Summarise, text)
///         .queue("gpu-workers")
///         .start_to_close(secs(60))
///         .max_attempts(3)
///         .await?;
///     Ok(summary)
/// }
/// ```
#[must_use = "an activity is asked for when its call is awaited or started"]
pub struct ActivityCall<I, O> {
    stage: Stage<O>,
    takes: PhantomData<fn(I)>,
}

enum Stage<O> {
    Prepared(Box<Prepared>),
    Started(ActivityHandle<O>),
}

impl<I, O> ActivityCall<I, O> {
    pub(crate) fn new(
        run: Arc<Shared>,
        shielded: bool,
        activity: &str,
        defaults: ActivityDefaults,
        input: Result<Payload, String>,
        at: &'static Location<'static>,
    ) -> Self {
        let ActivityDefaults { options, queue } = defaults;
        let prepared = Prepared {
            run,
            shielded,
            at,
            activity: activity.into(),
            queue: queue.map(str::to_owned),
            input,
            options,
            undo: None,
            wait_on_cancel: false,
        };
        Self { stage: Stage::Prepared(Box::new(prepared)), takes: PhantomData }
    }

    /// Looks for a worker on this queue.
    pub fn queue(self, queue: impl Into<String>) -> Self {
        self.with(|call| call.queue = Some(queue.into()))
    }

    /// Longest time for one attempt.
    pub fn start_to_close(self, longest: Duration) -> Self {
        self.options(|options| options.start_to_close_ms = Some(to_ms(longest)))
    }

    /// Longest time that one attempt may wait for a worker. Never retried.
    pub fn schedule_to_start(self, longest: Duration) -> Self {
        self.options(|options| options.schedule_to_start_ms = Some(to_ms(longest)))
    }

    /// Longest time for the activity with all attempts and waits.
    pub fn schedule_to_close(self, longest: Duration) -> Self {
        self.options(|options| options.schedule_to_close_ms = Some(to_ms(longest)))
    }

    /// Longest gap between two heartbeats.
    pub fn heartbeat_timeout(self, longest: Duration) -> Self {
        self.options(|options| options.heartbeat_timeout_ms = Some(to_ms(longest)))
    }

    /// How failed attempts are repeated; replaces the activity's whole policy.
    pub fn retry(self, policy: RetryPolicy) -> Self {
        self.options(|options| options.retry = policy)
    }

    /// Attempts in all; 1 for at most once.
    pub fn max_attempts(self, attempts: u32) -> Self {
        self.options(|options| options.retry.maximum_attempts = Some(attempts))
    }

    /// Wait before the second attempt.
    pub fn initial_interval(self, wait: Duration) -> Self {
        self.options(|options| options.retry.initial_interval_ms = to_ms(wait))
    }

    /// Each further wait is this many times the one before; at least 1.
    pub fn backoff_coefficient(self, coefficient: f64) -> Self {
        self.options(|options| options.retry.backoff_coefficient = coefficient)
    }

    /// No wait between attempts is longer.
    pub fn max_interval(self, longest: Duration) -> Self {
        self.options(|options| options.retry.maximum_interval_ms = Some(to_ms(longest)))
    }

    /// Each wait between attempts is shortened by up to this share of it, 0 to 1.
    pub fn jitter(self, share: f64) -> Self {
        self.options(|options| options.retry.jitter = share)
    }

    /// Failure types that are final at once.
    pub fn non_retryable<T: Into<String>>(self, types: impl IntoIterator<Item = T>) -> Self {
        let types = types.into_iter().map(Into::into).collect();
        self.options(|options| options.retry.non_retryable = types)
    }

    /// Registers how to undo it, before it is dispatched: an activity whose input is what this one takes
    /// and returns. It runs when the run fails, is cancelled or times out, or the code says
    /// [`compensate`](crate::WorkflowContext::compensate); also when the outcome of this one is unknown.
    ///
    /// ```
    /// use stepwell_worker_replay::*;
    /// struct Charge;
    /// impl Activity for Charge {
    ///     type Input = u64;
    ///     type Output = String;
    ///     const NAME: &'static str = "charge";
    ///     fn options() -> ActivityDefaults { ActivityDefaults::start_to_close(secs(10)) }
    /// }
    /// struct Refund;
    /// impl Activity for Refund {
    ///     type Input = Undo<u64, String>;
    ///     type Output = ();
    ///     const NAME: &'static str = "refund";
    ///     fn options() -> ActivityDefaults { ActivityDefaults::start_to_close(secs(10)) }
    /// }
    /// async fn code(ctx: WorkflowContext, cents: u64) -> Result<String, WorkflowError> {
    ///     Ok(ctx.run(Charge, cents).compensate(Refund).await?)
    /// }
    /// ```
    pub fn compensate<U: Activity<Input = Undo<I, O>>>(self, undo: U) -> Self {
        self.compensate_with(undo, U::options())
    }

    /// The same, with other options and another queue than the compensation declares.
    pub fn compensate_with<U: Activity<Input = Undo<I, O>>>(
        self,
        _undo: U,
        defaults: ActivityDefaults,
    ) -> Self {
        self.compensate_untyped(U::NAME, defaults)
    }

    /// The same for a compensation that is known by name only, such as one in another language.
    pub fn compensate_untyped(self, activity: impl Into<String>, defaults: ActivityDefaults) -> Self {
        let ActivityDefaults { options, queue } = defaults;
        let undo = PreparedUndo { activity: activity.into(), queue: queue.map(str::to_owned), options };
        self.with(|call| call.undo = Some(undo))
    }

    /// When cancelled, resolves only after no attempt runs any more, and to whatever it ended with.
    /// Without this a cancelled call resolves at once, and what the activity does after that is not seen.
    pub fn wait_on_cancel(self) -> Self {
        self.with(|call| call.wait_on_cancel = true)
    }

    /// Asks for the activity now, without waiting for its result.
    pub fn start(self) -> ActivityHandle<O> {
        match self.stage {
            Stage::Prepared(prepared) => prepared.start(),
            Stage::Started(handle) => handle,
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Prepared)) -> Self {
        match &mut self.stage {
            Stage::Prepared(prepared) => change(prepared),
            // Only a call that was polled by reference gets here; its command is out.
            Stage::Started(_) => {}
        }
        self
    }

    fn options(self, change: impl FnOnce(&mut ActivityOptions)) -> Self {
        self.with(|call| change(&mut call.options))
    }
}

impl<I, O: DeserializeOwned> Future for ActivityCall<I, O> {
    type Output = Result<O, ActivityFailure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Stage::Prepared(prepared) = &self.stage {
            let handle = prepared.start();
            self.stage = Stage::Started(handle);
        }
        match &mut self.stage {
            Stage::Started(handle) => Pin::new(handle).poll(cx),
            Stage::Prepared(_) => Poll::Pending,
        }
    }
}

impl<I, O: DeserializeOwned> FusedFuture for ActivityCall<I, O> {
    fn is_terminated(&self) -> bool {
        match &self.stage {
            Stage::Prepared(_) => false,
            Stage::Started(handle) => handle.is_done(),
        }
    }
}
