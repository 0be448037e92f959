//! Time, randomness and facts: the same on every replay, different for every run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use stepwell_shared::ids::{RunId, WorkflowId};
use stepwell_worker_replay::{Instance, Signal, WorkflowContext, WorkflowDefinition, WorkflowError, hours};

use crate::harness::{Double, Run, code, completed, record, signal, stall, started, started_with};

const GO: Signal<u64> = Signal::new("go");

fn at(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
}

#[test]
fn time_stands_still_within_a_turn_and_never_goes_back() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen = times.clone();
    let code = code(move |ctx| {
        let seen = seen.clone();
        async move {
            loop {
                seen.lock().unwrap().push((ctx.now(), ctx.info().started_at, ctx.info().history_length));
                ctx.receive(GO).await?;
            }
            #[allow(unreachable_code)]
            Ok(())
        }
    });
    let mut instance = crate::harness::instance(&code);
    instance.turn(&[started()], 5_000, 2).unwrap();
    instance.turn(&[signal("go", 1), signal("go", 2)], 7_000, 4).unwrap();
    instance.turn(&[signal("go", 3)], 6_000, 5).unwrap();
    let started = at(5_000);
    let expected =
        [(at(5_000), started, 2), (at(7_000), started, 4), (at(7_000), started, 4), (at(7_000), started, 5)];
    assert_eq!(*times.lock().unwrap(), expected);
}

#[test]
fn random_values_are_the_runs_own() {
    let code = code(|ctx| async move {
        let first = (ctx.random::<f64>(), ctx.uuid());
        ctx.run(Double, 1).await?;
        Ok((first, ctx.random_u64(), ctx.random::<bool>(), ctx.uuid()))
    });
    let ends = |run_id: &str| {
        let mut instance =
            Instance::new(code.clone(), WorkflowId::new("w").unwrap(), RunId::new(run_id).unwrap());
        instance.turn(&[started()], 1, 1).unwrap();
        crate::harness::show(&instance.turn(&[completed(1, 2)], 2, 2).unwrap())
    };
    assert_eq!(ends("run-1"), ends("run-1"));
    assert_ne!(ends("run-1"), ends("run-2"));
    // Live and replayed, by the harness.
    let (mut run, _) = Run::start(&code);
    run.turn([completed(1, 2)]);
}

#[test]
fn a_run_knows_who_it_is() {
    let code = code(|ctx| async move {
        let info = ctx.info();
        let ids = (info.workflow_id.to_string(), info.run_id.to_string());
        Ok((ids, info.workflow_type.to_string(), info.queue.to_string(), info.attempt))
    });
    assert_eq!(Run::start(&code).1, [r#"complete [["order 7","run-1"],"test","main",1]"#]);
}

#[test]
fn replaying_is_visible_for_logs() {
    let live_turns = Arc::new(AtomicU64::new(0));
    let count = live_turns.clone();
    let code = code(move |ctx| {
        let count = count.clone();
        async move {
            for _ in 0..3 {
                if !ctx.is_replaying() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                ctx.receive(GO).await?;
            }
            Ok(())
        }
    });
    let mut instance = crate::harness::instance(&code);
    instance.replay(&record(1, 1, vec![started()], Some((vec![], 1)))).unwrap();
    instance.replay(&record(2, 2, vec![signal("go", 1)], Some((vec![], 1)))).unwrap();
    assert_eq!(live_turns.load(Ordering::Relaxed), 0);
    instance.turn(&[signal("go", 2)], 3, 3).unwrap();
    assert_eq!(live_turns.load(Ordering::Relaxed), 1);
}

struct Greet;

impl WorkflowDefinition for Greet {
    type Input = (String, u32);
    type Output = String;
    const NAME: &'static str = "greet";
    const QUEUE: &'static str = "greetings";

    async fn run(ctx: WorkflowContext, (name, times): (String, u32)) -> Result<String, WorkflowError> {
        ctx.sleep(hours(1)).await?;
        Ok(format!("hello {name} ").repeat(times as usize))
    }
}

#[test]
fn typed_workflows_take_and_return_their_types() {
    let code = stepwell_worker_replay::WorkflowCode::of::<Greet>();
    assert_eq!((code.name(), code.queue()), ("greet", "greetings"));
    let mut run = Run::new(&code);
    assert_eq!(run.turn([started_with(&("you", 2))]), ["timer 1 3600000"]);
    assert_eq!(run.turn([crate::harness::fired(1)]), [r#"complete "hello you hello you ""#]);

    let (kind, text) = stall(Run::new(&code).try_turn([started_with(&"you")]));
    assert_eq!(kind, stepwell_shared::history::StallKind::InvalidTurn);
    crate::harness::assert_holds(
        &text,
        &["input of workflow `greet`", "is not a `(alloc::string::String, u32)`"],
    );
}

#[test]
fn a_result_that_cannot_be_recorded_stalls_the_run() {
    let code = stepwell_worker_replay::WorkflowCode::of::<Greet>();
    let mut run = Run::new(&code);
    run.turn([started_with(&("you", 100_000))]);
    let (kind, text) = stall(run.try_turn([crate::harness::fired(1)]));
    assert_eq!(kind, stepwell_shared::history::StallKind::InvalidTurn);
    crate::harness::assert_holds(&text, &["workflow `greet`", "its result has", "object store"]);
}
