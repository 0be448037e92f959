//! Tasks and answers as workers have them.

use stepwell_encryption::{Encryption, PayloadError, Place};
use stepwell_shared::command::{Command, RunActivity};
use stepwell_shared::encoding::VERSION;
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::history::{Event, Record, StallKind, Turn};
use stepwell_shared::ids::StepId;
use stepwell_shared::message::Outcome;
use stepwell_shared::options::ActivityOptions;
use stepwell_shared::payload::Payload;
use stepwell_shared::task::{ActivityTask, Answer, UndoInput, Work, WorkflowTask};

use crate::support::{MARKER, id, keyed, keyless, marked, name, ring, run, sealed, with};

fn task(step: StepId, input: Payload) -> ActivityTask {
    ActivityTask {
        v: VERSION,
        workflow_id: id("w"),
        workflow_type: name("t"),
        run_id: run("r"),
        step,
        attempt: 1,
        activity_type: name("a"),
        input,
        idempotency_key: "r/1".into(),
        token: String::new(),
        partition: None,
        scheduled_at_ms: 0,
        schedule_to_start_ms: None,
        expires_at_ms: None,
        start_to_close_ms: None,
        heartbeat_timeout_ms: None,
        maximum_attempts: None,
        heartbeat: None,
        last_failure: None,
    }
}

fn workflow_task(work: Work) -> WorkflowTask {
    WorkflowTask {
        records: Vec::new(),
        v: VERSION,
        replay_token: None,
        workflow_id: id("w"),
        run_id: run("r"),
        workflow_type: name("t"),
        history_subject: String::new(),
        first_sequence: 0,
        after: 0,
        mark: None,
        next_mark: None,
        work,
    }
}

/// The orchestrator's part: a compensation's input from the action's input and output.
fn undo_of(input: Payload, output: Option<Payload>) -> ActivityTask {
    let undo = UndoInput { input, output, idempotency_key: "r/1".into() };
    task(StepId::Undo(1), Payload::encode(&undo).expect("JSON"))
}

#[test]
fn an_attempt_gets_everything_that_the_one_before_left() {
    let (r, step) = (run("r"), StepId::Action(1));
    let mut failed = Outcome::Failed {
        failure: Failure::typed(FailureKind::Application, "Busy", MARKER),
        heartbeat: Some(marked()),
    };
    keyed().seal_outcome(&id("w"), &r, step, &mut failed).expect("it is sealed");
    assert!(!serde_json::to_string(&failed).expect("JSON").contains(MARKER));
    let Outcome::Failed { failure, heartbeat } = failed else { panic!("another outcome") };
    let input = sealed(&keyed(), Place::ActivityInput(&r, step), &marked());
    let last_failure = Some(failure.to_string());
    let mut next = ActivityTask { heartbeat, last_failure, attempt: 2, ..task(step, input) };
    let error = keyless().open_activity_task(&mut next.clone()).expect_err("no key");
    assert!(error.to_string().starts_with("the input of activity 1 is encrypted with key `k1`"), "{error}");
    keyed().open_activity_task(&mut next).expect("it opens");
    assert_eq!((next.input, next.heartbeat), (marked(), Some(marked())));
    assert_eq!(next.last_failure, Some(format!("Busy: {MARKER}")));
}

#[test]
fn heartbeat_details_that_are_too_large_do_not_hide_the_failure() {
    let heartbeat = Some(Payload::encode(&"x".repeat(500_000)).expect("JSON"));
    let failure = Failure::typed(FailureKind::Application, "Busy", MARKER);
    let mut failed = Outcome::Failed { failure, heartbeat };
    let step = StepId::Action(1);
    keyed().seal_outcome(&id("w"), &run("r"), step, &mut failed).expect("it is sealed");
    let Outcome::Failed { mut failure, heartbeat: None } = failed else { panic!("another outcome") };
    keyed().open_failure(&id("w"), &run("r"), Some(step), &mut failure).expect("it opens");
    assert!(failure.message.starts_with("[the heartbeat of activity 1 has"), "{}", failure.message);
    assert!(failure.message.ends_with(MARKER));
}

