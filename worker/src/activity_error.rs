//! Why an activity ends without a result, as its code says it.

use std::error::Error;
use std::time::Duration;

use serde::Serialize;
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::limits::MAX_FAILURE_DEPTH;
use stepwell_shared::payload::Payload;

/// Why an activity ends without a result.
///
/// Every error that implements [`std::error::Error`] turns into one with `?`; its type is then the name of
/// the Rust type, and it is tried again as the retry policy says.
///
/// ```
/// use std::time::Duration;
/// use stepwell::ActivityError;
///
/// let declined = ActivityError::new("CardDeclined", "the bank said no").non_retryable();
/// let busy = ActivityError::new("Busy", "ask later").retry_after(Duration::from_secs(30));
/// let parsed: ActivityError = "x".parse::<u32>().unwrap_err().into();
/// assert_eq!(parsed.error_type(), "ParseIntError");
/// # let _ = (declined, busy);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityError {
    failure: Box<Failure>,
}

impl ActivityError {
    /// An error with a type of your own, which retry policies and workflows can name.
    #[must_use]
    pub fn new(error_type: impl Into<String>, message: impl Into<String>) -> Self {
        Failure::typed(FailureKind::Application, error_type, message).into()
    }

    /// The activity stopped because it was told to: return this after [`crate::ActivityContext::cancelled`].
    #[must_use]
    pub fn cancelled() -> Self {
        Failure::new(FailureKind::Cancelled, "the activity was told to stop").into()
    }

    /// Trying again is useless.
    #[must_use]
    pub fn non_retryable(mut self) -> Self {
        self.failure.non_retryable = true;
        self
    }

    /// Try again after this time, instead of what the policy says.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.failure.next_retry_delay_ms = Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Data for the code that handles it. Data that has no JSON form is left out.
    #[must_use]
    pub fn details<T: Serialize>(mut self, details: &T) -> Self {
        self.failure.details = Payload::encode(details).ok();
        self
    }

    /// The failure's type.
    #[must_use]
    pub fn error_type(&self) -> &str {
        &self.failure.error_type
    }

    /// The message, for a person.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.failure.message
    }

    /// The failure as it is recorded.
    #[must_use]
    pub fn into_failure(self) -> Failure {
        self.failure.bounded()
    }
}

impl std::fmt::Display for ActivityError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.failure)
    }
}

// Not an `Error` itself: that would rule out the conversion from every error.
impl<E: Error + Send + Sync + 'static> From<E> for ActivityError {
    fn from(error: E) -> Self {
        let any: &(dyn Error + 'static) = &error;
        if let Some(failure) = any.downcast_ref::<Failure>() {
            return Self { failure: Box::new(failure.clone()) };
        }
        let name = std::any::type_name::<E>();
        // The last segment of the path, without type parameters: what a person would call it.
        let name = name.split('<').next().unwrap_or(name);
        let name = name.rsplit("::").next().unwrap_or(name);
        let mut failure = Failure::typed(FailureKind::Application, name, error.to_string());
        failure.cause = causes(error.source(), 1);
        Self { failure: Box::new(failure) }
    }
}

fn causes(source: Option<&(dyn Error + 'static)>, depth: usize) -> Option<Box<Failure>> {
    let source = source.filter(|_| depth < MAX_FAILURE_DEPTH)?;
    let mut failure = Failure::new(FailureKind::Application, source.to_string());
    failure.cause = causes(source.source(), depth + 1);
    Some(Box::new(failure))
}
