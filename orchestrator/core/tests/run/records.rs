//! Records: what they say of the EVENTS stream, and those that cannot follow.

use stepwell_orchestrator_core::{Arrival, Input, Ruling, Workflow};
use stepwell_shared::command::Command;
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::history::{Event, Record};

use crate::support::*;

/// A redelivered event is recognised by its sequence, by the live run and by a successor.
#[test]
fn what_was_taken_in_is_not_taken_in_again() {
    let mut world = World::running([run(1)]);
    let (signal, result) = (world.arrival(signal(None)), world.arrival(completed("1", 1)));
    world.delivers(&signal);
    world.delivers(&result);
    let mut successor = rebuild(&world.records);
    for workflow in [&mut world.workflow, &mut successor] {
        let before = workflow.fingerprint();
        for arrival in [&signal, &result] {
            assert_eq!(workflow.receive(arrival, BEGIN_MS), Ruling::Ignored);
        }
        assert_eq!(workflow.seal(), None);
        assert_eq!(workflow.fingerprint(), before);
    }
}

/// Senders with a request id are told again that they were heard.
#[test]
fn a_redelivery_is_answered_when_its_sender_may_still_wait() {
    let mut world = World::new();
    let start = world.arrival(start_input(|it| it.request_id = Some("r".into())));
    world.delivers(&start);
    let signal = world.arrival(signal(Some("s")));
    world.delivers(&signal);
    let duplicate = Ruling::Duplicate { run_id: world.run_id() };
    assert_eq!(world.delivers(&start), duplicate);
    assert_eq!(world.delivers(&signal), duplicate);
}

/// The watermark moves with refused events, and is recorded with the next record.
#[test]
fn refused_events_are_below_the_watermark_of_the_next_record() {
    let mut world = World::running([]);
    world.refuses(completed("5", 1), ErrorCode::UnknownStep);
    world.gets(signal(None));
    assert_eq!(world.records.last().unwrap().through, 3);
    // A record that nothing from EVENTS led to says how far the id had come.
    world.sleeps(10);
    world.turn([timer(1, 5)]);
    world.sleeps(5);
    assert_eq!(world.last_events(), ["timer_fired"]);
    assert_eq!(world.records.last().unwrap().through, 3);
}

/// A record is lost to another writer: the same arrivals are taken in again, with the same end.
#[test]
fn the_same_arrivals_lead_to_the_same_record_again() {
    let mut world = World::running([run(1)]);
    let result = world.arrival(completed("1", 1));
    let mut loser = rebuild(&world.records);
    loser.receive(&result, world.now_ms);
    let lost = loser.seal().unwrap().record;
    world.delivers(&result);
    assert_eq!(world.records.last().unwrap(), &lost);
}

/// Every way in which a record cannot follow.
#[test]
fn records_that_cannot_follow_are_refused() {
    let mut world = World::running([run(1), timer(2, 60_000)]);
    world.gets(signal(None));
    let good = world.records.clone();
    let next = |change: &dyn Fn(&mut Record)| {
        let mut record = Record {
            index: 4,
            at_ms: world.now_ms,
            through: 9,
            events: vec![],
            turn: None,
            stall: None,
            ..good[0].clone()
        };
        change(&mut record);
        let mut workflow = rebuild(&good);
        workflow.apply(&record)
    };
    let event = |event: Event| next(&move |record: &mut Record| record.events = vec![event.clone()]);
    assert!(next(&|_| {}).is_ok());
    let start = good[0].events[0].clone();
    let failure = application("x");
    let refused = [
        next(&|record| record.index = 5),
        next(&|record| record.index = 3),
        next(&|record| record.run_id = "other".parse().unwrap()),
        next(&|record| record.at_ms = 1),
        next(&|record| record.through = 1),
        event(start),
        event(Event::TimerFired { seq: 2 }),
        event(Event::TimerFired { seq: 9 }),
        event(Event::ActivityCompleted { seq: 1, attempt: 2, result: payload(1) }),
        event(Event::ActivityCompleted { seq: 9, attempt: 1, result: payload(1) }),
        event(Event::ActivityCancelled { seq: 1 }),
        event(Event::AttemptScheduled { step: "1".parse().unwrap(), attempt: 1 }),
        event(Event::CompensationStarted { seq: 1 }),
        event(Event::CompensationCompleted { seq: 1 }),
        event(Event::CompensationFailed { seq: 1, failure: failure.clone() }),
        event(Event::CompensationsFinished { seq: None }),
        next(&|record| {
            record.turn =
                Some(stepwell_shared::history::Turn { commands: vec![run(1)], worker: None, delivered: 1 });
        }),
        next(&|record| {
            record.turn =
                Some(stepwell_shared::history::Turn { commands: vec![], worker: None, delivered: 9 });
        }),
    ];
    for (number, result) in refused.into_iter().enumerate() {
        let error = result.expect_err(&format!("case {number}"));
        assert!(error.to_string().contains("cannot follow"), "{error}");
    }
    let mut empty = Workflow::new(id());
    assert!(empty.apply(&good[1]).is_err(), "the first record starts a run");
}

/// Nothing follows the end of a run but another run.
#[test]
fn nothing_follows_the_end() {
    let world = World::running([complete()]);
    let last = world.records.last().unwrap();
    let after = |events, index| Record { index, events, turn: None, stall: None, ..last.clone() };
    let signal = Event::SignalReceived { name: name("go"), payload: payload(1), request_id: None };
    for record in [after(vec![], 3), after(vec![signal], 3)] {
        let mut workflow = rebuild(&world.records);
        assert!(workflow.apply(&record).is_err());
    }
    let mut workflow = rebuild(&world.records);
    let again = Record { run_id: "next".parse().unwrap(), ..after(world.records[0].events.clone(), 1) };
    workflow.apply(&again).unwrap();
    assert!(!workflow.idle());
}

/// What a successor must make sure of: everything in flight, cancellations, the summary.
#[test]
fn outstanding_is_what_nobody_has_confirmed() {
    let mut world = World::running([run(1), run(2), run(3), timer(4, 10)]);
    world.gets(completed("1", 1));
    world.gets(failed("2", 1));
    world.turn([Command::CancelActivity { seq: 3 }]);
    let shown: Vec<String> = world.workflow.outstanding().iter().map(|it| format!("{it:?}")).collect();
    assert_eq!(shown.len(), 3, "{shown:?}");
    assert!(shown[0].contains("step: Action(3)") && shown[1].contains("CancelActivity"), "{shown:?}");
    assert!(shown[2].starts_with("WriteSummary"), "{shown:?}");
    let wake = Arrival { sequence: None, input: Input::Wake };
    world.workflow.receive(&wake, world.now_ms + 5_000);
    world.settle();
    assert!(world.workflow.outstanding().len() >= 3);
}