#[test]
fn a_compensation_gets_what_its_action_was_given_and_returned() {
    let (r, action) = (run("r"), StepId::Action(1));
    let input = sealed(&keyed(), Place::ActivityInput(&r, action), &marked());
    let output = sealed(&keyed(), Place::ActivityResult(&r, action), &Payload::null());
    for output in [Some(output), None] {
        let mut undo = undo_of(input.clone(), output.clone());
        assert!(keyless().open_activity_task(&mut undo.clone()).is_err());
        keyed().open_activity_task(&mut undo).expect("it opens");
        let undo: UndoInput = undo.input.decode().expect("an input of a compensation");
        assert_eq!((undo.input, undo.output), (marked(), output.map(|_| Payload::null())));
    }
    // The parts do not change places.
    let output = sealed(&keyed(), Place::ActivityResult(&r, action), &marked());
    let error = keyed().open_activity_task(&mut undo_of(output, None)).expect_err("it was an output");
    assert!(matches!(error, PayloadError::NotAuthentic { .. }), "{error}");
    let strict = with(Encryption::with(ring(&[("k1", 1)])).refuse_plain());
    strict.open_activity_task(&mut undo_of(marked(), None)).expect_err("it is plain");
    for payloads in [keyed(), keyless()] {
        let mut plain = undo_of(marked(), None);
        payloads.open_activity_task(&mut plain).expect("it is plain");
        assert_eq!(plain, undo_of(marked(), None));
    }
}

#[test]
fn a_turn_is_recorded_encrypted_and_replayed_plain() {
    let failure = || Failure::typed(FailureKind::Application, "T", MARKER);
    let activity = RunActivity {
        seq: 1,
        activity_type: name("a"),
        queue: name("q"),
        input: marked(),
        options: ActivityOptions::default(),
        compensation: None,
    };
    let plain = vec![
        Command::RunActivity(activity),
        Command::StartTimer { seq: 2, delay_ms: 7 },
        Command::CompleteRun { result: marked() },
        Command::FailRun { failure: failure() },
        Command::CancelRun { failure: failure() },
    ];
    let turn = workflow_task(Work::Turn { at_ms: 0, events: Vec::new(), index: 1 });
    let mut answer = Answer::Commands { commands: plain.clone() };
    keyed().seal_answer(&turn, &mut answer).expect("it is sealed");
    let Answer::Commands { commands } = answer else { panic!("another answer") };
    let turn = Some(Turn { commands, worker: None, delivered: 0 });
    let signal = sealed(&keyed(), Place::Signal(&name("s")), &marked());
    let events = vec![Event::SignalReceived { name: name("s"), payload: signal, request_id: None }];
    let stored =
        Record { v: VERSION, run_id: run("r"), index: 1, at_ms: 0, through: 0, events, turn, stall: None };
    assert!(!serde_json::to_string(&stored).expect("JSON").contains(MARKER));
    let mut record = stored.clone();
    keyed().open_record(&id("w"), &mut record).expect("it opens");
    assert_eq!(record.turn.map(|turn| turn.commands), Some(plain));
    assert_eq!(
        record.events,
        [Event::SignalReceived { name: name("s"), payload: marked(), request_id: None }]
    );
    let mut unread = stored.clone();
    keyless().open_record(&id("w"), &mut unread).expect_err("no key");
    keyless().reveal_record(&id("w"), &mut unread);
    assert_eq!(unread, stored);
    let mut revealed = stored.clone();
    keyed().reveal_record(&id("w"), &mut revealed);
    assert_ne!(revealed, stored);
}

#[test]
fn what_quotes_the_code_is_encrypted_and_what_operators_need_is_not() {
    let turn = workflow_task(Work::Turn { at_ms: 0, events: Vec::new(), index: 1 });
    for (kind, hidden) in [
        (StallKind::Panic, true),
        (StallKind::InvalidTurn, true),
        (StallKind::Nondeterminism, true),
        (StallKind::ForeignWait, true),
        (StallKind::UnreadablePayload, false),
        (StallKind::UnknownType, false),
    ] {
        let mut answer = Answer::Stalled { kind, message: MARKER.to_owned() };
        keyed().seal_answer(&turn, &mut answer).expect("it is sealed");
        let text = serde_json::to_string(&answer).expect("JSON");
        assert_eq!(!text.contains(MARKER), hidden, "{text}");
        let Answer::Stalled { mut message, .. } = answer else { panic!("another answer") };
        keyed().open_text(&id("w"), Place::StallMessage(&run("r")), &mut message).expect("it opens");
        assert_eq!(message, MARKER);
    }
}

#[test]
fn queries_and_their_answers_are_encrypted() {
    let q = name("q");
    let argument = sealed(&keyed(), Place::QueryArgument(&q), &marked());
    let mut query = workflow_task(Work::Query { name: name("q"), argument });
    assert!(keyless().open_workflow_task(&mut query.clone()).is_err());
    keyed().open_workflow_task(&mut query).expect("it opens");
    assert_eq!(query.work, Work::Query { name: name("q"), argument: marked() });
    for mut answer in
        [Answer::QueryResult { result: marked() }, Answer::QueryFailed { message: MARKER.to_owned() }]
    {
        keyed().seal_answer(&query, &mut answer).expect("it is sealed");
        assert!(!serde_json::to_string(&answer).expect("JSON").contains(MARKER));
    }
}
