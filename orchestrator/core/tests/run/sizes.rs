//! Records whose arrivals are as large as they may be: each fits into a chain of messages, and nothing is left.

use std::collections::VecDeque;

use stepwell_orchestrator_core::{Arrival, Commit, Input, Ruling, Workflow};
use stepwell_shared::encoding::{chunk_ranges, encode};
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::history::{Event, Record};
use stepwell_shared::ids::RunId;
use stepwell_shared::limits::{
    MAX_CHUNKS, MAX_MESSAGE_BYTES, MAX_PAYLOAD_BYTES, MAX_RECORD_EVENT_BYTES, MAX_TURN_EVENTS,
};
use stepwell_shared::message::Outcome;
use stepwell_shared::payload::Payload;

use crate::support::*;

/// How the orchestrator's drive works off its mail; the code answers with nothing. The records are looked at
/// one by one: all of them are large.
fn work_off(workflow: &mut Workflow, mut mail: VecDeque<Arrival>, mut look: impl FnMut(&Record)) {
    loop {
        let mut taken = 0;
        while let Some(arrival) = mail.pop_front() {
            if workflow.must_seal_before(&arrival.input) || taken == MAX_TURN_EVENTS {
                mail.push_front(arrival);
                break;
            }
            let ruling = workflow.receive(&arrival, BEGIN_MS);
            assert!(matches!(ruling, Ruling::Accepted { .. }), "{ruling:?}");
            taken += 1;
        }
        workflow.advance(BEGIN_MS);
        if let Some(request) = workflow.turn_request(BEGIN_MS) {
            let size = encode(&request.events).len();
            assert!(size <= MAX_MESSAGE_BYTES - 4_096, "a workflow task with {size} bytes of events");
            workflow.answer(Vec::new(), None, request.events.len()).expect("an acceptable answer");
        }
        let Some(Commit { record, .. }) = workflow.seal() else {
            assert!(mail.is_empty());
            return;
        };
        look(&record);
    }
}

fn largest() -> Payload {
    payload("x".repeat(MAX_PAYLOAD_BYTES - 2))
}

/// 300 MiB of signals wait for one workflow: more than a chain of messages holds.
#[test]
fn many_large_signals_are_recorded_in_portions() {
    const SIGNALS: u64 = 600;
    let start = Arrival {
        sequence: Some(1),
        input: match start_input(|it| it.input = largest()) {
            Input::Start { start, .. } => Input::Start { start, run_id: RunId::new("run").unwrap() },
            other => panic!("{other:?}"),
        },
    };
    let payload = largest();
    let signals = (0..SIGNALS).map(|number| Arrival {
        sequence: Some(number + 2),
        input: Input::Signal {
            name: name("go"),
            payload: payload.clone(),
            request_id: Some(format!("signal {number}")),
        },
    });
    let mut workflow = Workflow::new(id());
    let (mut recorded, mut through, mut delivered) = (Vec::new(), 0, 0);
    work_off(&mut workflow, std::iter::once(start).chain(signals).collect(), |record| {
        let size = encode(record).len();
        assert!(size <= MAX_RECORD_EVENT_BYTES + 2 * MAX_PAYLOAD_BYTES, "a record of {size} bytes");
        assert!(chunk_ranges(size, MAX_MESSAGE_BYTES).len() <= MAX_CHUNKS);
        recorded.extend(record.events.iter().filter_map(|event| match event {
            Event::SignalReceived { request_id, .. } => request_id.clone(),
            _ => None,
        }));
        (through, delivered) =
            (record.through, delivered + record.turn.as_ref().map_or(0, |turn| u64::from(turn.delivered)));
    });
    assert_eq!(recorded, (0..SIGNALS).map(|number| format!("signal {number}")).collect::<Vec<_>>());
    assert_eq!((through, delivered), (SIGNALS + 1, SIGNALS + 1));
}

/// Many steps give up at the same time, and each says why its last attempt failed.
#[test]
fn timeouts_that_are_due_together_are_recorded_in_portions() {
    const STEPS: u32 = 40;
    let steps = (1..=STEPS).map(|seq| run_with(seq, |it| it.schedule_to_close_ms = Some(10_000)));
    let mut workflow = World::running(steps).workflow;
    let failure = Failure {
        details: Some(largest()),
        next_retry_delay_ms: Some(9_000),
        ..Failure::new(FailureKind::Application, "it did not work")
    };
    let run_id = workflow.run_id().unwrap().clone();
    let reports = (1..=STEPS).zip(2..).map(|(seq, sequence)| Arrival {
        sequence: Some(sequence),
        input: Input::Report {
            run_id: run_id.clone(),
            step: seq.to_string().parse().unwrap(),
            attempt: 1,
            outcome: Outcome::Failed { failure: failure.clone(), heartbeat: None },
        },
    });
    work_off(&mut workflow, reports.collect(), |_| {});
    let mut failed = 0;
    let mut wakes = 0;
    while let Some(wake_ms) = workflow.next_wake() {
        workflow.receive(&Arrival { sequence: None, input: Input::Wake }, wake_ms + 5_000);
        let record = workflow.seal().expect("a record").record;
        assert!(encode(&record).len() <= MAX_RECORD_EVENT_BYTES + 2 * MAX_PAYLOAD_BYTES);
        failed += record.events.iter().filter(|event| matches!(event, Event::ActivityFailed { .. })).count();
        wakes += 1;
    }
    assert_eq!(failed, STEPS as usize);
    assert!(wakes > 2, "{wakes} wakes");
}
