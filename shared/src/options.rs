//! What a caller may say about how an activity or a run is executed.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::MAX_DURATION_MS;
use crate::retry::RetryPolicy;

/// Timeouts and retries of one activity. One of `start_to_close_ms` and `schedule_to_close_ms` is
/// required; all are milliseconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ActivityOptions {
    /// Longest time for one attempt, judged by the worker. `None`: `schedule_to_close_ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_to_close_ms: Option<u64>,
    /// Longest time that one attempt may wait for a worker. Never retried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule_to_start_ms: Option<u64>,
    /// Longest time for the activity with all attempts and waits. Never retried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule_to_close_ms: Option<u64>,
    /// Longest gap between two heartbeats, judged by the worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_timeout_ms: Option<u64>,
    /// How failed attempts are repeated.
    pub retry: RetryPolicy,
}

/// Why options cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidOptions {
    /// Neither of the two timeouts that bound an attempt is set.
    #[error(
        "an activity needs start_to_close or schedule_to_close, and neither is set; give one on the activity or at the call"
    )]
    NoTimeout,
    /// A duration of zero, or beyond what the format carries.
    #[error("{what} is {found} ms; it must be between 1 ms and 100 years")]
    Duration {
        /// Which option.
        what: &'static str,
        /// Its value.
        found: u64,
    },
    /// A policy that never makes an attempt.
    #[error("maximum_attempts is 0; leave it out for no limit, or give at least 1")]
    NoAttempts,
}

impl ActivityOptions {
    /// Checks that the options can be carried out.
    ///
    /// # Errors
    /// [`InvalidOptions`] names the first option that cannot be used.
    pub fn validate(&self) -> Result<(), InvalidOptions> {
        let durations = [
            ("start_to_close", self.start_to_close_ms),
            ("schedule_to_start", self.schedule_to_start_ms),
            ("schedule_to_close", self.schedule_to_close_ms),
            ("heartbeat_timeout", self.heartbeat_timeout_ms),
        ];
        for (what, value) in durations {
            check_duration(what, value)?;
        }
        if self.start_to_close_ms.is_none() && self.schedule_to_close_ms.is_none() {
            return Err(InvalidOptions::NoTimeout);
        }
        if self.retry.maximum_attempts == Some(0) {
            return Err(InvalidOptions::NoAttempts);
        }
        Ok(())
    }
}

/// Checks an optional duration of a message: between 1 ms and 100 years.
///
/// # Errors
/// [`InvalidOptions::Duration`] naming `what`.
pub fn check_duration(what: &'static str, value: Option<u64>) -> Result<(), InvalidOptions> {
    match value {
        Some(found) if found == 0 || found > MAX_DURATION_MS => Err(InvalidOptions::Duration { what, found }),
        Some(_) | None => Ok(()),
    }
}
