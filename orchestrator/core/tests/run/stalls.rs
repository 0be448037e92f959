//! Runs that cannot go on, and how they go on.

use stepwell_orchestrator_core::{Input, Ruling};
use stepwell_shared::history::StallKind;

use crate::support::*;

/// start → no worker: recorded once, visible, and asked again after 2 s, 4 s, 8 s.
#[test]
fn a_stalled_run_is_visible_and_asked_again() {
    let mut world = World::new();
    world.start();
    world.effects();
    for (failures, wait_ms) in [(1, 2_000), (2, 4_000), (3, 8_000)] {
        world.stalls(StallKind::NoWorker);
        let stall = world.workflow.stalled().unwrap().clone();
        assert_eq!((stall.failures, stall.retry_at_ms), (failures, world.now_ms + wait_ms));
        assert_eq!(world.asked(), [""; 0]);
        world.sleeps(wait_ms - 1);
        assert_eq!(world.asked(), [""; 0]);
        world.sleeps(1);
        assert_eq!(world.asked(), ["run_started"]);
    }
    // The reason is the same: lists need no new entry.
    assert_eq!(world.effects(), ["summary running no_worker"]);
    world.turn([complete()]);
    assert_eq!(world.effects(), ["close completed"]);
    assert_eq!(world.workflow.stalled(), None);
}

/// The wait grows to ten minutes and no further.
#[test]
fn the_wait_is_bounded() {
    let mut world = World::new();
    world.start();
    for _ in 0..40 {
        world.stalls(StallKind::Panic);
        let wait_ms = world.workflow.next_wake().unwrap() - world.now_ms;
        assert!(wait_ms <= 600_000);
        world.sleeps(wait_ms);
    }
}

/// Another reason is written to lists at once.
#[test]
fn a_new_reason_is_told() {
    let mut world = World::new();
    world.start();
    world.stalls(StallKind::NoWorker);
    world.sleeps(2_000);
    world.effects();
    world.stalls(StallKind::UnknownType);
    assert_eq!(world.effects(), ["summary running unknown_type"]);
}

/// A worker of the queue with the type appears: the code is asked at once. Others change nothing.
#[test]
fn a_worker_that_appears_ends_the_wait() {
    let mut world = World::new();
    world.start();
    world.stalls(StallKind::UnknownType);
    assert_eq!(world.workflow.waits_for_workers_on().into_iter().collect::<Vec<_>>(), [name("orders")]);
    for other in [appeared("orders", &["other"], &[]), appeared("elsewhere", &["order"], &[])] {
        assert_eq!(world.internally(other), Ruling::Ignored);
        assert_eq!(world.asked(), [""; 0]);
    }
    world.internally(appeared("orders", &["order"], &[]));
    assert_eq!(world.asked(), ["run_started"]);
    world.turn([]);
    assert!(world.workflow.waits_for_workers_on().is_empty());
}

/// What arrives while a run is stalled is recorded and waits; the stall stays said.
#[test]
fn events_wait_while_a_run_is_stalled() {
    let mut world = World::new();
    world.start();
    world.stalls(StallKind::Nondeterminism);
    world.gets(signal(None));
    assert_eq!(world.asked(), [""; 0]);
    assert_eq!(
        world.records.last().unwrap().stall.as_ref().map(|it| it.kind),
        Some(StallKind::Nondeterminism)
    );
    world.sleeps(2_000);
    assert_eq!(world.asked(), ["run_started", "signal_received"]);
    world.turn([run(1)]);
    assert_eq!(world.records.last().unwrap().stall, None);
}

/// Only a question that was asked in vain is a new stall; records repeat the old one.
#[test]
fn a_stall_that_is_repeated_is_none_of_its_own() {
    let mut world = World::new();
    world.start();
    let mut commit = |change: &dyn Fn(&mut World)| {
        change(&mut world);
        let commit = world.workflow.seal().expect("a record");
        assert!(commit.record.stall.is_some());
        commit.stalled
    };
    let asked_in_vain = |world: &mut World| {
        world.workflow.turn_request(world.now_ms).expect("the code is asked");
        world.workflow.stall(StallKind::Panic, "a reason".into(), world.now_ms);
    };
    let signalled = |world: &mut World| {
        let arrival = world.arrival(signal(None));
        world.workflow.receive(&arrival, world.now_ms);
    };
    assert!(commit(&asked_in_vain));
    assert!(!commit(&signalled));
    assert!(commit(&|world| {
        world.now_ms += 2_000;
        let wake = stepwell_orchestrator_core::Arrival { sequence: None, input: Input::Wake };
        world.workflow.receive(&wake, world.now_ms);
        asked_in_vain(world);
    }));
}

/// A stalled run can be terminated.
#[test]
fn a_stalled_run_can_be_ended() {
    let mut world = World::new();
    world.start();
    world.stalls(StallKind::Panic);
    world.gets(terminate());
    assert_eq!(world.status(), "terminated");
    assert_eq!(world.workflow.stalled(), None);
    assert_eq!(world.workflow.next_wake(), None);
}

/// A successor asks again when the time has come.
#[test]
fn a_stall_survives_a_restart() {
    let mut world = World::new();
    world.start();
    world.stalls(StallKind::TaskTimeout);
    let mut successor = rebuild(&world.records);
    assert_eq!(successor.next_wake(), Some(BEGIN_MS + 2_000));
    assert_eq!(successor.turn_request(BEGIN_MS), None);
    let wake = stepwell_orchestrator_core::Arrival { sequence: None, input: Input::Wake };
    successor.receive(&wake, BEGIN_MS + 2_000);
    assert!(successor.turn_request(BEGIN_MS + 2_000).is_some());
}
