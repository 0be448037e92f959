//! Workflow code as the driver sees it: typed for those who write it, erased for those who run it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use stepwell_shared::payload::Payload;

use crate::WorkflowContext;
use crate::encode::encode_bounded;
use crate::error::WorkflowError;

/// A workflow. The attribute macro `#[workflow]` writes the implementation for a unit struct of the
/// function's name.
///
/// ```
/// use stepwell_worker_replay::{WorkflowContext, WorkflowDefinition, WorkflowError, hours};
///
/// struct Reminder;
///
/// impl WorkflowDefinition for Reminder {
///     type Input = String;
///     type Output = String;
///     const NAME: &'static str = "reminder";
///
///     async fn run(ctx: WorkflowContext, text: String) -> Result<String, WorkflowError> {
///         ctx.sleep(hours(1)).await?;
///         Ok(format!("an hour has passed: {text}"))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a workflow",
    label = "not a workflow",
    note = "put `#[workflow]` on the function and give its name without arguments"
)]
pub trait WorkflowDefinition: Send + Sync + 'static {
    /// What it takes.
    type Input: Serialize + DeserializeOwned + Send + 'static;
    /// What it returns.
    type Output: Serialize + DeserializeOwned + Send + 'static;
    /// The workflow type, as histories and clients name it.
    const NAME: &'static str;
    /// The queue whose workers run it, unless its starter says otherwise.
    const QUEUE: &'static str = "default";

    /// The code.
    fn run(
        ctx: WorkflowContext,
        input: Self::Input,
    ) -> impl Future<Output = Result<Self::Output, WorkflowError>> + Send + 'static;
}

/// A function that makes a value of a workflow stands for the workflow: what `#[workflow]` writes beside the
/// type, so that a variable may have the workflow's name.
impl<F, W> WorkflowDefinition for F
where
    F: Fn() -> W + Send + Sync + 'static,
    W: WorkflowDefinition,
{
    type Input = W::Input;
    type Output = W::Output;
    const NAME: &'static str = W::NAME;
    const QUEUE: &'static str = W::QUEUE;

    fn run(
        ctx: WorkflowContext,
        input: Self::Input,
    ) -> impl Future<Output = Result<Self::Output, WorkflowError>> + Send + 'static {
        W::run(ctx, input)
    }
}

/// Workflow code of any type; cheap to clone.
#[derive(Clone)]
pub struct WorkflowCode {
    name: Arc<str>,
    queue: Arc<str>,
    begin: Arc<Begin>,
}

/// What the code is once it has begun.
pub(crate) type CodeFuture = BoxFuture<'static, Result<Payload, CodeError>>;

type Begin = dyn Fn(WorkflowContext, Payload) -> Result<CodeFuture, String> + Send + Sync;

/// How code ends without a result.
pub(crate) enum CodeError {
    /// It returned an error.
    Returned(WorkflowError),
    /// It returned a value that cannot be recorded; the text says why.
    Unusable(String),
}

impl WorkflowCode {
    /// The code of a typed workflow.
    #[must_use]
    pub fn of<W: WorkflowDefinition>() -> Self {
        let begin = |context, input: Payload| {
            let input = input.decode::<W::Input>().map_err(|error| {
                let expected = std::any::type_name::<W::Input>();
                format!("the input of workflow `{}` is not a `{expected}`: {error}", W::NAME)
            })?;
            let future = W::run(context, input).map(|result| match result {
                Ok(output) => encode_bounded(&output).map_err(|reason| {
                    CodeError::Unusable(format!("workflow `{}`: its result {reason}", W::NAME))
                }),
                Err(error) => Err(CodeError::Returned(error)),
            });
            Ok(future.boxed())
        };
        Self { name: W::NAME.into(), queue: W::QUEUE.into(), begin: Arc::new(begin) }
    }

    /// Code that takes and returns payloads, whatever they hold.
    ///
    /// ```
    /// use futures_util::FutureExt;
    /// use stepwell_worker_replay::WorkflowCode;
    ///
    /// let echo = WorkflowCode::from_fn("echo", |_ctx, input| async move { Ok(input) }.boxed());
    /// assert_eq!(echo.name(), "echo");
    /// ```
    #[must_use]
    pub fn from_fn(
        name: &str,
        code: impl Fn(WorkflowContext, Payload) -> BoxFuture<'static, Result<Payload, WorkflowError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let begin = move |context, input| {
            Ok(code(context, input).map(|result| result.map_err(CodeError::Returned)).boxed())
        };
        Self { name: name.into(), queue: "default".into(), begin: Arc::new(begin) }
    }

    /// The workflow type.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The queue whose workers run it, unless its starter says otherwise.
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.queue
    }

    pub(crate) fn begin(&self, context: WorkflowContext, input: Payload) -> Result<CodeFuture, String> {
        (self.begin)(context, input)
    }
}

impl fmt::Debug for WorkflowCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkflowCode({:?})", self.name)
    }
}
