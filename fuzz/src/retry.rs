//! Retry policies, options and failures, as JSON and as drawn: every wait is bounded and a function of its
//! arguments, and what is recorded of a failure is bounded.

use stepwell_shared::encoding::{decode_unversioned, encode};
use stepwell_shared::failure::Failure;
use stepwell_shared::limits::{MAX_DURATION_MS, MAX_FAILURE_BYTES, MAX_FAILURE_DEPTH};
use stepwell_shared::options::ActivityOptions;
use stepwell_shared::retry::{NextAttempt, RetryPolicy};

use crate::dice::Dice;
use crate::generate;

/// The remark that something was left out comes on top of the bound.
const REMARK_BYTES: usize = 1_024;

pub(crate) fn check(data: &[u8]) {
    if let Ok(failure) = decode_unversioned::<Failure>(data) {
        bounded(failure);
    }
    if let Ok(options) = decode_unversioned::<ActivityOptions>(data) {
        let again = decode_unversioned::<ActivityOptions>(&encode(&options));
        assert_eq!(again.as_ref(), Ok(&options));
        if options.validate().is_ok() {
            assert!(options.start_to_close_ms.is_some() || options.schedule_to_close_ms.is_some());
            assert_ne!(options.retry.maximum_attempts, Some(0));
        }
        waits(&options.retry, 7, 11);
    }
    let mut dice = Dice::new(data);
    let (policy, failure) = (generate::retry(&mut dice), generate::failure(&mut dice));
    let (attempt, seed) = (dice.seq(), dice.number());
    waits(&policy, attempt, seed);
    if let NextAttempt::After(ms) = policy.next(attempt, &failure, seed) {
        assert!(ms <= MAX_DURATION_MS);
        assert!(policy.maximum_attempts.is_none_or(|most| attempt < most));
        assert!(failure.kind.retryable() && !failure.non_retryable);
    }
    bounded(failure);
}

fn waits(policy: &RetryPolicy, attempt: u32, seed: u64) {
    let wait = policy.delay_ms(attempt, seed);
    assert_eq!(wait, policy.delay_ms(attempt, seed));
    assert!(wait <= MAX_DURATION_MS);
    assert!(policy.maximum_interval_ms.is_none_or(|most| wait <= most));
}

fn bounded(failure: Failure) {
    let whole = failure.chain().count();
    let bounded = failure.bounded();
    assert!(bounded.chain().count() <= whole.min(MAX_FAILURE_DEPTH));
    let size = encode(&bounded).len();
    assert!(size <= MAX_FAILURE_BYTES + REMARK_BYTES, "{size} bytes are recorded");
    assert_eq!(bounded.clone().bounded(), bounded, "what is bounded stays as it is");
}
