//! Reports of workers, in every state that a step may be in.

use stepwell_orchestrator_core::{Effect, Input, Ruling};
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::failure::{Failure, FailureKind, recorded_text};
use stepwell_shared::history::{Event, StallKind};
use stepwell_shared::limits::{MAX_FAILURE_TEXT_BYTES, MAX_PAYLOAD_BYTES};
use stepwell_shared::message::Outcome;

use crate::support::*;

/// start → activity → completed: the code gets the result, the activity is over.
#[test]
fn a_result_goes_to_the_code() {
    let mut world = World::new();
    world.start();
    world.effects();
    world.turn([run(1)]);
    let effects = world.raw_effects();
    let [Effect::Dispatch(dispatch)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((dispatch.attempt, dispatch.wanted_by, dispatch.scheduled_at_ms), (1, 2, BEGIN_MS));
    assert_eq!(dispatch.input, payload(1));
    assert_eq!(dispatch.start_to_close_ms, Some(60_000));
    world.gets(completed("1", 1));
    let result = payload("done");
    assert_eq!(world.last_event(), &Event::ActivityCompleted { seq: 1, attempt: 1, result });
    assert_eq!(world.asked(), ["activity_completed"]);
    assert!(world.workflow.describe().unwrap().pending_activities.is_empty());
}

/// Twice the same, and a second outcome of the same attempt: the first one counts.
#[test]
fn late_reports_change_nothing() {
    let mut world = World::running([run(1)]);
    world.gets(completed("1", 1));
    world.refuses(completed("1", 1), ErrorCode::AttemptOver);
    world.refuses(failed("1", 1), ErrorCode::AttemptOver);
    world.refuses(refused("1", 1), ErrorCode::AttemptOver);
    // That something stopped or began that is over is no news.
    assert_eq!(world.sends(stopped("1", 1)), Ruling::Ignored);
    assert_eq!(world.sends(began("1", 1)), Ruling::Ignored);
    assert_eq!(world.records.len(), 3);
}

/// A report on attempt 1 while attempt 2 is made, and on attempts that were never made.
#[test]
fn only_the_current_attempt_may_report() {
    let mut world = World::running([run(1)]);
    world.gets(lost("1", 1));
    assert_eq!(world.effects(), ["dispatch charge 1 #2"]);
    world.refuses(completed("1", 1), ErrorCode::AttemptOver);
    world.refuses(completed("1", 3), ErrorCode::AttemptOver);
    world.refuses(completed("1", 0), ErrorCode::AttemptOver);
    world.gets(completed("1", 2));
}

/// A report while the step waits for its next attempt.
#[test]
fn nobody_reports_on_a_step_that_waits() {
    let mut world = World::running([run(1)]);
    world.gets(failed("1", 1));
    world.refuses(completed("1", 1), ErrorCode::AttemptOver);
    world.refuses(completed("1", 2), ErrorCode::AttemptOver);
    world.sleeps(1_000);
    world.gets(completed("1", 2));
}

/// Steps and runs that do not exist.
#[test]
fn unknown_steps_are_named() {
    let mut world = World::running([run(1)]);
    let message = world.refuses(completed("2", 1), ErrorCode::UnknownStep);
    assert!(message.contains("no step 2"), "{message}");
    world.refuses(completed("undo-2", 1), ErrorCode::UnknownStep);
    world.refuses(completed("undo-1", 1), ErrorCode::AttemptOver);
}

/// schedule_to_start: the worker says that it begins, and the limit is gone; it says so twice.
#[test]
fn a_step_that_began_waits_for_no_worker() {
    let mut world = World::running([run_with(1, |options| options.schedule_to_start_ms = Some(5_000))]);
    assert_eq!(world.workflow.next_wake(), Some(BEGIN_MS + 5_000));
    world.gets(began("1", 1));
    assert_eq!(world.last_events(), ["attempt_started"]);
    assert_eq!(world.workflow.next_wake(), None);
    assert_eq!(world.sends(began("1", 1)), Ruling::Ignored);
    assert_eq!(world.workflow.describe().unwrap().pending_activities[0].state, "running");
    world.gets(completed("1", 1));
}

/// Without schedule_to_start nobody asked.
#[test]
fn that_it_began_is_not_recorded_unless_it_matters() {
    let mut world = World::running([run(1)]);
    assert_eq!(world.sends(began("1", 1)), Ruling::Ignored);
    assert_eq!(world.records.len(), 2);
}

/// refused → waits for a worker → one appears with the code.
#[test]
fn a_refused_step_waits_for_a_worker_that_has_the_code() {
    let mut world = World::running([run_with(1, once)]);
    world.gets(refused("1", 1));
    assert_eq!(world.effects(), [""; 0]);
    assert_eq!(world.workflow.describe().unwrap().pending_activities[0].state, "waiting_for_worker");
    assert_eq!(world.workflow.waits_for_workers_on().into_iter().collect::<Vec<_>>(), [name("payments")]);
    assert_eq!(world.internally(appeared("payments", &[], &["other"])), Ruling::Ignored);
    assert_eq!(world.internally(appeared("elsewhere", &[], &["charge"])), Ruling::Ignored);
    world.internally(appeared("payments", &[], &["charge"]));
    // The refused attempt was none: with one attempt allowed, the next is the first that counts.
    assert_eq!(world.effects(), ["dispatch charge 1 #2"]);
    assert!(world.workflow.waits_for_workers_on().is_empty());
    world.gets(failed("1", 2));
    assert_eq!(world.last_events(), ["activity_failed"]);
}

/// Nobody appears: it is offered again after 30 s, then 60 s, then 120 s.
#[test]
fn a_refused_step_is_offered_again_by_and_by() {
    let mut world = World::running([run(1)]);
    for (attempt, wait_ms) in [(1, 30_000), (2, 60_000), (3, 120_000)] {
        world.gets(refused("1", attempt));
        world.sleeps(wait_ms - 1);
        assert_eq!(world.effects(), [""; 0]);
        world.sleeps(1);
        assert_eq!(world.effects(), [format!("dispatch charge 1 #{}", attempt + 1)]);
    }
}

/// A result that is too large fails the activity: it could not be handed to the code.
#[test]
fn a_result_that_is_too_large_is_a_failure() {
    let mut world = World::running([undoable(1), run(2)]);
    let result = payload("x".repeat(MAX_PAYLOAD_BYTES));
    world.gets(report("2", 1, Outcome::Completed { result: result.clone() }));
    let Event::ActivityFailed { failure, .. } = world.last_event() else {
        panic!("{:?}", world.last_event())
    };
    assert_eq!(failure.kind, FailureKind::Payload);
    world.gets(completed("1", 1));
    world.turn([fail()]);
    // What a compensation returns is nobody's business.
    world.gets(report("undo-1", 1, Outcome::Completed { result }));
    assert_eq!(world.status(), "compensated");
}

/// Details and heartbeat details that are too large are left out, and the failure says so. The details of
/// the heartbeat before are better than none.
#[test]
fn what_is_too_large_in_a_failure_is_left_out() {
    let mut world = World::running([run(1)]);
    let failed = |attempt, heartbeat| {
        let failure = Failure { details: Some(payload(heartbeat)), ..application("Broken") };
        report("1", attempt, Outcome::Failed { failure, heartbeat: Some(payload(heartbeat)) })
    };
    let large = "x".repeat(MAX_PAYLOAD_BYTES);
    world.gets(failed(1, "page 3"));
    world.sleeps(1_000);
    world.gets(failed(2, &large));
    let Event::AttemptFailed { failure, heartbeat, .. } = world.last_event() else {
        panic!("{:?}", world.last_event())
    };
    assert_eq!((&failure.details, heartbeat), (&None, &Some(payload("page 3"))));
    assert_eq!(
        failure.message,
        "it did not work [details of 524290 bytes were left out; at most 524288 are kept] [heartbeat details of \
         524290 bytes were left out; at most 524288 are kept]"
    );
}

/// Texts for people are cut, whoever sends them.
#[test]
fn reasons_are_cut() {
    let reason = "x".repeat(MAX_FAILURE_TEXT_BYTES + 1);
    let cut = recorded_text(&reason);
    let mut world = World::running([run(1)]);
    world.gets(report("1", 1, Outcome::Refused { reason: reason.clone() }));
    assert_eq!(
        world.last_event(),
        &Event::AttemptRefused { step: "1".parse().unwrap(), attempt: 1, reason: cut.clone() }
    );
    world.gets(Input::Cancel { reason: reason.clone() });
    assert_eq!(world.last_event(), &Event::CancelRequested { reason: cut.clone() });
    world.workflow.turn_request(world.now_ms).expect("the code is asked");
    world.workflow.stall(StallKind::Panic, reason.clone(), world.now_ms);
    world.settle();
    assert_eq!(world.workflow.stalled().unwrap().message, cut);
    world.gets(Input::Terminate { reason });
    assert_eq!(world.last_event(), &Event::RunTerminated { reason: cut });
}

/// An activity that ends as cancelled though nobody asked has failed.
#[test]
fn cancelled_without_being_asked_is_a_failure() {
    let mut world = World::running([run(1)]);
    world.gets(stopped("1", 1));
    let Event::ActivityFailed { failure, .. } = world.last_event() else {
        panic!("{:?}", world.last_event())
    };
    assert_eq!(failure.kind, FailureKind::Cancelled);
}

/// One batch: a timeout is due and the report is there too. Whichever comes first counts.
#[test]
fn of_an_alarm_and_a_report_in_one_batch_the_first_counts() {
    let with_deadline = || World::running([run_with(1, |it| it.schedule_to_close_ms = Some(5_000))]);
    let wake = stepwell_orchestrator_core::Arrival {
        sequence: None,
        input: stepwell_orchestrator_core::Input::Wake,
    };
    let mut world = with_deadline();
    world.now_ms += 5_000;
    let result = world.arrival(completed("1", 1));
    world.workflow.receive(&wake, world.now_ms);
    world.workflow.receive(&result, world.now_ms);
    world.settle();
    assert_eq!(world.last_events(), ["activity_failed"]);
    let mut world = with_deadline();
    world.now_ms += 5_000;
    let result = world.arrival(completed("1", 1));
    world.workflow.receive(&result, world.now_ms);
    world.workflow.receive(&wake, world.now_ms);
    world.settle();
    assert_eq!(world.last_events(), ["activity_completed"]);
}
