//! Compensations: what is undone, in which order, and what becomes of the run.

use stepwell_orchestrator_core::Effect;
use stepwell_shared::command::Command;
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::limits::MAX_PAYLOAD_BYTES;
use stepwell_shared::message::{CompensationAction, Outcome};
use stepwell_shared::payload::Payload;
use stepwell_shared::task::UndoInput;

use crate::support::*;

/// Three undoable activities, done in the order of their numbers.
fn three_done() -> World {
    let mut world = World::running([undoable(1), undoable(2), undoable(3)]);
    for step in ["1", "2", "3"] {
        world.gets(completed(step, 1));
    }
    world
}

/// The undo tasks that were dispatched, with their inputs.
fn undo_inputs(world: &mut World) -> Vec<UndoInput> {
    let effects = world.raw_effects();
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Dispatch(it) => it.input.decode().ok(),
            Effect::CancelActivity { .. } | Effect::WriteSummary(_) | Effect::Close(_) => None,
        })
        .collect()
}

/// 1, 2, 3 done → the code fails → undone 3, 2, 1, one at a time → compensated.
#[test]
fn a_failed_run_is_undone_in_reverse_order() {
    let mut world = three_done();
    world.turn([fail()]);
    assert_eq!(world.status(), "compensating");
    assert_eq!(world.effects(), ["summary compensating", "dispatch refund undo-3 #1"]);
    world.gets(completed("undo-3", 1));
    assert_eq!(world.effects(), ["dispatch refund undo-2 #1"]);
    world.gets(completed("undo-2", 1));
    assert_eq!(world.effects(), ["dispatch refund undo-1 #1"]);
    world.gets(completed("undo-1", 1));
    assert_eq!(world.last_events(), ["compensation_completed", "compensations_finished"]);
    assert_eq!(world.effects(), ["close compensated"]);
    let summary = world.workflow.summary().unwrap();
    assert_eq!(summary.failure.unwrap().error_type, "OutOfStock");
    assert_eq!(world.compensations(), ["1 Completed", "2 Completed", "3 Completed"]);
}

/// What the compensation is given: input, output and key of the action.
#[test]
fn a_compensation_is_given_what_the_action_did() {
    let mut world = World::running([undoable(1), undoable(2)]);
    world.gets(completed("1", 1));
    world.gets(failed_with("2", 1, Failure { non_retryable: true, ..application("Broken") }));
    world.turn([fail()]);
    let run_id = world.run_id();
    // The second action failed, and may have done something before that.
    let expected = UndoInput { input: payload(2), output: None, idempotency_key: format!("{run_id}/2") };
    assert_eq!(undo_inputs(&mut world), [expected]);
    world.gets(completed("undo-2", 1));
    let output: Option<Payload> = Some(payload("done"));
    let expected = UndoInput { input: payload(1), output, idempotency_key: format!("{run_id}/1") };
    assert_eq!(undo_inputs(&mut world), [expected]);
}

/// 1 is at work, 2 waits for its retry, when the code fails: both come to rest first.
#[test]
fn what_is_in_flight_comes_to_rest_first() {
    let mut world = World::running([undoable(1), undoable(2), run(3)]);
    world.gets(failed("2", 1));
    world.gets(completed("3", 1));
    world.turn([fail()]);
    // 2 has ended; 1 has not.
    assert_eq!(world.effects(), ["cancel 1", "summary compensating"]);
    assert_eq!(world.last_events(), ["activity_cancelled"]);
    world.gets(completed("1", 1));
    assert_eq!(world.effects(), ["dispatch refund undo-2 #1"]);
    world.gets(completed("undo-2", 1));
    world.effects();
    world.gets(completed("undo-1", 1));
    assert_eq!(world.status(), "compensated");
}

/// 1 has a compensation and is lost while the run is undone: it is not repeated, and undone.
#[test]
fn a_lost_action_is_undone_without_an_output() {
    let mut world = World::running([undoable(1), run(2)]);
    world.gets(completed("2", 1));
    world.turn([fail()]);
    world.effects();
    world.gets(lost("1", 1));
    assert_eq!(undo_inputs(&mut world)[0].output, None);
}

/// An action without a compensation is told to stop and not waited for.
#[test]
fn what_needs_no_undoing_is_not_waited_for() {
    let mut world = World::running([undoable(1), run(2)]);
    world.gets(completed("1", 1));
    world.turn([fail()]);
    assert_eq!(world.effects(), ["cancel 2", "summary compensating", "dispatch refund undo-1 #1"]);
    world.refuses(completed("2", 1), ErrorCode::AttemptOver);
}

/// Nothing is registered: failed is failed.
#[test]
fn without_compensations_a_run_just_fails() {
    let mut world = World::running([run(1)]);
    world.gets(completed("1", 1));
    world.turn([fail()]);
    assert_eq!(world.status(), "failed");
}

