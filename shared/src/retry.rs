//! The retry policy as arithmetic: which attempts are made and how long each waits. No clock, no
//! randomness: jitter is a function of a seed.

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, FailureKind};
use crate::limits::MAX_DURATION_MS;
use crate::rng::SplitMix64;

/// How failed attempts are repeated. Missing fields take the defaults of [`RetryPolicy::default`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetryPolicy {
    /// Wait before the second attempt, in milliseconds.
    pub initial_interval_ms: u64,
    /// Each further wait is this many times the one before; at least 1.
    pub backoff_coefficient: f64,
    /// No wait is longer, in milliseconds. `None`: 100 times the initial interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_interval_ms: Option<u64>,
    /// Attempts in all; `None` for no limit, 1 for at most once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_attempts: Option<u32>,
    /// Failure types that are final at once, compared exactly.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub non_retryable: Vec<String>,
    /// Each wait is shortened by up to this share of it, 0 to 1, so that many do not wake together.
    pub jitter: f64,
}

impl Default for RetryPolicy {
    /// First 1 s, doubling, at most 100 s, without limit, 20 % jitter.
    fn default() -> Self {
        Self {
            initial_interval_ms: 1_000,
            backoff_coefficient: 2.0,
            maximum_interval_ms: None,
            maximum_attempts: None,
            non_retryable: Vec::new(),
            jitter: 0.2,
        }
    }
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextAttempt {
    /// Try again after this many milliseconds.
    After(u64),
    /// The failure is final.
    Never,
}

impl RetryPolicy {
    /// What follows when attempt number `attempt` (from 1) ended with `failure`.
    ///
    /// A delay named by the failure replaces the formula. The wait is
    /// `initial * coefficient^(attempt-1)`, capped, less jitter drawn from `seed`. A lost attempt (its
    /// worker died) is repeated at once: the failure says nothing about the work itself.
    #[must_use]
    pub fn next(&self, attempt: u32, failure: &Failure, seed: u64) -> NextAttempt {
        let out_of_attempts = self.maximum_attempts.is_some_and(|most| attempt >= most);
        let listed = self.non_retryable.contains(&failure.error_type);
        if failure.non_retryable || listed || out_of_attempts || !failure.kind.retryable() {
            return NextAttempt::Never;
        }
        if let Some(delay) = failure.next_retry_delay_ms {
            return NextAttempt::After(delay.min(MAX_DURATION_MS));
        }
        if failure.kind == FailureKind::Lost {
            return NextAttempt::After(0);
        }
        NextAttempt::After(self.delay_ms(attempt, seed))
    }

    /// The formula alone: the wait after attempt `attempt`, in milliseconds.
    #[must_use]
    pub fn delay_ms(&self, attempt: u32, seed: u64) -> u64 {
        let initial = self.initial_interval_ms.min(MAX_DURATION_MS);
        let ceiling = self.maximum_interval_ms.unwrap_or(initial.saturating_mul(100));
        let ceiling = ceiling.min(MAX_DURATION_MS) as f64;
        // A coefficient that is not a number or below 1 would shrink waits; treat it as 1.
        let coefficient = if self.backoff_coefficient >= 1.0 { self.backoff_coefficient } else { 1.0 };
        let exponent = attempt.saturating_sub(1).min(i32::MAX as u32) as i32;
        let wait = (initial as f64 * coefficient.powi(exponent)).min(ceiling);
        let jitter = if self.jitter > 0.0 { self.jitter.min(1.0) } else { 0.0 };
        let draw = SplitMix64::new(seed ^ u64::from(attempt)).next_f64();
        (wait * (1.0 - jitter * draw)) as u64
    }
}
