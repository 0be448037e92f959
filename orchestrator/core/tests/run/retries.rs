//! Which attempts are made, and when.

use stepwell_orchestrator_core::{Arrival, Effect, Input};
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::history::Event;
use stepwell_shared::limits::{MAX_FAILURE_DEPTH, MAX_FAILURE_TEXT_BYTES};
use stepwell_shared::message::Outcome;

use crate::support::*;

/// Three failures: waits of 1 s, 2 s and 4 s, then it works.
#[test]
fn failed_attempts_are_repeated_with_growing_waits() {
    let mut world = World::running([run(1)]);
    for (attempt, wait_ms) in [(1, 1_000), (2, 2_000), (3, 4_000)] {
        world.gets(failed("1", attempt));
        assert_eq!(world.last_events(), ["attempt_failed"]);
        assert_eq!(world.workflow.next_wake(), Some(world.now_ms + wait_ms));
        world.sleeps(wait_ms - 1);
        assert_eq!(world.effects(), [""; 0]);
        world.sleeps(1);
        assert_eq!(world.last_events(), ["attempt_scheduled"]);
        assert_eq!(world.effects(), [format!("dispatch charge 1 #{}", attempt + 1)]);
    }
    // The code is not asked about any of it.
    assert_eq!(world.asked(), [""; 0]);
    world.gets(completed("1", 4));
    assert_eq!(world.asked(), ["activity_completed"]);
}