/// Cancelled and timed out runs are undone too, and end as compensated.
#[test]
fn every_end_but_success_is_undone() {
    let timed_out = Failure::new(FailureKind::RunTimeout, "took too long");
    for command in [accept_cancel(), Command::CancelRun { failure: timed_out }] {
        let mut world = World::running([undoable(1)]);
        world.gets(completed("1", 1));
        world.turn([command]);
        world.gets(completed("undo-1", 1));
        assert_eq!(world.status(), "compensated");
    }
}

/// The run completes: nothing is undone, nothing is left registered.
#[test]
fn success_releases_everything() {
    let mut world = three_done();
    world.turn([complete()]);
    assert_eq!(world.effects(), ["close completed"]);
    assert_eq!(world.compensations(), ["1 Released", "2 Released", "3 Released"]);
}

/// 1, pivot, 2 → fail: only 2 is undone.
#[test]
fn a_pivot_releases_what_was_done_before_it() {
    let mut world = World::running([undoable(1), Command::Pivot { seq: 2 }, undoable(3)]);
    world.gets(completed("1", 1));
    world.gets(completed("3", 1));
    world.turn([fail()]);
    assert_eq!(world.compensations(), ["1 Released", "3 Running"]);
    world.gets(completed("undo-3", 1));
    assert_eq!(world.status(), "compensated");
}

/// 1, pivot → fail: nothing to undo.
#[test]
fn after_a_pivot_a_run_just_fails() {
    let mut world = World::running([undoable(1), Command::Pivot { seq: 2 }]);
    world.gets(completed("1", 1));
    world.turn([fail()]);
    assert_eq!(world.status(), "failed");
}

/// Compensations have retry policies of their own.
#[test]
fn a_compensation_is_repeated_by_its_own_policy() {
    let mut world = World::running([undoable_with(1, |it| {
        it.retry.initial_interval_ms = 100;
        it.retry.maximum_attempts = Some(3);
    })]);
    world.gets(completed("1", 1));
    world.turn([fail()]);
    world.effects();
    world.gets(failed("undo-1", 1));
    world.sleeps(100);
    assert_eq!(world.effects(), ["dispatch refund undo-1 #2"]);
    world.gets(lost("undo-1", 2));
    assert_eq!(world.effects(), ["dispatch refund undo-1 #3"]);
    world.gets(completed("undo-1", 3));
    assert_eq!(world.status(), "compensated");
}

/// undo-2 fails for good → stuck → retry with fresh attempts → fails → skip → undo-1.
#[test]
fn a_failed_compensation_waits_for_somebody() {
    let mut world = World::running([undoable(1), undoable_with(2, once)]);
    world.gets(completed("1", 1));
    world.gets(completed("2", 1));
    world.turn([fail()]);
    world.effects();
    world.refuses(resolve(2, CompensationAction::Skip), ErrorCode::NotStuck);
    world.gets(failed("undo-2", 1));
    assert_eq!(world.status(), "stuck");
    assert_eq!(world.effects(), ["summary stuck"]);
    world.sleeps(1_000_000);
    assert_eq!(world.status(), "stuck");
    assert_eq!(world.compensations(), ["1 Registered", "2 Failed"]);
    world.refuses(resolve(1, CompensationAction::Retry), ErrorCode::NotStuck);
    world.refuses(resolve(9, CompensationAction::Retry), ErrorCode::NotStuck);

    world.gets(resolve(2, CompensationAction::Retry));
    // A new attempt gets a new number: the old one may still report.
    assert_eq!(world.effects(), ["dispatch refund undo-2 #2", "summary compensating"]);
    world.refuses(completed("undo-2", 1), ErrorCode::AttemptOver);
    world.gets(failed("undo-2", 2));
    assert_eq!(world.status(), "stuck");
    world.effects();
    world.gets(resolve(2, CompensationAction::Skip));
    assert_eq!(world.effects(), ["dispatch refund undo-1 #1", "summary compensating"]);
    world.gets(completed("undo-1", 1));
    assert_eq!(world.status(), "compensated");
    assert_eq!(world.compensations(), ["1 Completed", "2 Skipped"]);
}

/// A retried compensation has all its attempts again.
#[test]
fn retrying_a_compensation_begins_its_policy_anew() {
    let two = |it: &mut stepwell_shared::options::ActivityOptions| it.retry.maximum_attempts = Some(2);
    let mut world = World::running([undoable_with(1, two)]);
    world.gets(completed("1", 1));
    world.turn([fail()]);
    world.gets(lost("undo-1", 1));
    world.gets(failed("undo-1", 2));
    assert_eq!(world.status(), "stuck");
    world.gets(resolve(1, CompensationAction::Retry));
    world.effects();
    world.gets(failed("undo-1", 3));
    assert_eq!(world.workflow.next_wake(), Some(world.now_ms + 1_000));
    world.sleeps(1_000);
    world.gets(failed("undo-1", 4));
    assert_eq!(world.status(), "stuck");
}

