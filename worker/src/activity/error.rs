//! How an activity says that it did not do its work. Whether and when it is tried again is decided by the
//! orchestrator.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::limits::{MAX_DURATION_MS, MAX_PAYLOAD_BYTES};
use stepwell_shared::payload::Payload;
use stepwell_worker_replay::Cancelled;

/// Why an activity ends without a result.
///
/// Every error that implements [`std::error::Error`] turns into one with `?`: its type is the name of the
/// Rust type, and its sources become causes. What is no such error, such as an `anyhow::Error` or a text,
/// goes through [`boxed`](Self::boxed).
///
/// ```
/// use std::time::Duration;
///
/// use stepwell::ActivityError;
///
/// fn charge(card: &str) -> Result<u32, ActivityError> {
///     match card {
///         "declined" => Err(ActivityError::new("CardDeclined", "the bank said no").non_retryable()),
///         "busy" => Err(ActivityError::new("Busy", "try later").retry_after(Duration::from_secs(30))),
///         number => Ok(number.parse()?),
///     }
/// }
/// assert_eq!(charge("x").unwrap_err().error_type(), "ParseIntError");
/// ```
pub struct ActivityError(Box<Failure>);

impl ActivityError {
    /// A failure with a word of your own for it, which `non_retryable` lists can name, and a message for a
    /// person.
    #[must_use]
    pub fn new(error_type: impl Into<String>, message: impl Into<String>) -> Self {
        Self::from_failure(Failure::typed(FailureKind::Application, error_type, message))
    }

    /// Any error, boxed or not, such as an `anyhow::Error`; its type is `ApplicationError`.
    #[must_use]
    pub fn boxed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let error = error.into();
        Self::from_failure(Failure::of_dyn_error(&*error))
    }

    /// The activity stopped because it was told to.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::from_failure(Failure::new(FailureKind::Cancelled, "the activity stopped when it was told to"))
    }

    /// Trying again is useless.
    #[must_use]
    pub fn non_retryable(mut self) -> Self {
        self.0.non_retryable = true;
        self
    }

    /// The next attempt waits for so long, instead of what the retry policy says.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).min(MAX_DURATION_MS);
        self.0.next_retry_delay_ms = Some(ms);
        self
    }

    /// Data for the workflow code that handles it. Data that has no JSON form or is larger than
    /// a payload may be is left out.
    #[must_use]
    pub fn details<T: Serialize>(mut self, details: T) -> Self {
        self.0.details = Payload::encode(&details).ok().filter(|json| json.size() <= MAX_PAYLOAD_BYTES);
        self
    }

    /// The failure's type.
    #[must_use]
    pub fn error_type(&self) -> &str {
        &self.0.error_type
    }

    /// The message, for a person.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether this says that the activity stopped because it was told to.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.kind == FailureKind::Cancelled
    }

    pub(crate) fn from_failure(failure: Failure) -> Self {
        Self(Box::new(failure))
    }

    /// The failure as it is recorded, for tests of activities.
    #[must_use]
    pub fn into_failure(self) -> Failure {
        self.0.bounded()
    }
}

// Not an `Error` itself: that would rule out the conversion from every error.
impl<E: Error + Send + Sync + 'static> From<E> for ActivityError {
    fn from(error: E) -> Self {
        let any: &(dyn Error + 'static) = &error;
        if let Some(failure) = any.downcast_ref::<Failure>() {
            return Self::from_failure(failure.clone());
        }
        if any.is::<Cancelled>() {
            return Self::cancelled();
        }
        Self::from_failure(Failure::of_error(&error))
    }
}

impl fmt::Display for ActivityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ActivityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ActivityError").field(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no answer from {0}")]
    struct Unreachable(&'static str, #[source] std::num::ParseIntError);

    #[test]
    fn errors_keep_their_type_and_their_causes() {
        let cause = "x".parse::<u32>().unwrap_err();
        let failure = ActivityError::from(Unreachable("bank", cause)).into_failure();
        assert_eq!(
            (failure.error_type.as_str(), failure.message.as_str()),
            ("Unreachable", "no answer from bank")
        );
        assert_eq!(failure.cause.unwrap().message, "invalid digit found in string");
    }

    #[test]
    fn boxed_takes_what_is_no_error_type() {
        let boxed: Box<dyn Error + Send + Sync> = "plain".into();
        assert_eq!(ActivityError::boxed(boxed).to_string(), "ApplicationError: plain");
        assert_eq!(ActivityError::boxed("text").message(), "text");
    }

    #[test]
    fn a_failure_and_a_cancellation_stay_what_they_are() {
        let failure = Failure::typed(FailureKind::Heartbeat, "T", "m");
        assert_eq!(ActivityError::from(failure.clone()).into_failure(), failure);
        assert!(ActivityError::from(Cancelled).is_cancelled());
    }

    #[test]
    fn says_what_the_orchestrator_needs() {
        let error = ActivityError::new("A", "b")
            .non_retryable()
            .retry_after(Duration::from_millis(7))
            .details(vec![1, 2]);
        let failure = error.into_failure();
        assert!(failure.non_retryable);
        assert_eq!(failure.next_retry_delay_ms, Some(7));
        assert_eq!(failure.details.unwrap().json(), "[1,2]");
        let large = "x".repeat(MAX_PAYLOAD_BYTES);
        assert_eq!(ActivityError::new("A", "b").details(large).into_failure().details, None);
    }
}
