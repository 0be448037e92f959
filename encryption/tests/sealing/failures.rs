//! Failures keep what the orchestrator decides by, and nothing else.

use stepwell_encryption::{MAX_SEALED_TEXT_BYTES, PayloadError, is_sealed, shown};
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::ids::StepId;
use stepwell_shared::limits::{MAX_FAILURE_DEPTH, MAX_FAILURE_TEXT_BYTES, MAX_PAYLOAD_BYTES};
use stepwell_shared::payload::Payload;
use stepwell_shared::retry::{NextAttempt, RetryPolicy};

use crate::support::{MARKER, id, keyed, keyless, marked, run};

const STEP: Option<StepId> = Some(StepId::Action(7));

fn failure() -> Failure {
    let cause = Failure::typed(FailureKind::Application, MARKER, MARKER);
    Failure {
        non_retryable: true,
        next_retry_delay_ms: Some(7),
        details: Some(marked()),
        cause: Some(Box::new(Failure { details: Some(marked()), ..cause })),
        ..Failure::typed(FailureKind::Application, "CardDeclined", MARKER)
    }
}

fn seal(failure: &Failure) -> Failure {
    let mut sealed = failure.clone();
    keyed().seal_failure(&id("w"), &run("r"), STEP, &mut sealed).expect("it is sealed");
    sealed
}

fn open(failure: &Failure) -> Failure {
    let mut opened = failure.clone();
    keyed().open_failure(&id("w"), &run("r"), STEP, &mut opened).expect("it opens");
    opened
}

#[test]
fn everything_but_what_is_decided_by_is_hidden() {
    let sealed = seal(&failure());
    assert!(!serde_json::to_string(&sealed).expect("JSON").contains(MARKER));
    assert_eq!(sealed.error_type, "CardDeclined");
    assert_eq!(
        (sealed.kind, sealed.non_retryable, sealed.next_retry_delay_ms),
        (FailureKind::Application, true, Some(7))
    );
    assert_eq!(shown(&sealed.to_string()), "CardDeclined: (encrypted with key k1)");
    assert_eq!(open(&sealed), failure());
    let listed = RetryPolicy { non_retryable: vec!["CardDeclined".into()], ..RetryPolicy::default() };
    let retryable = Failure { non_retryable: false, ..sealed };
    assert_eq!(listed.next(1, &retryable, 1), NextAttempt::Never);
    assert_eq!(RetryPolicy::default().next(1, &retryable, 1), NextAttempt::After(7));
}

#[test]
fn it_survives_what_the_orchestrator_does_with_it() {
    let sealed = seal(&failure());
    // It is cut to size, a remark is added, and it becomes the cause of a timeout.
    let noted = sealed.clone().bounded().noting("heartbeat details were left out");
    let opened = open(&noted);
    assert_eq!(opened.message, format!("{MARKER} [heartbeat details were left out]"));
    assert_eq!(opened.details, failure().details);
    let mut timeout = Failure::new(FailureKind::ScheduleToClose, "it took too long");
    timeout.cause = Some(Box::new(sealed));
    let opened = open(&timeout.clone().bounded());
    assert_eq!(opened.message, "it took too long");
    assert_eq!(opened.cause.as_deref(), Some(&failure()));
}

#[test]
fn the_longest_texts_can_be_opened_after_they_were_cut_to_size() {
    let long = Failure::typed(FailureKind::Application, "T", "\"\\\u{1}ä".repeat(20_000));
    let sealed = seal(&long);
    assert!(sealed.message.len() + 512 <= MAX_FAILURE_TEXT_BYTES);
    let opened = open(&sealed.bounded().noting(&"x".repeat(500)));
    assert!(opened.message.len() >= MAX_SEALED_TEXT_BYTES && opened.message.starts_with("\"\\\u{1}ä"));
}

#[test]
fn causes_and_details_that_do_not_fit_are_left_out_and_the_message_says_so() {
    let large = || Some(Payload::encode(&"x".repeat(300_000)).expect("JSON"));
    let mut both = Failure { details: large(), ..failure() };
    both.cause = Some(Box::new(Failure { details: large(), ..failure() }));
    let opened = open(&seal(&both));
    assert_eq!((opened.details.is_some(), opened.cause), (true, None));
    assert!(opened.message.starts_with("[causes were left out"), "{}", opened.message);
    let details = Some(Payload::encode(&"x".repeat(MAX_PAYLOAD_BYTES - 10)).expect("JSON"));
    let opened = open(&seal(&Failure { details, ..failure() }));
    assert_eq!((opened.details, opened.cause), (None, None));
    assert!(opened.message.starts_with("[details were left out") && opened.message.contains(MARKER));
}

#[test]
fn long_chains_come_back_whole() {
    let mut chain = failure();
    for _ in 0..MAX_FAILURE_DEPTH {
        let mut outer = failure();
        outer.cause = Some(Box::new(chain));
        chain = outer;
    }
    let chain = chain.bounded();
    assert_eq!(open(&seal(&chain)), chain);
}

#[test]
fn without_the_key_it_says_so_and_plain_ones_are_read() {
    let mut sealed = seal(&failure());
    let error = keyless().open_failure(&id("w"), &run("r"), STEP, &mut sealed).expect_err("no key");
    assert!(matches!(error, PayloadError::NoKeys { .. }), "{error}");
    assert!(is_sealed(sealed.details.as_ref().expect("details")));
    assert_eq!(open(&failure()), failure());
    let mut plain = failure();
    keyless().seal_failure(&id("w"), &run("r"), STEP, &mut plain).expect("nothing to do");
    assert_eq!(plain, failure());
    let mut moved = seal(&failure());
    keyed().open_failure(&id("w"), &run("r"), None, &mut moved).expect_err("it is of a step");
}
