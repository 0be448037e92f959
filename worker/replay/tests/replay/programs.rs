//! Random workflow code: a program is a value, and one workflow interprets it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use proptest::prelude::*;
use stepwell_shared::payload::Payload;
use stepwell_worker_replay::{
    ActivityHandle, Answer, Either, Query, Signal, WorkflowCode, WorkflowContext, WorkflowError, join_all,
    secs,
};

use crate::harness::{Double, Halve};

pub(crate) const TRACE: Query<(), Vec<String>> = Query::new("trace");
pub(crate) const SIGNALS: [Signal<u64>; 2] = [Signal::new("left"), Signal::new("right")];

#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// Runs an activity and waits for it.
    Run {
        shielded: bool,
        undo: bool,
        patient: bool,
    },
    Sleep {
        seconds: u64,
        shielded: bool,
    },
    Receive {
        which: usize,
        timeout: Option<u64>,
    },
    TryReceive {
        which: usize,
    },
    WaitUntil {
        count: u64,
        timeout: Option<u64>,
    },
    /// Changes what conditions look at.
    Add,
    Join(Vec<Program>),
    /// A race of two, or of many.
    Race(Vec<Program>),
    /// The same for several items, with a bound.
    Each {
        items: u64,
        limit: usize,
        body: Program,
    },
    /// Asks for an activity and holds its handle.
    Hold {
        patient: bool,
    },
    CancelHeld,
    AwaitHeld,
    DropHeld,
    /// Goes on after a failure inside.
    Catch(Program),
    /// Notes random values and the time.
    Draw,
    Compensate {
        shielded: bool,
    },
    Pivot,
    /// Comes back without waiting for anything.
    Yield,
    Cancelled,
    Fail,
}

pub(crate) type Program = Vec<Op>;

/// The workflow that does what the program says.
pub(crate) fn interpreter(program: &Program) -> WorkflowCode {
    let program = Arc::new(program.clone());
    WorkflowCode::from_fn("interpreter", move |ctx, _| {
        let program = program.clone();
        async move {
            let world = World { trace: ctx.answer(TRACE, Vec::new()), count: Arc::default() };
            execute(ctx, program, world.clone()).await?;
            Ok(Payload::encode(&world.trace.get())?)
        }
        .boxed()
    })
}

#[derive(Clone)]
struct World {
    trace: Answer<Vec<String>>,
    count: Arc<AtomicU64>,
}

impl World {
    fn note(&self, what: impl std::fmt::Debug) {
        self.trace.update(|trace| trace.push(format!("{what:?}")));
    }
}

fn execute(
    ctx: WorkflowContext,
    program: Arc<Program>,
    world: World,
) -> BoxFuture<'static, Result<(), WorkflowError>> {
    async move {
        let mut held: Vec<ActivityHandle<u64>> = Vec::new();
        for op in program.iter() {
            match step(&ctx, op, &world, &mut held).await {
                // Most code goes on after a failure; a cancellation it accepts, but for what is shielded.
                Err(WorkflowError::Failed(failure)) if failure.error_type != "Failed" => {
                    world.note(failure.error_type)
                }
                result => result?,
            }
        }
        Ok(())
    }
    .boxed()
}

