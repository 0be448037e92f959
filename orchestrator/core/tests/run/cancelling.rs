//! Cancelling steps: on the queue, at work, waiting; and how often that is told.

use stepwell_orchestrator_core::CANCEL_REPEAT_MS;
use stepwell_shared::command::Command;
use stepwell_shared::error_code::ErrorCode;

use crate::support::*;

fn cancel_step(seq: u32) -> Command {
    Command::CancelActivity { seq }
}

/// activity → the code cancels it → the worker stops it.
#[test]
fn a_step_at_work_is_told_and_ends_when_it_stopped() {
    let mut world = World::running([run(1)]);
    world.gets(signal(None));
    world.turn([cancel_step(1)]);
    assert_eq!(world.effects(), ["cancel 1"]);
    assert_eq!(world.workflow.describe().unwrap().pending_activities[0].state, "cancelling");
    world.gets(stopped("1", 1));
    assert_eq!(world.last_events(), ["activity_cancelled"]);
    assert_eq!(world.asked(), ["activity_cancelled"]);
}

/// It may end otherwise than as cancelled: with its result, or with a failure that is not repeated.
#[test]
fn a_cancelled_step_may_end_as_it_likes() {
    let world = || {
        let mut world = World::running([run(1)]);
        world.gets(signal(None));
        world.turn([cancel_step(1)]);
        world
    };
    let mut completes = world();
    completes.gets(completed("1", 1));
    assert_eq!(completes.last_events(), ["activity_completed"]);
    let mut fails = world();
    fails.gets(failed("1", 1));
    assert_eq!(fails.last_events(), ["activity_failed"]);
    let mut lost_it = world();
    lost_it.gets(lost("1", 1));
    assert_eq!(lost_it.last_events(), ["activity_failed"]);
    let mut refuses = world();
    refuses.gets(refused("1", 1));
    assert_eq!(refuses.last_events(), ["attempt_refused", "activity_cancelled"]);
}

/// Told again every five seconds until the step ends, without a record.
#[test]
fn a_cancellation_is_told_again_until_the_step_ends() {
    let mut world = World::running([run(1)]);
    world.gets(signal(None));
    world.turn([cancel_step(1)]);
    world.effects();
    let records = world.records.len();
    for _ in 0..3 {
        assert_eq!(world.workflow.next_wake(), Some(world.now_ms + CANCEL_REPEAT_MS));
        world.sleeps(CANCEL_REPEAT_MS - 1);
        assert_eq!(world.effects(), [""; 0]);
        world.sleeps(1);
        assert_eq!(world.effects(), ["cancel 1"]);
    }
    assert_eq!(world.records.len(), records);
    // A successor tells it too.
    let successor = rebuild(&world.records);
    assert!(!successor.cancellations_to_repeat(successor.next_wake().unwrap()).is_empty());
    world.gets(stopped("1", 1));
    world.sleeps(CANCEL_REPEAT_MS * 2);
    assert_eq!(world.effects(), [""; 0]);
    assert_eq!(world.workflow.next_wake(), None);
}

/// A step that waits for its retry or for a worker ends at once: nobody has it.
#[test]
fn a_waiting_step_ends_at_once() {
    for waits in [failed("1", 1), refused("1", 1)] {
        let mut world = World::running([run(1)]);
        world.gets(waits);
        world.gets(signal(None));
        world.turn([cancel_step(1)]);
        assert_eq!(world.last_events(), ["activity_cancelled"]);
        assert_eq!(world.asked(), ["activity_cancelled"]);
        assert_eq!(world.effects(), [""; 0]);
        assert_eq!(world.workflow.next_wake(), None);
    }
}

/// Cancelled before, or twice: nothing more happens.
#[test]
fn cancelling_what_is_over_does_nothing() {
    let mut world = World::running([run(1), timer(2, 50)]);
    world.gets(completed("1", 1));
    world.sleeps(50);
    world.turn([cancel_step(1), Command::CancelTimer { seq: 2 }, run(3), cancel_step(3), cancel_step(3)]);
    // It was asked for and called off in one breath: it may still be taken, so it is told.
    assert_eq!(world.effects(), ["dispatch charge 3 #1", "cancel 3"]);
}

/// A timer that is called off does not fire.
#[test]
fn a_cancelled_timer_is_silent() {
    let mut world = World::running([timer(1, 1_000), timer(2, 2_000)]);
    world.gets(signal(None));
    world.turn([Command::CancelTimer { seq: 1 }]);
    world.sleeps(1_999);
    assert_eq!(world.asked(), [""; 0]);
    world.sleeps(1);
    assert_eq!(world.asked(), ["timer_fired"]);
}

/// Timers fire in the order of their times, then of their numbers, and none is early.
#[test]
fn timers_fire_in_order() {
    let mut world = World::running([timer(1, 300), timer(2, 100), timer(3, 100), timer(4, 400)]);
    world.now_ms += 350;
    world.internally(stepwell_orchestrator_core::Input::Wake);
    let fired: Vec<String> =
        world.records.last().unwrap().events.iter().map(|it| format!("{it:?}")).collect();
    assert_eq!(fired, ["TimerFired { seq: 2 }", "TimerFired { seq: 3 }", "TimerFired { seq: 1 }"]);
    assert_eq!(world.workflow.next_wake(), Some(BEGIN_MS + 400));
}

/// A closed run tells those who still work for it, and takes nothing of theirs.
#[test]
fn what_a_run_leaves_behind_is_told_to_stop() {
    let mut world = World::running([run(1), run(2)]);
    world.gets(completed("1", 1));
    world.turn([complete()]);
    assert_eq!(world.effects(), ["cancel 2", "close completed"]);
    world.refuses(completed("2", 1), ErrorCode::AttemptOver);
}
