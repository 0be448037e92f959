//! Failures are cut before they are recorded.

use proptest::prelude::*;
use stepwell_shared::failure::{Failure, FailureKind, escaped_bytes};
use stepwell_shared::limits::{
    MAX_FAILURE_BYTES, MAX_FAILURE_DEPTH, MAX_FAILURE_TEXT_BYTES, MAX_PAYLOAD_BYTES,
};
use stepwell_shared::payload::Payload;

fn details(bytes: usize) -> Option<Payload> {
    let json = Payload::encode(&"x".repeat(bytes - 2)).unwrap();
    assert_eq!(json.size(), bytes);
    Some(json)
}

#[test]
fn what_fits_is_kept_as_it_is() {
    let mut failure = Failure::new(FailureKind::Panic, "x".repeat(MAX_FAILURE_TEXT_BYTES));
    failure.cause = Some(Box::new(Failure::typed(FailureKind::Application, "Inner", "y")));
    assert_eq!(failure.clone().bounded(), failure);
    assert_eq!(failure.error_type, "Panic");
}

#[test]
fn every_byte_that_is_escaped_is_counted() {
    let text: String = (0..=255).map(|code: u8| char::from(code)).collect();
    assert_eq!(escaped_bytes(&text) + 2, serde_json::to_vec(&text).unwrap().len());
}

#[test]
fn a_failure_reads_like_a_sentence() {
    let failure = Failure::typed(FailureKind::Application, "CardDeclined", "no money");
    assert_eq!(failure.to_string(), "CardDeclined: no money");
    let json = serde_json::to_string(&failure).unwrap();
    assert_eq!(json, r#"{"kind":"application","type":"CardDeclined","message":"no money"}"#);
}

#[test]
fn details_that_are_too_large_are_left_out_with_a_note() {
    let failure =
        Failure { details: details(MAX_PAYLOAD_BYTES), ..Failure::new(FailureKind::Application, "m") };
    assert_eq!(failure.clone().bounded(), failure);
    let failure = Failure { details: details(MAX_PAYLOAD_BYTES + 1), ..failure };
    let bounded = failure.bounded();
    assert_eq!(bounded.details, None);
    assert_eq!(bounded.message, "m [details of 524289 bytes were left out; at most 524288 are kept]");
    assert_eq!(bounded.clone().bounded(), bounded);
}

#[test]
fn a_note_is_read_under_a_message_of_any_length() {
    let text = "ä".repeat(MAX_FAILURE_TEXT_BYTES);
    let failure =
        Failure { details: details(MAX_PAYLOAD_BYTES + 1), ..Failure::new(FailureKind::Panic, text) };
    let bounded = failure.bounded();
    assert!(bounded.message.ends_with("… [details of 524289 bytes were left out; at most 524288 are kept]"));
    assert!(bounded.message.len() <= MAX_FAILURE_TEXT_BYTES);
    assert_eq!(bounded.clone().bounded(), bounded);
}

#[test]
fn all_of_it_together_is_bounded_and_the_outer_counts_more() {
    let text = "x".repeat(MAX_FAILURE_TEXT_BYTES);
    let failure =
        (0..MAX_FAILURE_DEPTH).fold(Failure::new(FailureKind::Panic, "innermost"), |cause, _| Failure {
            cause: Some(Box::new(cause)),
            details: details(MAX_PAYLOAD_BYTES),
            ..Failure::typed(FailureKind::Application, text.clone(), text.clone())
        });
    let bounded = failure.bounded();
    assert!(serde_json::to_vec(&bounded).unwrap().len() <= MAX_FAILURE_BYTES);
    let kept: Vec<bool> = bounded.chain().map(|failure| failure.details.is_some()).collect();
    assert!(kept[0] && kept[1..].iter().all(|kept| !kept), "{kept:?}");
    assert!(kept.len() > 4, "the texts of some causes have room besides");
    assert_eq!(bounded.clone().bounded(), bounded);
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
        let size = serde_json::to_vec(&failure).unwrap().len();
        let bounded = failure.bounded();
        let chain: Vec<&Failure> = bounded.chain().collect();
        prop_assert!(chain.len() <= (depth + 1).min(MAX_FAILURE_DEPTH));
        if size < MAX_FAILURE_BYTES / 2 {
            prop_assert_eq!(chain.len(), (depth + 1).min(MAX_FAILURE_DEPTH));
        }
        prop_assert!(serde_json::to_vec(&bounded).unwrap().len() <= MAX_FAILURE_BYTES);
        for failure in chain {
            prop_assert!(failure.message.len() <= MAX_FAILURE_TEXT_BYTES + '…'.len_utf8());
            prop_assert!(failure.error_type.len() <= MAX_FAILURE_TEXT_BYTES + '…'.len_utf8());
        }
    }
}
