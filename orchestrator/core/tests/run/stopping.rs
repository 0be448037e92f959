//! Signals, and everything that stops a run from outside: cancelling, terminating, timeouts.

use stepwell_orchestrator_core::Ruling;
use stepwell_shared::command::Command;
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::history::Event;
use stepwell_shared::limits::{MAX_PAYLOAD_BYTES, MAX_REMEMBERED_REQUESTS};

use crate::support::*;

/// start → turn → signal, signal: both are handed over, in order.
#[test]
fn signals_are_handed_over_in_order() {
    let mut world = World::running([]);
    world.gets(signal(None));
    world.gets(signal(None));
    assert_eq!(world.asked(), ["signal_received", "signal_received"]);
    world.turn([complete()]);
    assert_eq!(world.status(), "completed");
}

/// A signal with a request id counts once: while it is staged, when recorded, and after the run closed.
#[test]
fn a_repeated_signal_is_a_duplicate() {
    let mut world = World::running([]);
    let (first, second) = (world.arrival(signal(Some("s-1"))), world.arrival(signal(Some("s-1"))));
    let run_id = world.run_id();
    assert_eq!(world.workflow.receive(&first, world.now_ms), Ruling::Accepted { run_id: run_id.clone() });
    assert_eq!(world.workflow.receive(&second, world.now_ms), Ruling::Duplicate { run_id: run_id.clone() });
    world.settle();
    assert_eq!(world.asked(), ["signal_received"]);
    assert_eq!(world.sends(signal(Some("s-1"))), Ruling::Duplicate { run_id: run_id.clone() });
    world.gets(signal(Some("s-2")));
    world.turn([complete()]);
    assert_eq!(world.sends(signal(Some("s-1"))), Ruling::Duplicate { run_id });
    world.refuses(signal(Some("s-3")), ErrorCode::AlreadyClosed);
    world.refuses(signal(None), ErrorCode::AlreadyClosed);
}

/// The oldest request ids are forgotten first, so that a run's memory is bounded.
#[test]
fn so_many_request_ids_are_remembered() {
    let mut world = World::running([]);
    let count = MAX_REMEMBERED_REQUESTS + 1;
    for number in 0..count {
        let arrival = world.arrival(signal(Some(&format!("s-{number}"))));
        world.workflow.receive(&arrival, world.now_ms);
    }
    world.settle();
    let duplicate = Ruling::Duplicate { run_id: world.run_id() };
    assert_eq!(world.sends(signal(Some("s-1"))), duplicate);
    assert_eq!(world.sends(signal(Some(&format!("s-{}", count - 1)))), duplicate);
    world.gets(signal(Some("s-0")));
}

/// Signals that cannot be taken leave nothing behind.
#[test]
fn bad_signals_are_refused() {
    let mut world = World::running([]);
    let large = payload("x".repeat(MAX_PAYLOAD_BYTES));
    let signal_of = |payload, request_id: Option<&str>| stepwell_orchestrator_core::Input::Signal {
        name: name("go"),
        payload,
        request_id: request_id.map(str::to_owned),
    };
    world.refuses(signal_of(large, None), ErrorCode::PayloadTooLarge);
    world.refuses(signal_of(payload(1), Some("")), ErrorCode::InvalidId);
    assert_eq!(world.asked(), [""; 0]);
}

/// start → activity → cancel → the code accepts it.
#[test]
fn a_cancelled_run_is_asked_and_closes_as_cancelled() {
    let mut world = World::running([run(1)]);
    world.gets(cancel());
    assert_eq!(world.workflow.describe().unwrap().cancel_requested.as_deref(), Some("changed my mind"));
    assert_eq!(world.sends(cancel()), Ruling::Duplicate { run_id: world.run_id() });
    assert_eq!(world.asked(), ["cancel_requested"]);
    world.turn([Command::CancelActivity { seq: 1 }, accept_cancel()]);
    assert_eq!(world.status(), "cancelled");
    assert_eq!(world.effects(), ["cancel 1", "close cancelled"]);
    world.refuses(cancel(), ErrorCode::AlreadyClosed);
}

/// start → cancel → the code does its work all the same: completed is completed.
#[test]
fn code_may_complete_although_it_was_cancelled() {
    let mut world = World::running([]);
    world.gets(cancel());
    world.turn([complete()]);
    assert_eq!(world.status(), "completed");
}

/// start → undoable activity → terminate: at once, nothing is asked, nothing is undone.
#[test]
fn a_terminated_run_closes_at_once() {
    let mut world = World::running([undoable(1), timer(2, 1_000)]);
    world.gets(terminate());
    assert_eq!(world.effects(), ["cancel 1", "close terminated"]);
    assert_eq!(world.compensations(), ["1 Registered"]);
    assert_eq!(world.asked(), [""; 0]);
    let summary = world.workflow.summary().unwrap();
    assert_eq!(summary.failure, Some(Failure::new(FailureKind::Terminated, "enough")));
    world.refuses(terminate(), ErrorCode::AlreadyClosed);
    world.refuses(completed("1", 1), ErrorCode::AttemptOver);
    assert_eq!(world.sends(stopped("1", 1)), Ruling::Ignored);
    world.sleeps(10_000);
    assert_eq!(world.effects(), [""; 0]);
}

/// start with both timeouts: the earlier one is told to the code, once.
#[test]
fn a_run_that_takes_too_long_is_told_once() {
    let mut world = World::new();
    world.gets(start_input(|start| {
        start.run_timeout_ms = Some(10_000);
        start.execution_timeout_ms = Some(20_000);
    }));
    world.turn([]);
    world.sleeps(9_999);
    assert_eq!(world.asked(), [""; 0]);
    world.sleeps(1);
    assert_eq!(world.asked(), ["run_timed_out"]);
    world.sleeps(60_000);
    assert_eq!(world.asked(), ["run_timed_out"]);
    let Event::RunTimedOut { failure } = world.last_event().clone() else {
        panic!("{:?}", world.last_event())
    };
    assert!(failure.message.contains("run_timeout of 10000 ms"), "{failure}");
    world.turn([Command::CancelRun { failure }]);
    assert_eq!(world.status(), "timed_out");
}

/// Only an execution timeout; and one that is over when the code returns tells nobody.
#[test]
fn an_execution_timeout_ends_with_the_code() {
    let mut world = World::new();
    world.gets(start_input(|start| start.execution_timeout_ms = Some(10_000)));
    assert_eq!(world.workflow.next_wake(), Some(BEGIN_MS + 10_000));
    world.turn([undoable(1)]);
    world.gets(completed("1", 1));
    world.turn([fail()]);
    assert_eq!(world.status(), "compensating");
    world.sleeps(60_000);
    assert_eq!(world.last_events(), ["compensation_started"]);
    world.gets(completed("undo-1", 1));
    assert_eq!(world.status(), "compensated");
}

/// Code that has returned cannot be reached, and can still be terminated.
#[test]
fn while_it_is_undone_a_run_takes_no_signals() {
    let mut world = World::running([undoable(1)]);
    world.gets(completed("1", 1));
    world.turn([fail()]);
    world.refuses(signal(None), ErrorCode::AlreadyClosed);
    world.refuses(cancel(), ErrorCode::AlreadyClosed);
    world.gets(terminate());
    assert_eq!(world.status(), "terminated");
    assert_eq!(
        world.effects(),
        ["summary compensating", "dispatch refund undo-1 #1", "cancel undo-1", "close terminated"]
    );
}
