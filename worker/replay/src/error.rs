//! The errors that workflow code meets and returns. Each says what was tried, what was found and, where
//! there is something to do, what to do.

use std::error::Error;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::ids::Seq;
use stepwell_shared::payload::Payload;
use thiserror::Error as ThisError;

use crate::encode::encode_bounded;

/// The run was asked to stop, or ran into its timeout, and what was awaited ended because of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ThisError)]
#[error("cancelled")]
pub struct Cancelled;

/// Why waiting for a signal or a condition ended without it.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
pub enum WaitError {
    /// The timeout given with `.timeout(…)` passed first.
    #[error("timed out")]
    TimedOut,
    /// The run was asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// A signal arrived, but what it carries is not what the code expects. The next one can still be
    /// received.
    #[error(transparent)]
    Malformed(#[from] MalformedSignal),
}

impl From<Cancelled> for WaitError {
    fn from(Cancelled: Cancelled) -> Self {
        Self::Cancelled
    }
}

/// A signal carried something that its type cannot be read from. It has been taken out of the buffer.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[error("the payload of signal `{signal}` is not a `{expected}`: {reason}")]
pub struct MalformedSignal {
    /// The signal's name.
    pub signal: String,
    /// The Rust type that was expected.
    pub expected: &'static str,
    /// What is wrong with it, with line and column.
    pub reason: String,
    /// What it carried.
    pub payload: Payload,
}

/// An activity ended without a result: it failed for good, was cancelled, or could not be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityFailure {
    activity: String,
    seq: Option<Seq>,
    failure: Box<Failure>,
}

impl ActivityFailure {
    pub(crate) fn new(activity: &str, seq: Option<Seq>, failure: Failure) -> Self {
        Self { activity: activity.to_owned(), seq, failure: Box::new(failure) }
    }

    /// The activity type.
    #[must_use]
    pub fn activity(&self) -> &str {
        &self.activity
    }

    /// The command's number; `None` when the activity was never asked for.
    #[must_use]
    pub fn seq(&self) -> Option<Seq> {
        self.seq
    }

    /// Which part of the system saw the failure.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.failure.kind
    }

    /// The user's own word for it, such as `CardDeclined`.
    #[must_use]
    pub fn error_type(&self) -> &str {
        &self.failure.error_type
    }

    /// The message, for a person.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.failure.message
    }

    /// The data that came with it, if it came with data of this type.
    #[must_use]
    pub fn details<T: DeserializeOwned>(&self) -> Option<T> {
        self.failure.details.as_ref()?.decode().ok()
    }

    /// Whether the activity was cancelled, rather than failed.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.failure.kind == FailureKind::Cancelled
    }

    /// The failure as recorded.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        &self.failure
    }
}

impl fmt::Display for ActivityFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "activity `{}`", self.activity)?;
        if let Some(seq) = self.seq {
            write!(f, " (#{seq})")?;
        }
        write!(f, ": {}", self.failure)
    }
}

impl Error for ActivityFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // The failure itself is in the text.
        self.failure.cause.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

/// Why a workflow ends without a result.
///
/// Every error that implements [`std::error::Error`] turns into one with `?`: an activity's failure
/// keeps its type and details, [`Cancelled`] stays a cancellation, anything else becomes a failure
/// whose type is the name of the Rust type.
///
/// ```
/// use stepwell_worker_replay::WorkflowError;
///
/// fn parse(text: &str) -> Result<u32, WorkflowError> {
///     if text.is_empty() {
///         return Err(WorkflowError::new("EmptyOrder", "an order needs at least one item"));
///     }
///     Ok(text.parse()?)
/// }
/// assert_eq!(parse("").unwrap_err().to_string(), "EmptyOrder: an order needs at least one item");
/// assert_eq!(parse("x").unwrap_err().error_type(), "ParseIntError");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkflowError {
    /// What the code awaited was cancelled. When the run itself was asked to stop, returning this is how
    /// the code accepts it.
    Cancelled,
    /// The run fails.
    Failed(Box<Failure>),
}

impl WorkflowError {
    /// A failure with a word of your own for it and a message for a person.
    #[must_use]
    pub fn new(error_type: impl Into<String>, message: impl Into<String>) -> Self {
        Failure::typed(FailureKind::Application, error_type, message).into()
    }

    /// The same, with data for whoever handles it. Data that has no JSON form, or is larger than a payload
    /// may be, is left out.
    #[must_use]
    pub fn details<T: Serialize>(self, details: &T) -> Self {
        match self {
            Self::Cancelled => Self::Cancelled,
            Self::Failed(mut failure) => {
                failure.details = encode_bounded(details).ok();
                Self::Failed(failure)
            }
        }
    }

