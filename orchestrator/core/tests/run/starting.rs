//! Starting runs.

use stepwell_orchestrator_core::{Input, Ruling, Workflow};
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::history::Event;
use stepwell_shared::limits::{MAX_PAYLOAD_BYTES, MAX_REQUEST_ID_BYTES};

use crate::support::*;

/// start → the code is asked; nothing else is wanted but a summary.
#[test]
fn a_start_begins_a_run_and_asks_its_code() {
    let mut world = World::new();
    assert!(world.workflow.idle());
    let run_id = world.start();
    assert_eq!(world.effects(), ["summary running"]);
    assert_eq!(world.asked(), ["run_started"]);
    let record = &world.records[0];
    assert_eq!((record.index, record.at_ms, record.through), (1, BEGIN_MS, 1));
    assert_eq!(record.run_id, run_id);
    assert!(matches!(&record.events[..], [Event::RunStarted(_)]));
    assert!(!world.workflow.idle());
}

/// start → turn: complete.
#[test]
fn code_that_returns_closes_the_run() {
    let mut world = World::new();
    world.start();
    world.effects();
    world.turn([complete()]);
    assert_eq!(world.effects(), ["close completed"]);
    let summary = world.workflow.summary().unwrap();
    assert_eq!(summary.result, Some(payload("result")));
    assert_eq!(summary.closed_at_ms, Some(BEGIN_MS));
    assert!(world.workflow.idle());
    assert_eq!(world.workflow.next_wake(), None);
}

/// start with request id → the same again, twice → still one run.
#[test]
fn a_repeated_start_is_a_duplicate_while_open_and_after_close() {
    let mut world = World::new();
    let start = || start_input(|start| start.request_id = Some("r-1".into()));
    world.gets(start());
    let run_id = world.run_id();
    assert_eq!(world.sends(start()), Ruling::Duplicate { run_id: run_id.clone() });
    world.turn([complete()]);
    assert_eq!(world.sends(start()), Ruling::Duplicate { run_id });
    assert_eq!(world.records.len(), 2);
}

/// start → another start: refused with the run that stands in the way.
#[test]
fn an_open_run_stands_in_the_way() {
    let mut world = World::new();
    let run_id = world.start();
    let other = start_input(|start| start.request_id = Some("r-2".into()));
    match world.sends(other) {
        Ruling::Rejected { code: ErrorCode::AlreadyOpen, run_id: found, message } => {
            assert_eq!(found, Some(run_id.clone()));
            assert!(message.contains(run_id.as_str()), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.records.len(), 1);
}

/// start → complete → start: a second run under the same id, from index 1.
#[test]
fn a_closed_id_may_be_started_again() {
    let mut world = World::running([complete()]);
    let first = world.run_id();
    world.now_ms += 5_000;
    let second = world.start();
    assert_ne!(first, second);
    assert_eq!(world.records.last().unwrap().index, 1);
    assert_eq!(world.records.last().unwrap().through, 2);
    assert_eq!(world.asked(), ["run_started"]);
    world.turn([run(1)]);
    assert_eq!(world.effects(), ["summary running", "dispatch charge 1 #1"]);
    let old = Input::Report {
        run_id: first,
        step: "1".parse().unwrap(),
        attempt: 1,
        outcome: stepwell_shared::message::Outcome::Completed { result: payload(0) },
    };
    world.refuses(old, ErrorCode::UnknownStep);
}

/// A second run never begins before the first one, even when the clock was set back.
#[test]
fn times_of_one_id_never_go_back() {
    let mut world = World::running([complete()]);
    world.now_ms -= 60_000;
    world.start();
    assert_eq!(world.workflow.started_at_ms(), Some(BEGIN_MS));
    world.turn([timer(1, 1_000)]);
    assert_eq!(world.workflow.next_wake(), Some(BEGIN_MS + 1_000));
}

/// Nothing is recorded of starts that cannot be carried out.
#[test]
fn bad_starts_are_refused() {
    let mut world = World::new();
    let large = "x".repeat(MAX_PAYLOAD_BYTES);
    world.refuses(start_input(|it| it.input = payload(&large)), ErrorCode::PayloadTooLarge);
    world.refuses(start_input(|it| it.run_timeout_ms = Some(0)), ErrorCode::InvalidOptions);
    world.refuses(start_input(|it| it.execution_timeout_ms = Some(u64::MAX)), ErrorCode::InvalidOptions);
    world.refuses(start_input(|it| it.request_id = Some(String::new())), ErrorCode::InvalidId);
    let long = "x".repeat(MAX_REQUEST_ID_BYTES + 1);
    world.refuses(start_input(|it| it.request_id = Some(long)), ErrorCode::InvalidId);
    assert_eq!(world.workflow.run_id(), None);
    // The largest that fits: the quotes count.
    let fits = "x".repeat(MAX_PAYLOAD_BYTES - 2);
    world.gets(start_input(|it| it.input = payload(&fits)));
}

/// start, terminate, start in one batch: a record belongs to one run.
#[test]
fn a_new_run_waits_for_the_record_that_ends_the_old_one() {
    let mut world = World::new();
    world.start();
    let (ends, begins) = (world.arrival(terminate()), world.arrival(start_input(|_| {})));
    assert!(!world.workflow.must_seal_before(&ends.input));
    world.workflow.receive(&ends, world.now_ms);
    assert!(world.workflow.must_seal_before(&begins.input));
    assert!(!world.workflow.must_seal_before(&signal(None)));
    world.settle();
    assert!(!world.workflow.must_seal_before(&begins.input));
    world.delivers(&begins);
    assert_eq!(world.status(), "running");
    assert_eq!(world.records.len(), 3);
}

/// Nothing is known: nobody is there to take anything in.
#[test]
fn what_needs_a_run_finds_none() {
    let mut world = World::new();
    world.refuses(signal(None), ErrorCode::NotFound);
    world.refuses(cancel(), ErrorCode::NotFound);
    world.refuses(terminate(), ErrorCode::NotFound);
    world.refuses(completed("1", 1), ErrorCode::UnknownStep);
    world.refuses(resolve(1, stepwell_shared::message::CompensationAction::Skip), ErrorCode::NotFound);
    assert_eq!(world.internally(Input::Wake), Ruling::Ignored);
    assert_eq!(world.internally(appeared("orders", &["order"], &[])), Ruling::Ignored);
    assert_eq!(world.workflow.next_wake(), None);
    assert_eq!(world.workflow.outstanding(), []);
    assert_eq!(Workflow::new(id()).describe(), None);
}
