//! What driving workflow code costs: a turn, early in a run and after many, and the replay of a long history.
//!
//! `cargo bench -p stepwell-worker-replay`

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use stepwell_shared::encoding::VERSION;
use stepwell_shared::history::{Event, Record, RunStarted, Turn};
use stepwell_shared::ids::{Name, RunId, Seq, WorkflowId};
use stepwell_shared::payload::Payload;
use stepwell_worker_replay::{
    Activity, ActivityDefaults, Instance, WorkflowCode, WorkflowContext, WorkflowDefinition, WorkflowError,
    secs,
};

/// Steps of a long history.
const MANY: u32 = 10_000;

/// Bytes of every payload.
const PAYLOAD_BYTES: usize = 200;

struct Echo;

impl Activity for Echo {
    type Input = String;
    type Output = String;
    const NAME: &'static str = "echo";

    fn options() -> ActivityDefaults {
        ActivityDefaults::start_to_close(secs(30))
    }
}

/// Steps without an end.
struct Steps;

impl WorkflowDefinition for Steps {
    type Input = String;
    type Output = ();
    const NAME: &'static str = "steps";

    async fn run(ctx: WorkflowContext, text: String) -> Result<(), WorkflowError> {
        let mut text = text;
        loop {
            text = ctx.run(Echo, text).await?;
        }
    }
}

/// A run of sequential steps, of which one is always pending.
struct Run {
    instance: Instance,
    payload: Payload,
    done: Seq,
}

impl Run {
    /// A run in memory that has made so many steps, and its records.
    fn after(count: u32) -> (Self, Vec<Record>) {
        let payload = Payload::encode(&"x".repeat(PAYLOAD_BYTES - 2)).expect("a payload");
        let mut run = Self { instance: instance(), payload, done: 0 };
        let name = Name::new("steps").expect("a valid name");
        let started = Event::RunStarted(Box::new(RunStarted {
            workflow_type: name.clone(),
            queue: name,
            input: run.payload.clone(),
            request_id: None,
            run_timeout_ms: None,
            execution_timeout_ms: None,
        }));
        let mut records = vec![run.turn(started)];
        for _ in 0..count {
            let completed = run.completed();
            records.push(run.turn(completed));
        }
        (run, records)
    }

    fn completed(&mut self) -> Event {
        self.done += 1;
        Event::ActivityCompleted { seq: self.done, attempt: 1, result: self.payload.clone() }
    }

    fn turn(&mut self, event: Event) -> Record {
        let (index, events) = (u64::from(self.done) + 1, vec![event]);
        let at_ms = 1_700_000_000_000 + index;
        let commands = self.instance.turn(&events, at_ms, index).expect("the code goes on");
        let turn = Some(Turn { commands, worker: None, delivered: 1 });
        let run_id = run_id();
        Record { v: VERSION, run_id, index, at_ms, through: index, events, turn, stall: None }
    }
}

fn run_id() -> RunId {
    RunId::new("01900000-0000-7000-8000-000000000001").expect("a valid id")
}

fn instance() -> Instance {
    let workflow_id = WorkflowId::new("bench-000001").expect("a valid id");
    Instance::new(WorkflowCode::of::<Steps>(), workflow_id, run_id())
}

fn replayed(records: &[Record]) -> Instance {
    let mut instance = instance();
    for record in records {
        instance.replay(black_box(record)).expect("a history that was made");
    }
    instance
}

fn benches(criterion: &mut Criterion) {
    let (_, first) = Run::after(0);
    let (mut late, records) = Run::after(MANY);
    let mut turn = criterion.benchmark_group("turn");
    turn.bench_function("first step", |bencher| {
        let fresh = || {
            let (instance, payload) = (replayed(&first), late.payload.clone());
            let mut run = Run { instance, payload, done: 0 };
            let event = run.completed();
            (run, event)
        };
        bencher.iter_batched(fresh, |(mut run, event)| (run.turn(event), run), BatchSize::SmallInput);
    });
    turn.bench_function("after 10_000 steps", |bencher| {
        bencher.iter(|| {
            let event = late.completed();
            late.turn(event)
        });
    });
    turn.finish();
    let mut replay = criterion.benchmark_group("replay");
    replay.throughput(Throughput::Elements(records.len() as u64)).sample_size(20);
    replay.bench_function("10_000 events", |bencher| bencher.iter(|| replayed(&records)));
    replay.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
