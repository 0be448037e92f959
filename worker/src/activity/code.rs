//! The code of activities: typed for those who write it, erased for the worker that runs it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::limits::MAX_PAYLOAD_BYTES;
use stepwell_shared::payload::Payload;
use stepwell_worker_replay::Activity;

use super::context::ActivityContext;
use super::error::ActivityError;

/// An activity with its code. The attribute `#[activity]` writes the implementation.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no code that a worker could run",
    label = "not an activity function",
    note = "put `#[activity(…)]` on a free function; methods are registered all at once with \
            `Worker::activities(value)`"
)]
pub trait ActivityFn: Activity {
    /// The code.
    fn run(
        ctx: ActivityContext,
        input: Self::Input,
    ) -> impl Future<Output = Result<Self::Output, ActivityError>> + Send + 'static;
}

impl<F, A> ActivityFn for F
where
    F: Fn() -> A + Send + Sync + 'static,
    A: ActivityFn,
{
    fn run(
        ctx: ActivityContext,
        input: Self::Input,
    ) -> impl Future<Output = Result<Self::Output, ActivityError>> + Send + 'static {
        A::run(ctx, input)
    }
}

/// A value whose methods are activities. The attribute `#[activities]` writes the implementation.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a set of activities",
    label = "has no activities",
    note = "put `#[activities]` on its `impl` block and `#[activity(…)]` on the methods; a single function \
            is registered with `Worker::activity`"
)]
pub trait ActivitySet: Send + Sync + 'static {
    /// The code of all of them.
    fn activities(self: Arc<Self>) -> Vec<ActivityCode>;
}

impl<S: ActivitySet> ActivitySet for Arc<S> {
    fn activities(self: Arc<Self>) -> Vec<ActivityCode> {
        S::activities(Arc::clone(&self))
    }
}

/// Activity code of any type; cheap to clone.
#[derive(Clone)]
pub struct ActivityCode {
    name: Arc<str>,
    begin: Arc<Begin>,
}

type Begin = dyn Fn(ActivityContext, Payload) -> Running + Send + Sync;

/// An attempt that runs.
pub(crate) type Running = BoxFuture<'static, Result<Payload, ActivityError>>;

impl ActivityCode {
    /// The code of a function with `#[activity]`.
    #[must_use]
    pub fn of<A: ActivityFn>() -> Self {
        Self::typed::<A, _, _>(A::run)
    }

    /// The code of a method; what `#[activities]` writes.
    #[must_use]
    pub fn of_method<A, S, F, Fut>(set: &Arc<S>, method: F) -> Self
    where
        A: Activity,
        S: Send + Sync + 'static,
        F: Fn(Arc<S>, ActivityContext, A::Input) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A::Output, ActivityError>> + Send + 'static,
    {
        let set = Arc::clone(set);
        Self::typed::<A, _, _>(move |context, input| method(Arc::clone(&set), context, input))
    }

    /// Code that takes and returns payloads, whatever they hold, under any name.
    #[must_use]
    pub fn from_fn<F, Fut>(name: &str, code: F) -> Self
    where
        F: Fn(ActivityContext, Payload) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Payload, ActivityError>> + Send + 'static,
    {
        let begin = move |context, input| code(context, input).boxed();
        Self { name: name.into(), begin: Arc::new(begin) }
    }

    /// The activity type.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn begin(&self, context: ActivityContext, input: Payload) -> Running {
        (self.begin)(context, input)
    }

    fn typed<A, F, Fut>(code: F) -> Self
    where
        A: Activity,
        F: Fn(ActivityContext, A::Input) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A::Output, ActivityError>> + Send + 'static,
    {
        let begin = move |context: ActivityContext, input: Payload| match input.decode::<A::Input>() {
            Ok(input) => {
                let running = code(context, input);
                async move { encode(A::NAME, &running.await?) }.boxed()
            }
            Err(error) => {
                let error = unreadable_input::<A::Input>(A::NAME, &error);
                std::future::ready(Err(error)).boxed()
            }
        };
        Self { name: A::NAME.into(), begin: Arc::new(begin) }
    }
}

impl fmt::Debug for ActivityCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActivityCode({:?})", self.name)
    }
}

/// The failure of a result that is too large to be recorded, if it is.
pub(crate) fn too_large(name: &str, result: &Payload) -> Option<Failure> {
    (result.size() > MAX_PAYLOAD_BYTES).then(|| {
        payload_failure(format!(
            "the result of activity `{name}` has {} bytes of JSON; at most {MAX_PAYLOAD_BYTES} are allowed. \
             Keep large data in an object store and return its key",
            result.size()
        ))
    })
}

fn encode<T: Serialize>(name: &str, output: &T) -> Result<Payload, ActivityError> {
    Payload::encode(output).map_err(|error| {
        let ty = std::any::type_name::<T>();
        let message = format!("the result of activity `{name}`, a `{ty}`, has no JSON form: {error}");
        ActivityError::from_failure(payload_failure(message))
    })
}

fn unreadable_input<T>(name: &str, error: &serde_json::Error) -> ActivityError {
    let ty = std::any::type_name::<T>();
    let message = format!("the input of activity `{name}` is not a `{ty}`: {error}");
    ActivityError::from_failure(payload_failure(message))
}

pub(crate) fn payload_failure(message: String) -> Failure {
    Failure { non_retryable: true, ..Failure::new(FailureKind::Payload, message) }
}
