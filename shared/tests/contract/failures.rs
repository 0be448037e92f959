//! Failures are cut before they are recorded.

use proptest::prelude::*;
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::limits::{MAX_FAILURE_DEPTH, MAX_FAILURE_TEXT_BYTES};

#[test]
fn what_fits_is_kept_as_it_is() {
    let mut failure = Failure::new(FailureKind::Panic, "x".repeat(MAX_FAILURE_TEXT_BYTES));
    failure.cause = Some(Box::new(Failure::typed(FailureKind::Application, "Inner", "y")));
    assert_eq!(failure.clone().bounded(), failure);
    assert_eq!(failure.error_type, "Panic");
}

#[test]
fn a_failure_reads_like_a_sentence() {
    let failure = Failure::typed(FailureKind::Application, "CardDeclined", "no money");
    assert_eq!(failure.to_string(), "CardDeclined: no money");
    let json = serde_json::to_string(&failure).unwrap();
    assert_eq!(json, r#"{"kind":"application","type":"CardDeclined","message":"no money"}"#);
}

proptest! {
    #[test]
    fn bounded_is_bounded(
        character in any::<char>(), len in 0usize..3 * MAX_FAILURE_TEXT_BYTES, depth in 0usize..40,
    ) {
        let text = character.to_string().repeat(len / character.len_utf8());
        let failure = (0..depth).fold(Failure::new(FailureKind::Application, text.clone()), |cause, _| Failure {
            cause: Some(Box::new(cause)),
            ..Failure::typed(FailureKind::Application, text.clone(), "outer")
        });
        let bounded = failure.bounded();
        let chain: Vec<&Failure> =
            std::iter::successors(Some(&bounded), |failure| failure.cause.as_deref()).collect();
        prop_assert_eq!(chain.len(), (depth + 1).min(MAX_FAILURE_DEPTH));
        for failure in chain {
            prop_assert!(failure.message.len() <= MAX_FAILURE_TEXT_BYTES + '…'.len_utf8());
            prop_assert!(failure.error_type.len() <= MAX_FAILURE_TEXT_BYTES + '…'.len_utf8());
        }
    }
}
