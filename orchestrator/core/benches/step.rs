//! What the core itself costs: a step, early in a run and after many, and reading a long history.
//!
//! `cargo bench -p stepwell-orchestrator-core`

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use stepwell_orchestrator_core::{Arrival, Commit, Input, Ruling, Workflow};
use stepwell_shared::command::{Command, RunActivity};
use stepwell_shared::history::{Record, RunStarted};
use stepwell_shared::ids::{Name, RunId, Seq, StepId, WorkerId, WorkflowId};
use stepwell_shared::message::Outcome;
use stepwell_shared::options::ActivityOptions;
use stepwell_shared::payload::Payload;

/// Steps of a long history.
const MANY: u32 = 10_000;

/// Bytes of every payload.
const PAYLOAD_BYTES: usize = 200;

const BEGIN_MS: u64 = 1_700_000_000_000;

/// A run of sequential steps, of which one is always pending.
#[derive(Clone)]
struct Steps {
    workflow: Workflow,
    run_id: RunId,
    worker: WorkerId,
    name: Name,
    payload: Payload,
    done: Seq,
}

impl Steps {
    /// A run whose first step is pending, and its record.
    fn start() -> (Self, Record) {
        let name = Name::new("bench").expect("a valid name");
        let mut steps = Self {
            workflow: Workflow::new(WorkflowId::new("bench-000001").expect("a valid id")),
            run_id: RunId::new("01900000-0000-7000-8000-000000000001").expect("a valid id"),
            worker: WorkerId::new("01900000-0000-7000-8000-00000000000a").expect("a valid id"),
            payload: Payload::encode(&"x".repeat(PAYLOAD_BYTES - 2)).expect("a payload"),
            name: name.clone(),
            done: 0,
        };
        let start = RunStarted {
            workflow_type: name.clone(),
            queue: name,
            input: steps.payload.clone(),
            request_id: None,
            run_timeout_ms: None,
            execution_timeout_ms: None,
        };
        let run_id = steps.run_id.clone();
        let commit = steps.turn(Input::Start { start: Box::new(start), run_id });
        (steps, commit.record)
    }

    /// A run that has made so many steps.
    fn after(count: u32) -> (Self, Vec<Record>) {
        let (mut steps, first) = Self::start();
        let rest = (0..count).map(|_| steps.step().record);
        let records = std::iter::once(first).chain(rest).collect();
        (steps, records)
    }

    /// The pending step completes, and the code wants the next one.
    fn step(&mut self) -> Commit {
        self.done += 1;
        let outcome = Outcome::Completed { result: self.payload.clone() };
        let (run_id, step) = (self.run_id.clone(), StepId::Action(self.done));
        self.turn(Input::Report { run_id, step, attempt: 1, outcome })
    }

    fn turn(&mut self, input: Input) -> Commit {
        let now_ms = BEGIN_MS + u64::from(self.done);
        let arrival = Arrival { sequence: Some(u64::from(self.done) + 1), input };
        let ruling = self.workflow.receive(&arrival, now_ms);
        assert!(matches!(ruling, Ruling::Accepted { .. }), "{ruling:?}");
        self.workflow.advance(now_ms);
        let request = self.workflow.turn_request(now_ms).expect("the code is asked");
        let next = Command::RunActivity(RunActivity {
            seq: self.done + 1,
            activity_type: self.name.clone(),
            queue: self.name.clone(),
            input: self.payload.clone(),
            options: ActivityOptions { start_to_close_ms: Some(30_000), ..ActivityOptions::default() },
            compensation: None,
        });
        let answered = self.workflow.answer(vec![next], Some(self.worker.clone()), request.events.len());
        answered.expect("commands that are acceptable");
        self.workflow.seal().expect("something to record")
    }
}

fn benches(criterion: &mut Criterion) {
    let (early, _) = Steps::start();
    let (late, records) = Steps::after(MANY);
    let mut step = criterion.benchmark_group("step");
    for (name, steps) in [("first", early), ("after 10_000", late)] {
        step.bench_function(name, |bencher| {
            bencher.iter_batched_ref(|| steps.clone(), Steps::step, BatchSize::SmallInput);
        });
    }
    step.finish();
    let mut apply = criterion.benchmark_group("apply");
    apply.throughput(Throughput::Elements(records.len() as u64)).sample_size(20);
    apply.bench_function("10_000 records", |bencher| {
        bencher.iter(|| {
            let mut workflow = Workflow::new(WorkflowId::new("bench-000001").expect("a valid id"));
            for record in &records {
                workflow.apply(black_box(record)).expect("a record that was made");
            }
            workflow
        });
    });
    apply.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
