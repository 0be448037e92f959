//! What workflow code needs to know of an activity: its name, its types and its default options. The
//! body of an activity is no concern of this crate.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stepwell_shared::options::ActivityOptions;
use stepwell_shared::task::UndoInput;

use crate::duration::to_ms;

/// A kind of work that workflow code can ask for. The attribute macro `#[activity]` writes the
/// implementation for a unit struct of the function's name.
///
/// ```
/// use stepwell_worker_replay::{Activity, ActivityDefaults, secs};
///
/// struct FetchDocument;
///
/// impl Activity for FetchDocument {
///     type Input = String;
///     type Output = Vec<String>;
///     const NAME: &'static str = "fetch_document";
///
///     fn options() -> ActivityDefaults {
///         ActivityDefaults::start_to_close(secs(30))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an activity",
    label = "not an activity",
    note = "put `#[activity(…)]` on the function, or on the method inside an `impl` block with `#[activities]`, and \
            give its name without arguments"
)]
pub trait Activity: Send + Sync + 'static {
    /// What it takes.
    type Input: Serialize + DeserializeOwned + Send + 'static;
    /// What it returns.
    type Output: Serialize + DeserializeOwned + Send + 'static;
    /// The activity type, as histories and workers name it.
    const NAME: &'static str;

    /// Timeouts, retries and queue of calls that do not say otherwise.
    #[must_use]
    fn options() -> ActivityDefaults {
        ActivityDefaults::default()
    }
}

/// A function that makes a value of an activity stands for the activity: what `#[activity]` writes beside
/// the type, so that the activity's name can be given to [`WorkflowContext::run`](crate::WorkflowContext::run)
/// and a variable may have the same name.
impl<F, A> Activity for F
where
    F: Fn() -> A + Send + Sync + 'static,
    A: Activity,
{
    type Input = A::Input;
    type Output = A::Output;
    const NAME: &'static str = A::NAME;

    fn options() -> ActivityDefaults {
        A::options()
    }
}

/// The options that an activity declares for all of its calls.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ActivityDefaults {
    /// Timeouts and retries.
    pub options: ActivityOptions,
    /// Where workers look for it; `None`: the queue of the run that calls it.
    pub queue: Option<&'static str>,
}

impl ActivityDefaults {
    /// Defaults with nothing but the longest time for one attempt.
    #[must_use]
    pub fn start_to_close(longest: Duration) -> Self {
        let options =
            ActivityOptions { start_to_close_ms: Some(to_ms(longest)), ..ActivityOptions::default() };
        Self { options, queue: None }
    }
}

/// What a compensation is given: the action's input, its output if it returned, and its idempotency key.
pub type Undo<I, O> = UndoInput<I, O>;
