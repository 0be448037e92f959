//! The retry policy as arithmetic.

use proptest::prelude::*;
use stepwell_shared::encoding::{decode_unversioned, encode};
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::limits::MAX_DURATION_MS;
use stepwell_shared::options::{ActivityOptions, InvalidOptions};
use stepwell_shared::retry::{NextAttempt, RetryPolicy};

fn exact() -> RetryPolicy {
    RetryPolicy { jitter: 0.0, ..RetryPolicy::default() }
}

fn broken() -> Failure {
    Failure::typed(FailureKind::Application, "Broken", "it did not work")
}

#[test]
fn waits_double_up_to_the_ceiling() {
    let waits: Vec<u64> = (1..=10).map(|attempt| exact().delay_ms(attempt, 0)).collect();
    assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 100_000, 100_000, 100_000]);
    let low = RetryPolicy { maximum_interval_ms: Some(3_000), ..exact() };
    assert_eq!(low.delay_ms(7, 0), 3_000);
    let flat = RetryPolicy { backoff_coefficient: 1.0, ..exact() };
    assert_eq!(flat.delay_ms(u32::MAX, 0), 1_000);
}

#[test]
fn what_is_repeated_and_what_is_not() {
    let policy = RetryPolicy { maximum_attempts: Some(3), non_retryable: vec!["Declined".into()], ..exact() };
    assert_eq!(policy.next(2, &broken(), 0), NextAttempt::After(2_000));
    assert_eq!(policy.next(3, &broken(), 0), NextAttempt::Never);
    let declined = Failure { error_type: "Declined".into(), ..broken() };
    assert_eq!(policy.next(1, &declined, 0), NextAttempt::Never);
    // Compared exactly.
    let other = Failure { error_type: "DeclinedToday".into(), ..broken() };
    assert_eq!(policy.next(1, &other, 0), NextAttempt::After(1_000));
    let flagged = Failure { non_retryable: true, next_retry_delay_ms: Some(1), ..broken() };
    assert_eq!(policy.next(1, &flagged, 0), NextAttempt::Never);
    let named = Failure { next_retry_delay_ms: Some(5), ..broken() };
    assert_eq!(policy.next(1, &named, 0), NextAttempt::After(5));
    let absurd = Failure { next_retry_delay_ms: Some(u64::MAX), ..broken() };
    assert_eq!(policy.next(1, &absurd, 0), NextAttempt::After(MAX_DURATION_MS));
    assert_eq!(policy.next(1, &Failure::new(FailureKind::Lost, ""), 0), NextAttempt::After(0));
    for kind in [FailureKind::ScheduleToClose, FailureKind::ScheduleToStart, FailureKind::Payload] {
        assert_eq!(policy.next(1, &Failure::new(kind, ""), 0), NextAttempt::Never);
    }
}

#[test]
fn missing_fields_take_the_defaults() {
    let policy: RetryPolicy = serde_json::from_str(r#"{"maximum_attempts": 3}"#).unwrap();
    assert_eq!(policy, RetryPolicy { maximum_attempts: Some(3), ..RetryPolicy::default() });
}

#[test]
fn options_are_checked() {
    let good = ActivityOptions { start_to_close_ms: Some(1), ..ActivityOptions::default() };
    assert_eq!(good.validate(), Ok(()));
    assert_eq!(ActivityOptions::default().validate(), Err(InvalidOptions::NoTimeout));
    let only_overall = ActivityOptions { schedule_to_close_ms: Some(1), ..ActivityOptions::default() };
    assert_eq!(only_overall.validate(), Ok(()));
    let never = ActivityOptions {
        retry: RetryPolicy { maximum_attempts: Some(0), ..RetryPolicy::default() },
        ..good.clone()
    };
    assert_eq!(never.validate(), Err(InvalidOptions::NoAttempts));
    for found in [0, MAX_DURATION_MS + 1] {
        let bad = ActivityOptions { heartbeat_timeout_ms: Some(found), ..good.clone() };
        let what = "heartbeat_timeout";
        assert_eq!(bad.validate(), Err(InvalidOptions::Duration { what, found }));
    }
}

proptest! {
    /// Whatever the numbers, a wait is between what jitter leaves of it and the ceiling, and always the same.
    #[test]
    fn waits_are_bounded_and_repeatable(
        initial_interval_ms: u64, backoff_coefficient: f64, maximum_interval_ms: Option<u64>, jitter: f64,
        attempt: u32, seed: u64,
    ) {
        let policy = RetryPolicy {
            initial_interval_ms, backoff_coefficient, maximum_interval_ms, jitter, ..RetryPolicy::default()
        };
        let wait = policy.delay_ms(attempt, seed);
        prop_assert_eq!(wait, policy.delay_ms(attempt, seed));
        prop_assert!(wait <= maximum_interval_ms.unwrap_or(u64::MAX).min(MAX_DURATION_MS));
    }

    #[test]
    fn jitter_only_shortens(attempt in 1u32..20, seed: u64, jitter in 0.0..1.0f64) {
        let exact = exact().delay_ms(attempt, seed);
        let jittered = RetryPolicy { jitter, ..RetryPolicy::default() }.delay_ms(attempt, seed);
        prop_assert!(jittered <= exact);
        prop_assert!(jittered as f64 >= (exact as f64 * (1.0 - jitter)).floor() - 1.0);
    }

    #[test]
    fn waits_never_shrink_without_jitter(attempt in 1u32..200, coefficient in 1.0..10.0f64) {
        let policy = RetryPolicy { backoff_coefficient: coefficient, ..exact() };
        prop_assert!(policy.delay_ms(attempt, 0) <= policy.delay_ms(attempt + 1, 0));
    }
}

proptest! {
    /// What is recorded is what was asked for, so that waits are the same after a crash.
    #[test]
    fn numbers_come_back_as_they_were_written(coefficient in 1e-12..1e12f64, jitter in 0.0..1.0f64) {
        let policy = RetryPolicy { backoff_coefficient: coefficient, jitter, ..RetryPolicy::default() };
        let again: RetryPolicy = decode_unversioned(&encode(&policy)).unwrap();
        prop_assert_eq!(again, policy);
    }
}