/// The next attempt knows why the one before failed and how far it came.
#[test]
fn the_next_attempt_gets_heartbeat_and_failure() {
    let mut world = World::running([run(1)]);
    let heartbeat = Some(payload("page 7"));
    world.gets(report(
        "1",
        1,
        Outcome::Failed { failure: application("Broken"), heartbeat: heartbeat.clone() },
    ));
    world.gets_after_wait();
    world.effects();
    // Without heartbeats of its own an attempt passes on what it was given.
    world.gets(lost("1", 2));
    let effects = world.raw_effects();
    let [Effect::Dispatch(dispatch)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(dispatch.heartbeat, heartbeat);
    assert_eq!(dispatch.last_failure.as_ref().unwrap().kind, FailureKind::Lost);
}

/// maximum_attempts, non_retryable by type and by flag, and kinds that are never repeated.
#[test]
fn some_failures_are_final() {
    let flagged = Failure { non_retryable: true, ..application("Broken") };
    let listed = application("InvalidCard");
    let payload_error = Failure::new(FailureKind::Payload, "not JSON");
    for failure in [flagged, listed, payload_error] {
        let mut world =
            World::running([run_with(1, |options| options.retry.non_retryable = vec!["InvalidCard".into()])]);
        world.gets(failed_with("1", 1, failure.clone()));
        assert_eq!(world.last_event(), &Event::ActivityFailed { seq: 1, attempt: 1, failure });
    }
    let mut world = World::running([run_with(1, |options| options.retry.maximum_attempts = Some(2))]);
    world.gets(failed("1", 1));
    world.gets_after_wait();
    world.gets(failed("1", 2));
    assert_eq!(world.last_events(), ["activity_failed"]);
    assert_eq!(world.asked(), ["activity_failed"]);
}

/// The failure says how long to wait.
#[test]
fn a_failure_may_name_the_wait() {
    let mut world = World::running([run(1)]);
    world.gets(failed_with("1", 1, Failure { next_retry_delay_ms: Some(77), ..application("Busy") }));
    assert_eq!(world.workflow.next_wake(), Some(BEGIN_MS + 77));
    world.gets_after_wait();
    world.effects();
    world.gets(failed_with("1", 2, Failure { next_retry_delay_ms: Some(0), ..application("Busy") }));
    assert_eq!(world.effects(), ["dispatch charge 1 #3"]);
}

/// A lost attempt is repeated at once, and not at all when only one is allowed.
#[test]
fn a_lost_attempt_counts() {
    let mut world = World::running([run(1), run_with(2, once)]);
    world.gets(lost("1", 1));
    assert_eq!(world.effects(), ["dispatch charge 1 #2"]);
    world.gets(lost("2", 1));
    assert_eq!(world.effects(), [""; 0]);
    assert_eq!(world.asked(), ["activity_failed"]);
}

/// A lost attempt in a record that was begun a moment earlier is still repeated in that record.
#[test]
fn a_record_happens_at_one_time() {
    let mut world = World::running([run(1)]);
    let (first, second) = (world.arrival(signal(None)), world.arrival(lost("1", 1)));
    world.workflow.receive(&first, world.now_ms);
    world.workflow.receive(&second, world.now_ms + 7);
    world.settle();
    assert_eq!(world.effects(), ["dispatch charge 1 #2"]);
}

/// A wake that comes while an earlier record is open finds nothing due yet; the alarm stays.
#[test]
fn an_alarm_is_not_early_in_a_record_that_was_begun_before_it() {
    let mut world = World::running([timer(1, 1_000)]);
    let first = world.arrival(signal(None));
    world.workflow.receive(&first, BEGIN_MS + 999);
    let wake = Arrival { sequence: None, input: Input::Wake };
    world.workflow.receive(&wake, BEGIN_MS + 1_000);
    world.settle();
    assert_eq!(world.last_events(), ["signal_received"]);
    assert_eq!(world.workflow.next_wake(), Some(BEGIN_MS + 1_000));
    world.sleeps(1_000);
    assert_eq!(world.last_events(), ["timer_fired"]);
}

/// schedule_to_close cuts the retries: a wait that would pass it is not begun.
#[test]
fn no_retry_passes_the_deadline() {
    let mut world = World::running([run_with(1, |options| options.schedule_to_close_ms = Some(2_500))]);
    world.gets(failed("1", 1));
    world.gets_after_wait();
    world.gets(failed("1", 2));
    let Event::ActivityFailed { failure, .. } = world.last_event() else {
        panic!("{:?}", world.last_event())
    };
    assert_eq!(failure.error_type, "Broken");
}

/// schedule_to_close while an attempt runs, and while it waits for the next one.
#[test]
fn the_deadline_ends_attempts_and_waits() {
    let deadline = |ms| {
        move |it: &mut stepwell_shared::options::ActivityOptions| {
            it.start_to_close_ms = None;
            it.schedule_to_close_ms = Some(ms);
        }
    };
    let mut world = World::running([run_with(1, deadline(5_000))]);
    world.sleeps(4_999);
    assert_eq!(world.asked(), [""; 0]);
    world.sleeps(1);
    let Event::ActivityFailed { failure, .. } = world.last_event() else {
        panic!("{:?}", world.last_event())
    };
    assert_eq!(failure.kind, FailureKind::ScheduleToClose);
    // Whoever is at it is told to stop.
    assert_eq!(world.effects(), ["cancel 1"]);

    let mut world = World::running([run_with(1, deadline(5_000))]);
    world.gets(refused("1", 1));
    world.sleeps(5_000);
    assert_eq!(world.last_events(), ["activity_failed"]);
    assert_eq!(world.effects(), [""; 0]);
    assert_eq!(world.workflow.next_wake(), None);
}

/// An attempt is given no more time than the activity has left.
#[test]
fn an_attempt_never_outlives_the_activity() {
    let mut world = World::running([run_with(1, |options| options.schedule_to_close_ms = Some(10_000))]);
    world.gets(failed("1", 1));
    world.gets_after_wait();
    let effects = world.raw_effects();
    let [Effect::Dispatch(dispatch)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(dispatch.start_to_close_ms, Some(9_000));
}

/// schedule_to_start: nobody takes it; final, with the failure before as the cause.
#[test]
fn a_step_that_nobody_takes_fails() {
    let mut world = World::running([run_with(1, |options| options.schedule_to_start_ms = Some(5_000))]);
    world.gets(failed("1", 1));
    world.gets_after_wait();
    world.sleeps(5_000);
    let Event::ActivityFailed { failure, attempt: 2, .. } = world.last_event() else {
        panic!("{:?}", world.last_event())
    };
    assert_eq!(failure.kind, FailureKind::ScheduleToStart);
    assert_eq!(failure.cause.as_ref().unwrap().error_type, "Broken");
}

/// The wait for a worker is per attempt, and does not run while the step waits for its next attempt.
#[test]
fn schedule_to_start_is_per_attempt() {
    let mut world = World::running([run_with(1, |options| options.schedule_to_start_ms = Some(500))]);
    world.gets(began("1", 1));
    world.gets(failed("1", 1));
    world.sleeps(999);
    assert_eq!(world.last_events(), ["attempt_failed"]);
    world.sleeps(1);
    assert_eq!(world.last_events(), ["attempt_scheduled"]);
    assert_eq!(world.workflow.next_wake(), Some(world.now_ms + 500));
}

/// Texts and causes of failures are cut before they are recorded.
#[test]
fn failures_are_bounded() {
    let long = "é".repeat(MAX_FAILURE_TEXT_BYTES);
    let deep = (0..100).fold(application("Deep"), |cause, _| Failure {
        cause: Some(Box::new(cause)),
        message: long.clone(),
        ..application("Deep")
    });
    let mut world = World::running([run_with(1, once)]);
    world.gets(failed_with("1", 1, deep));
    let Event::ActivityFailed { failure, .. } = world.last_event() else {
        panic!("{:?}", world.last_event())
    };
    let depth = std::iter::successors(Some(failure), |it| it.cause.as_deref()).count();
    assert_eq!(depth, MAX_FAILURE_DEPTH);
    assert!(failure.message.len() <= MAX_FAILURE_TEXT_BYTES + '…'.len_utf8());
}

impl World {
    /// Sleeps until the run wants to be woken.
    fn gets_after_wait(&mut self) {
        let wake_ms = self.workflow.next_wake().expect("it waits for something");
        self.effects();
        self.sleeps(wake_ms - self.now_ms);
    }
}