/// A compensation that takes longer than its schedule_to_close fails; whoever is at it is told.
#[test]
fn a_compensation_has_its_deadline() {
    let mut world = World::running([undoable_with(1, |it| it.schedule_to_close_ms = Some(5_000))]);
    world.gets(completed("1", 1));
    world.turn([fail()]);
    world.effects();
    world.sleeps(5_000);
    assert_eq!(world.effects(), ["cancel undo-1", "summary stuck"]);
}

/// A compensation that ends as cancelled has failed: nobody cancels compensations.
#[test]
fn a_compensation_is_not_cancelled() {
    let mut world = World::running([undoable(1)]);
    world.gets(completed("1", 1));
    world.turn([fail()]);
    world.gets(stopped("undo-1", 1));
    assert_eq!(world.status(), "stuck");
}

/// compensate in the middle: 2 and 1 are undone, the code is told and goes on.
#[test]
fn code_may_undo_and_go_on() {
    let mut world = World::running([undoable(1), undoable(2)]);
    world.gets(completed("1", 1));
    world.gets(completed("2", 1));
    world.turn([Command::Compensate { seq: 3 }]);
    assert_eq!(world.status(), "compensating");
    world.gets(completed("undo-2", 1));
    world.gets(completed("undo-1", 1));
    assert_eq!(world.status(), "running");
    assert_eq!(world.asked(), ["compensations_finished"]);
    world.turn([undoable(4)]);
    world.gets(completed("4", 1));
    world.turn([complete()]);
    assert_eq!(world.status(), "completed");
    assert_eq!(world.compensations(), ["1 Completed", "2 Completed", "4 Released"]);
}

/// compensate with nothing registered: the code is told at once.
#[test]
fn undoing_nothing_is_done_at_once() {
    let mut world = World::running([Command::Compensate { seq: 1 }]);
    assert_eq!(world.asked(), ["compensations_finished"]);
}

/// compensate, then fail: it was undone, whoever undid it.
#[test]
fn a_run_that_undid_itself_and_failed_is_compensated() {
    let mut world = World::running([undoable(1)]);
    world.gets(completed("1", 1));
    world.turn([Command::Compensate { seq: 2 }]);
    world.gets(completed("undo-1", 1));
    world.turn([fail()]);
    assert_eq!(world.status(), "compensated");
}

/// While it undoes, the code starts 3 and then fails: 3 goes too, and the unwinding under way is kept.
#[test]
fn failing_while_undoing_undoes_the_rest() {
    let mut world = World::running([undoable(1)]);
    world.gets(completed("1", 1));
    world.turn([Command::Compensate { seq: 2 }, undoable(3)]);
    world.gets(completed("3", 1));
    world.effects();
    world.turn([fail()]);
    assert_eq!(world.effects(), [""; 0]);
    world.gets(completed("undo-1", 1));
    assert_eq!(world.effects(), ["dispatch refund undo-3 #1"]);
    world.gets(completed("undo-3", 1));
    assert_eq!(world.status(), "compensated");
}

/// While it undoes, the code starts 3 and completes: what was asked for is finished, 3 stays done.
#[test]
fn completing_while_undoing_waits_for_it() {
    let mut world = World::running([undoable(1)]);
    world.gets(completed("1", 1));
    world.turn([Command::Compensate { seq: 2 }, undoable(3)]);
    world.gets(completed("3", 1));
    world.turn([complete()]);
    assert_eq!(world.status(), "compensating");
    world.gets(completed("undo-1", 1));
    assert_eq!(world.status(), "completed");
    assert_eq!(world.compensations(), ["1 Completed", "3 Released"]);
}

/// Only actions before the compensate are undone by it, and only they come to rest first.
#[test]
fn compensate_undoes_what_came_before_it() {
    let mut world = World::running([undoable(1), run(2), Command::Compensate { seq: 3 }, undoable(4)]);
    // 1 was begun in the same breath: it comes to rest before it is undone; 2 and 4 go on.
    world.gets(stopped("1", 1));
    assert_eq!(world.effects(), ["dispatch refund undo-1 #1"]);
    world.gets(completed("2", 1));
    world.gets(completed("4", 1));
    world.gets(completed("undo-1", 1));
    assert_eq!(world.compensations(), ["1 Completed", "4 Registered"]);
}

/// Input and output of the action are as large as they may be: together they do not fit into a task.
#[test]
fn an_output_that_does_not_fit_is_left_out() {
    let large = payload("x".repeat(MAX_PAYLOAD_BYTES - 2));
    let Command::RunActivity(mut run) = undoable(1) else { panic!("no activity") };
    run.input = large.clone();
    let mut world = World::running([Command::RunActivity(run)]);
    let outcome = Outcome::Completed { result: large.clone() };
    world.gets(report("1", 1, outcome));
    world.turn([fail()]);
    let inputs = undo_inputs(&mut world);
    assert_eq!(inputs.len(), 1);
    assert_eq!((&inputs[0].input, &inputs[0].output), (&large, &None));
}
