//! What workflow code is asked, and which of its answers cannot be carried out.

use stepwell_orchestrator_core::Input;
use stepwell_shared::command::{Command, RunActivity};
use stepwell_shared::encoding::encode;
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::limits::{
    MAX_DURATION_MS, MAX_FAILURE_BYTES, MAX_NAME_BYTES, MAX_PAYLOAD_BYTES, MAX_REQUEST_ID_BYTES,
    MAX_TURN_COMMAND_BYTES, MAX_TURN_COMMANDS, MAX_TURN_EVENT_BYTES, MAX_TURN_EVENTS,
};

use crate::support::*;

/// An answer that cannot be carried out changes nothing, and the reason says what is wrong.
#[track_caller]
fn invalid(commands: impl IntoIterator<Item = Command>, position: usize, reason: &str) {
    let mut world = World::running([run(1)]);
    world.gets(signal(None));
    let before = world.workflow.fingerprint();
    let error = world.try_turn(commands).expect_err("an invalid turn");
    assert_eq!(error.position, position, "{error}");
    assert!(error.to_string().contains(reason), "{error}");
    assert_eq!(world.workflow.fingerprint(), before);
    assert_eq!(world.asked(), ["signal_received"]);
}

/// The rules of numbers.
#[test]
fn numbers_follow_each_other() {
    invalid([run(1)], 1, "it has number 1; 2 is next");
    invalid([run(2), run(2)], 2, "it has number 2; 3 is next");
    invalid([timer(3, 1)], 1, "it has number 3; 2 is next");
    invalid([Command::RaceWon { seq: 9, winner: 0 }], 1, "2 is next");
    invalid([Command::Pivot { seq: 0 }], 1, "2 is next");
    invalid([Command::CancelActivity { seq: 2 }], 1, "step 2, which does not exist");
    invalid([Command::CancelTimer { seq: 7 }, timer(2, 1)], 1, "step 7, which does not exist");
}

/// Nothing follows the end.
#[test]
fn the_end_is_the_end() {
    invalid([complete(), run(2)], 1, "more commands follow");
    invalid([fail(), fail()], 1, "more commands follow");
}

/// Options and sizes.
#[test]
fn what_cannot_be_carried_out_is_refused() {
    invalid([run_with(2, |it| it.start_to_close_ms = None)], 1, "activity `charge`");
    invalid([run_with(2, |it| it.start_to_close_ms = Some(0))], 1, "start_to_close");
    invalid([run_with(2, |it| it.retry.maximum_attempts = Some(0))], 1, "maximum_attempts");
    invalid([undoable_with(2, |it| it.heartbeat_timeout_ms = Some(u64::MAX))], 1, "compensation `refund`");
    invalid([timer(2, MAX_DURATION_MS + 1)], 1, "a timer of");
    let large = payload("x".repeat(MAX_PAYLOAD_BYTES));
    invalid([Command::CompleteRun { result: large.clone() }], 1, "the result has");
    let Command::RunActivity(mut activity) = run(2) else { unreachable!("it is one") };
    activity.input = large;
    invalid([Command::RunActivity(activity)], 1, "the input has");
}

/// One unwinding at a time.
#[test]
fn compensations_are_asked_for_one_after_the_other() {
    invalid([Command::Compensate { seq: 2 }, Command::Compensate { seq: 3 }], 2, "running already");
    let mut world = World::running([undoable(1)]);
    world.gets(completed("1", 1));
    world.turn([Command::Compensate { seq: 2 }]);
    world.gets(signal(None));
    world.try_turn([Command::Compensate { seq: 3 }]).expect_err("one is under way");
}

/// Too many at once.
#[test]
fn turns_are_bounded() {
    let many = (2..).take(MAX_TURN_COMMANDS + 1).map(|seq| Command::Pivot { seq });
    invalid(many, 1, "ask for them in portions");
}

/// Each is allowed, and all of them together would not fit into a record.
#[test]
fn turns_are_bounded_by_bytes() {
    let Command::RunActivity(mut activity) = run(2) else { unreachable!("it is one") };
    activity.input = payload("x".repeat(MAX_PAYLOAD_BYTES - 2));
    let large = |seq| Command::RunActivity(RunActivity { seq, ..activity.clone() });
    let fit = MAX_TURN_COMMAND_BYTES / MAX_PAYLOAD_BYTES - 1;
    let many = (2..).map(large).take(fit + 50);
    invalid(many, fit + 1, "at most 134217728 are recorded at once");
}

/// The failure with which code ends a run is cut as a worker's is.
#[test]
fn a_failure_that_ends_a_run_is_bounded() {
    for (closing, status) in [(fail as fn() -> Command, "failed"), (accept_cancel, "cancelled")] {
        let mut world = World::running([]);
        world.gets(signal(None));
        let mut command = closing();
        if let Command::FailRun { failure } | Command::CancelRun { failure } = &mut command {
            failure.details = Some(payload("x".repeat(MAX_PAYLOAD_BYTES)));
            failure.cause =
                Some(Box::new(Failure::new(FailureKind::Application, "y".repeat(MAX_FAILURE_BYTES))));
        }
        world.turn([command]);
        assert_eq!(world.status(), status);
        let failure = world.workflow.summary().unwrap().failure.unwrap();
        assert_eq!((&failure.details, &failure), (&None, &failure.clone().bounded()));
        assert!(
            failure.message.ends_with("[details of 524290 bytes were left out; at most 524288 are kept]")
        );
    }
}

