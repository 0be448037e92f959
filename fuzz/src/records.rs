//! Histories that may lie, as JSON lines and as drawn: a record that cannot follow is an error, never a
//! panic, and what was applied can be described, asked and written again.

use stepwell_orchestrator_core::{Arrival, Input, Workflow};
use stepwell_shared::encoding::{VERSION, decode, encode};
use stepwell_shared::history::{Record, StallKind, Turn};
use stepwell_shared::ids::WorkflowId;

use crate::dice::Dice;
use crate::generate;

/// Records of one history; more say nothing new.
const MOST_RECORDS: usize = 64;

pub(crate) fn check(data: &[u8]) {
    // JSON begins with a brace; anything else is drawn from.
    if data.first() == Some(&b'{') {
        let lines = data.split(|byte| *byte == b'\n').take(MOST_RECORDS);
        apply(lines.map_while(|line| decode::<Record>(line).ok()));
    } else {
        apply(drawn(&mut Dice::new(data)).into_iter());
    }
}

fn apply(records: impl Iterator<Item = Record>) {
    let mut workflow = Workflow::new(WorkflowId::new("order 7").expect("a valid id"));
    for record in records {
        let written = encode(&record);
        assert_eq!(decode::<Record>(&written).as_ref(), Ok(&record));
        let before = workflow.clone();
        if workflow.apply(&record).is_err() {
            // It is of no use then, but nobody is hurt who looks at it.
            look_at(&mut workflow, record.at_ms);
            workflow = before;
        }
        look_at(&mut workflow.clone(), record.at_ms);
    }
}

/// Everything that an orchestrator does with a workflow that it has rebuilt.
fn look_at(workflow: &mut Workflow, now_ms: u64) {
    let described = workflow.describe();
    assert_eq!(described.is_some(), workflow.summary().is_some());
    if let Some(description) = described {
        let _ = encode(&description);
    }
    for effect in workflow.outstanding() {
        assert!(!format!("{effect:?}").is_empty());
    }
    let _ = (workflow.next_wake(), workflow.waits_for_workers_on(), workflow.turn_mark());
    let _ = workflow.cancellations_to_repeat(now_ms);
    let late = workflow.next_wake().unwrap_or(now_ms);
    for now_ms in [now_ms, late, u64::MAX] {
        let _ = workflow.receive(&Arrival { sequence: None, input: Input::Wake }, now_ms);
        workflow.advance(now_ms);
        if workflow.turn_request(now_ms).is_some() {
            workflow.stall(StallKind::NoWorker, "nobody".into(), now_ms);
        }
        if let Some(commit) = workflow.seal() {
            let _ = encode(&commit.record);
        }
    }
}

fn drawn(dice: &mut Dice<'_>) -> Vec<Record> {
    let mut records = Vec::new();
    let (mut index, mut at_ms, mut through, mut seq) = (0u64, 0u64, 0u64, 1);
    while !dice.over() && records.len() < MOST_RECORDS {
        index = if dice.seldom(32) { dice.number() } else { index.saturating_add(1) };
        at_ms = if dice.seldom(16) { dice.number() } else { at_ms.saturating_add(dice.number()) };
        through = if dice.seldom(32) { dice.number() } else { through.saturating_add(1) };
        let mut events = Vec::new();
        if records.is_empty() || dice.seldom(32) {
            events.push(stepwell_shared::history::Event::RunStarted(Box::new(generate::started(dice))));
        }
        for _ in 0..dice.below(3) {
            events.push(generate::event(dice));
        }
        let turn = dice.flag().then(|| Turn {
            commands: (0..dice.below(4)).map(|_| generate::command(dice, &mut seq)).collect(),
            worker: None,
            delivered: dice.seq() % 4,
        });
        let stall = dice.seldom(8).then(|| generate::stall(dice));
        let run_id = generate::run_id(dice);
        records.push(Record { v: VERSION, run_id, index, at_ms, through, events, turn, stall });
    }
    records
}
