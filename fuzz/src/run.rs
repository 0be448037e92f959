//! The orchestrator's loop around the core, drawn: whatever arrives at whatever time, and whatever code
//! answers, the records that come out of it rebuild the same run.

use stepwell_orchestrator_core::{Arrival, Effect, Input, Workflow};
use stepwell_shared::encoding::{decode, encode};
use stepwell_shared::history::Record;
use stepwell_shared::ids::{RunId, WorkflowId};

use crate::dice::Dice;
use crate::generate;

/// Arrivals in one life; more say nothing new.
const MOST_ARRIVALS: u64 = 200;

/// Records that may follow from one arrival. Each compensation that begins is one, and code that asks for
/// compensations where there are none is asked again at once, as long as there are bytes to draw from.
const MOST_RECORDS_EACH: usize = 2_000;

pub(crate) fn check(data: &[u8]) {
    let mut dice = Dice::new(data);
    let mut life = Life::new();
    let start = generate::started(&mut dice);
    life.take(Input::Start { start: Box::new(start), run_id: run_id(0) }, &mut dice);
    while !dice.over() && life.sequence < MOST_ARRIVALS {
        life.now_ms = life.now_ms.saturating_add(dice.number());
        let input = life.arrival(&mut dice);
        life.take(input, &mut dice);
    }
    life.rebuilt();
}

struct Life {
    workflow: Workflow,
    records: Vec<Record>,
    now_ms: u64,
    sequence: u64,
}

impl Life {
    fn new() -> Self {
        Self { workflow: new(), records: Vec::new(), now_ms: 1_000_000, sequence: 0 }
    }

    fn arrival(&self, dice: &mut Dice<'_>) -> Input {
        let reason = "drawn".to_owned();
        match dice.below(16) {
            0 => {
                let run_id = run_id(self.sequence);
                Input::Start { start: Box::new(generate::started(dice)), run_id }
            }
            1 | 2 => Input::Signal {
                name: generate::name(dice),
                payload: generate::payload(dice),
                request_id: generate::request_id(dice),
            },
            3 => Input::Cancel { reason },
            4 if dice.seldom(4) => Input::Terminate { reason },
            4 | 5 => Input::Resolve { seq: dice.seq(), action: generate::action(dice), reason },
            6..=12 => self.report(dice),
            13 => Input::WorkerAppeared {
                queue: generate::name(dice),
                workflows: vec![generate::name(dice)],
                activities: vec![generate::name(dice)],
            },
            _ => Input::Wake,
        }
    }

    /// A report on something that is pending, mostly.
    fn report(&self, dice: &mut Dice<'_>) -> Input {
        let pending = self.workflow.describe().map(|it| it.pending_activities).unwrap_or_default();
        let pick = usize::from(dice.byte());
        let (step, attempt) = match pending.get(pick % pending.len().max(1)) {
            Some(pending) if !dice.seldom(8) => (pending.step, pending.attempt),
            Some(_) | None => (generate::step(dice), generate::attempt(dice)),
        };
        let run_id = self.workflow.run_id().cloned().unwrap_or_else(|| run_id(0));
        Input::Report { run_id, step, attempt, outcome: generate::outcome(dice) }
    }

    /// Takes an arrival in and records what follows from it, as the orchestrator does.
    fn take(&mut self, input: Input, dice: &mut Dice<'_>) {
        if self.workflow.must_seal_before(&input) {
            self.record(dice);
        }
        let from_events = !matches!(input, Input::Wake | Input::WorkerAppeared { .. });
        self.sequence += 1;
        let arrival = Arrival { sequence: from_events.then_some(self.sequence), input };
        if self.workflow.receive(&arrival, self.now_ms).is_rejection() {
            self.record(dice);
            self.workflow.set_aside(self.sequence);
        }
        self.record(dice);
        let known = self.workflow.fingerprint();
        if from_events {
            // It is delivered once more: nothing is to be recorded.
            let again = self.workflow.receive(&arrival, self.now_ms);
            assert!(!again.is_rejection(), "what was taken in is refused: {again:?}");
            assert_eq!(self.workflow.fingerprint(), known);
        }
    }

    fn record(&mut self, dice: &mut Dice<'_>) {
        for _ in 0..MOST_RECORDS_EACH {
            self.workflow.advance(self.now_ms);
            if let Some(request) = self.workflow.turn_request(self.now_ms)
                && (dice.seldom(16) || !self.answered(request.events.len(), dice))
            {
                self.workflow.stall(generate::stall_kind(dice), "drawn".into(), self.now_ms);
            }
            let Some(commit) = self.workflow.seal() else { return };
            let stored = decode::<Record>(&encode(&commit.record)).expect("a record can be read");
            assert_eq!(stored, commit.record);
            self.records.push(stored);
        }
        panic!("one arrival makes more than {MOST_RECORDS_EACH} records");
    }

    fn answered(&mut self, delivered: usize, dice: &mut Dice<'_>) -> bool {
        let mut next = self.last_seq() + 1;
        let count = dice.below(4);
        let commands = (0..count).map(|_| generate::command(dice, &mut next)).collect();
        self.workflow.answer(commands, None, delivered).is_ok()
    }

    fn last_seq(&self) -> u32 {
        let current = self.workflow.run_id();
        let records = self.records.iter().filter(|record| Some(&record.run_id) == current);
        let turns = records.filter_map(|record| record.turn.as_ref());
        turns.flat_map(|turn| &turn.commands).filter_map(|command| command.new_seq()).max().unwrap_or(0)
    }

    /// What is stored says everything.
    fn rebuilt(&self) {
        let mut rebuilt = new();
        for record in &self.records {
            rebuilt.apply(record).unwrap_or_else(|error| panic!("{error}: {record:?}"));
        }
        assert_eq!(rebuilt.fingerprint(), self.workflow.fingerprint());
        for workflow in [&rebuilt, &self.workflow] {
            let outstanding = workflow.outstanding();
            let mut cancels = outstanding.iter().filter(|it| matches!(it, Effect::CancelActivity { .. }));
            // A worker that did not hear it is to be told again.
            assert!(cancels.next().is_none() || workflow.next_wake().is_some(), "{outstanding:?}");
        }
        assert_eq!(rebuilt.turn_mark(), self.workflow.turn_mark());
    }
}

fn new() -> Workflow {
    Workflow::new(WorkflowId::new("order 7").expect("a valid id"))
}

fn run_id(number: u64) -> RunId {
    RunId::new(format!("run-{number}")).expect("a valid id")
}