/// More events than were waiting cannot have been handed over.
#[test]
fn a_turn_takes_what_is_there() {
    let mut world = World::running([]);
    world.gets(signal(None));
    world.workflow.turn_request(world.now_ms).expect("the code is asked");
    assert!(world.workflow.answer(vec![], None, 2).is_err());
    assert!(world.workflow.answer(vec![], None, 1).is_ok());
}

/// Nobody asked.
#[test]
fn an_answer_without_a_question_is_refused() {
    let mut world = World::new();
    assert!(world.workflow.answer(vec![], None, 0).is_err());
    world.start();
    assert!(world.workflow.answer(vec![], None, 1).is_err());
}

/// A burst is handed over in portions, by count and by bytes, oldest first, none twice.
#[test]
fn a_burst_comes_in_portions() {
    let mut world = World::running([]);
    for _ in 0..MAX_TURN_EVENTS + 10 {
        let arrival = world.arrival(signal(None));
        world.workflow.receive(&arrival, world.now_ms);
    }
    world.settle();
    assert_eq!(world.asked().len(), MAX_TURN_EVENTS);
    world.turn([]);
    assert_eq!(world.asked().len(), 10);
    world.turn([]);
    assert_eq!(world.asked().len(), 0);

    let large = || Input::Signal {
        name: name("go"),
        payload: payload("x".repeat(MAX_TURN_EVENT_BYTES / 2)),
        request_id: None,
    };
    for _ in 0..3 {
        world.gets(large());
    }
    for _ in 0..3 {
        assert_eq!(world.asked().len(), 1);
        world.turn([]);
    }
}

/// Names and request ids count as well: what code is handed at once fits into one message.
#[test]
fn what_is_handed_over_fits_into_one_message() {
    let mut world = World::running([]);
    for number in 0..MAX_TURN_EVENTS {
        let input = Input::Signal {
            name: name(&"n".repeat(MAX_NAME_BYTES)),
            payload: payload(number),
            request_id: Some(format!("{number:\u{1}>MAX_REQUEST_ID_BYTES$}")),
        };
        let arrival = world.arrival(input);
        world.workflow.receive(&arrival, world.now_ms);
    }
    let request = world.workflow.turn_request(world.now_ms).unwrap();
    assert!(encode(&request.events).len() <= MAX_TURN_EVENT_BYTES);
    assert!(request.events.len() > 500, "{}", request.events.len());
}

/// The request says from where the code goes on and which record its answer will be in.
#[test]
fn a_request_names_its_place() {
    let mut world = World::new();
    world.start();
    let request = world.workflow.turn_request(world.now_ms + 5).unwrap();
    assert_eq!((request.after, request.index, request.at_ms), (0, 2, world.now_ms + 5));
    assert_eq!((request.workflow_type, request.queue), (name("order"), name("orders")));
    world.workflow.answer(vec![run(1)], None, 1).unwrap();
    world.settle();
    world.gets(failed("1", 1));
    world.sleeps(2_000);
    world.gets(completed("1", 2));
    let request = world.workflow.turn_request(world.now_ms).unwrap();
    assert_eq!((request.after, request.index), (2, 6));
}

/// A question that is not answered leaves no trace, not even in the run's time.
#[test]
fn an_unanswered_question_leaves_no_trace() {
    let mut world = World::new();
    world.start();
    let before = world.workflow.fingerprint();
    world.workflow.turn_request(world.now_ms + 99).unwrap();
    assert_eq!(world.workflow.seal(), None);
    assert_eq!(world.workflow.fingerprint(), before);
}

/// Two orchestrators ask for a turn of the same record at the same time, with other events: the code that
/// made the one must not be taken for the code that made the other.
#[test]
fn turns_of_the_same_record_are_told_apart() {
    let ask = |input| {
        let mut world = World::running([run(1)]);
        let before = world.workflow.turn_mark();
        world.gets(input);
        let request = world.workflow.turn_request(world.now_ms).expect("the code is asked");
        assert_eq!(request.mark, before);
        world.workflow.answer(vec![], None, 1).expect("an acceptable answer");
        world.settle();
        assert_eq!(world.workflow.turn_mark(), request.next_mark);
        assert_eq!(rebuild(&world.records).turn_mark(), request.next_mark);
        (request.after, request.index, request.at_ms, request.next_mark)
    };
    let (one, other) = (ask(signal(None)), ask(completed("1", 1)));
    assert_eq!((one.0, one.1, one.2), (other.0, other.1, other.2));
    assert_ne!(one.3, other.3);
    assert_eq!(ask(signal(None)), one, "the same events at the same time are the same turn");
}