    /// The failure's type; `Cancelled` for a cancellation.
    #[must_use]
    pub fn error_type(&self) -> &str {
        match self {
            Self::Cancelled => FailureKind::Cancelled.default_type(),
            Self::Failed(failure) => &failure.error_type,
        }
    }

    /// Whether this is a cancellation.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Cancelled => true,
            Self::Failed(_) => false,
        }
    }

    /// The failure as it is recorded.
    #[must_use]
    pub fn into_failure(self) -> Failure {
        match self {
            Self::Cancelled => Failure::new(
                FailureKind::Cancelled,
                "the code returned a cancellation, though nobody had asked the run to stop",
            ),
            Self::Failed(failure) => failure.bounded(),
        }
    }
}

impl fmt::Display for WorkflowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("cancelled"),
            Self::Failed(failure) => write!(f, "{failure}"),
        }
    }
}

// Not an `Error` itself: that would rule out the conversion from every error.
impl<E: Error + Send + Sync + 'static> From<E> for WorkflowError {
    fn from(error: E) -> Self {
        let any: &(dyn Error + 'static) = &error;
        if let Some(failure) = any.downcast_ref::<ActivityFailure>() {
            return from_activity(failure);
        }
        if let Some(failure) = any.downcast_ref::<Failure>() {
            return Self::Failed(Box::new(failure.clone()));
        }
        if any.is::<Cancelled>() || any.downcast_ref::<WaitError>() == Some(&WaitError::Cancelled) {
            return Self::Cancelled;
        }
        Self::Failed(Box::new(Failure::of_error(&error)))
    }
}

/// Why a query was not answered. The run is as it was before.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[error("{message}")]
pub struct QueryFailed {
    /// What was asked, what was found, what to do.
    pub message: String,
}

/// The failed activity's own type on the outside, so that callers of the workflow can tell it; the
/// recorded failure as the cause.
fn from_activity(error: &ActivityFailure) -> WorkflowError {
    if error.is_cancelled() {
        return WorkflowError::Cancelled;
    }
    let place = error.seq.map(|seq| format!(" (#{seq})")).unwrap_or_default();
    let message = format!("activity `{}`{place} failed: {}", error.activity, error.failure.message);
    let mut failure = Failure::typed(FailureKind::Application, error.error_type(), message);
    failure.details = error.failure.details.clone();
    failure.cause = Some(error.failure.clone());
    WorkflowError::Failed(Box::new(failure))
}

#[cfg(test)]
mod tests {
    use stepwell_shared::limits::MAX_FAILURE_DEPTH;

    use super::*;

    fn convert(error: impl Into<WorkflowError>) -> WorkflowError {
        error.into()
    }

    #[test]
    fn cancellations_stay_cancellations() {
        let cancelled = ActivityFailure::new("a", Some(1), Failure::new(FailureKind::Cancelled, "x"));
        assert_eq!(convert(Cancelled), WorkflowError::Cancelled);
        assert_eq!(convert(WaitError::Cancelled), WorkflowError::Cancelled);
        assert_eq!(convert(cancelled), WorkflowError::Cancelled);
        assert_eq!(convert(WaitError::TimedOut).error_type(), "WaitError");
    }

    #[test]
    fn an_activity_failure_keeps_its_type_and_is_the_cause() {
        let mut inner = Failure::typed(FailureKind::Application, "CardDeclined", "no money");
        inner.details = Some(Payload::encode(&7).unwrap());
        let error = convert(ActivityFailure::new("charge", Some(4), inner.clone()));
        assert_eq!(error.to_string(), "CardDeclined: activity `charge` (#4) failed: no money");
        let failure = error.into_failure();
        assert_eq!(failure.cause, Some(Box::new(inner.clone())));
        assert_eq!(failure.details, inner.details);
    }

    #[test]
    fn sources_become_causes_up_to_the_bound() {
        #[derive(Debug, ThisError)]
        #[error("link {0}")]
        struct Link(usize, #[source] Option<Box<Link>>);
        let chain = (0..100).fold(None, |next, n| Some(Box::new(Link(n, next)))).unwrap();
        let failure = convert(*chain).into_failure();
        let depth = std::iter::successors(Some(&failure), |f| f.cause.as_deref()).count();
        assert_eq!((failure.error_type.as_str(), depth), ("Link", MAX_FAILURE_DEPTH));
    }
}