async fn step(
    ctx: &WorkflowContext,
    op: &Op,
    world: &World,
    held: &mut Vec<ActivityHandle<u64>>,
) -> Result<(), WorkflowError> {
    let pick = |shielded: &bool| if *shielded { ctx.shielded() } else { ctx.clone() };
    let block = |program: &Program| execute(ctx.clone(), Arc::new(program.clone()), world.clone());
    match op {
        Op::Run { shielded, undo, patient } => {
            let mut call = pick(shielded).run(Double, 1);
            if *undo {
                call = call.compensate(Halve);
            }
            if *patient {
                call = call.wait_on_cancel();
            }
            world.note(call.await?);
        }
        Op::Sleep { seconds, shielded } => pick(shielded).sleep(secs(*seconds)).await?,
        Op::Receive { which, timeout } => {
            let wait = ctx.receive(SIGNALS[*which]);
            let wait = if let Some(seconds) = timeout { wait.timeout(secs(*seconds)) } else { wait };
            world.note(wait.await?);
        }
        Op::TryReceive { which } => world.note(ctx.try_receive(SIGNALS[*which])?),
        Op::WaitUntil { count, timeout } => {
            let wait = ctx.wait_until(|| world.count.load(Ordering::Relaxed) >= *count);
            if let Some(seconds) = timeout {
                wait.timeout(secs(*seconds)).await?;
            } else {
                wait.await?;
            }
        }
        Op::Add => {
            world.count.fetch_add(1, Ordering::Relaxed);
        }
        Op::Join(programs) => {
            for result in join_all(programs.iter().map(block)).await {
                result?;
            }
        }
        Op::Race(programs) => match programs.as_slice() {
            [left, right] => match ctx.race(block(left), block(right)).await {
                Either::Left(result) | Either::Right(result) => result?,
            },
            many => {
                let (winner, result) = ctx.race_all(many.iter().map(block)).await;
                world.note(winner);
                result?;
            }
        },
        Op::Each { items, limit, body } => {
            let results = ctx.map_concurrent(0..*items, *limit, |_, _| block(body)).await;
            world.note(results.iter().map(Result::is_ok).collect::<Vec<_>>());
        }
        Op::Hold { patient } => {
            let call = ctx.run(Double, 2);
            held.push(if *patient { call.wait_on_cancel().start() } else { call.start() });
        }
        Op::CancelHeld => held.iter().for_each(ActivityHandle::cancel),
        Op::AwaitHeld => {
            if let Some(handle) = held.pop() {
                world.note(handle.await.map_err(|failure| failure.kind()));
            }
        }
        Op::DropHeld => drop(held.pop()),
        Op::Catch(program) => {
            let result = block(program).await;
            world.note(result.map_err(|error| error.error_type().to_owned()));
        }
        Op::Draw => world.note((ctx.random_u64(), ctx.uuid(), ctx.now(), ctx.info(), ctx.is_cancelled())),
        Op::Compensate { shielded } => pick(shielded).compensate().await?,
        Op::Pivot => ctx.pivot(),
        Op::Yield => tokio::task::yield_now().await,
        Op::Cancelled => ctx.cancelled().await,
        Op::Fail => return Err(WorkflowError::new("Failed", "as the program says")),
    }
    Ok(())
}

/// Programs of a few operations, nested a few levels deep.
pub(crate) fn program() -> impl Strategy<Value = Program> {
    let timeout = || proptest::option::weighted(0.4, 1..100u64);
    let leaf = prop_oneof![
        6 => (any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(shielded, undo, patient)| Op::Run { shielded, undo, patient }),
        3 => (1..100u64, proptest::bool::weighted(0.2)).prop_map(|(seconds, shielded)| Op::Sleep { seconds, shielded }),
        3 => (0..2usize, timeout()).prop_map(|(which, timeout)| Op::Receive { which, timeout }),
        1 => (0..2usize).prop_map(|which| Op::TryReceive { which }),
        2 => (0..4u64, timeout()).prop_map(|(count, timeout)| Op::WaitUntil { count, timeout }),
        2 => Just(Op::Add),
        3 => any::<bool>().prop_map(|patient| Op::Hold { patient }),
        1 => Just(Op::CancelHeld),
        1 => Just(Op::AwaitHeld),
        1 => Just(Op::DropHeld),
        2 => Just(Op::Draw),
        1 => any::<bool>().prop_map(|shielded| Op::Compensate { shielded }),
        1 => Just(Op::Pivot),
        1 => Just(Op::Yield),
        1 => Just(Op::Cancelled),
        1 => Just(Op::Fail),
    ];
    let op = leaf.prop_recursive(3, 24, 4, |op| {
        let block = || proptest::collection::vec(op.clone(), 0..4);
        let blocks = |size| proptest::collection::vec(block(), size);
        prop_oneof![
            blocks(1..4usize).prop_map(Op::Join),
            blocks(1..4usize).prop_map(Op::Race),
            (0..5u64, 0..4usize, block()).prop_map(|(items, limit, body)| Op::Each { items, limit, body }),
            block().prop_map(Op::Catch),
        ]
    });
    proptest::collection::vec(op, 1..8)
}
