//! Workflow code driven by records and turns that may make no sense: it answers or stalls, and never
//! panics. What the code does and what it is handed are both drawn from the input.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use stepwell_shared::encoding::VERSION;
use stepwell_shared::history::{Event, Record, StallKind, Turn};
use stepwell_shared::ids::{Name, RunId, WorkflowId};
use stepwell_shared::payload::Payload;
use stepwell_worker_replay::{
    ActivityDefaults, Either, Instance, Query, Signal, WorkflowCode, WorkflowContext, WorkflowError, secs,
};

use crate::dice::Dice;
use crate::generate;

/// Bytes of the input that are the program; the rest is what happens to it.
const PROGRAM_BYTES: usize = 12;

/// Records and turns of one life; more say nothing new.
const MOST_STEPS: usize = 64;

/// Blocks within blocks.
const DEEPEST: u8 = 3;

const TRACE: Query<(), Vec<String>> = Query::new("trace");

const SIGNALS: [Signal<u64>; 2] = [Signal::new("left"), Signal::new("right")];

pub(crate) fn check(data: &[u8]) {
    let (program, happens) = data.split_at(data.len().min(PROGRAM_BYTES));
    let code = code(program);
    let mut dice = Dice::new(happens);
    let (mut live, mut records, mut waiting) = (instance(&code), Vec::new(), Vec::new());
    let mut index = 0u64;
    for number in 0..MOST_STEPS {
        if dice.over() {
            break;
        }
        index = if dice.seldom(32) { dice.number() } else { index.saturating_add(1) };
        let at_ms = if dice.seldom(32) { dice.number() } else { index.saturating_mul(1_000) };
        let mut events: Vec<Event> = (0..dice.below(3)).map(|_| generate::event(&mut dice)).collect();
        if number == 0 && !dice.seldom(32) {
            events.insert(0, Event::RunStarted(Box::new(generate::started(&mut dice))));
        }
        waiting.extend(events.iter().filter(|event| event.wakes_code()).cloned());
        let (turn, result) = if dice.seldom(8) {
            let turn = dice.flag().then(|| drawn_turn(&mut dice));
            let replayed = live.replay(&record(index, at_ms, events.clone(), turn.clone()));
            (turn, replayed)
        } else {
            let made = live.turn(&waiting, at_ms, index);
            let delivered = u32::try_from(waiting.len()).unwrap_or(u32::MAX);
            let commands = made.clone().unwrap_or_default();
            (Some(Turn { commands, worker: None, delivered }), made.map(drop))
        };
        let delivered = turn.as_ref().map_or(0, |turn| turn.delivered as usize);
        waiting.drain(..delivered.min(waiting.len()));
        if result.is_ok() {
            records.push(record(index, at_ms, events, turn));
        }
        if let Err(stalled) = result {
            match stalled.kind {
                StallKind::Nondeterminism | StallKind::InvalidTurn => break,
                StallKind::Panic
                | StallKind::ForeignWait
                | StallKind::NoWorker
                | StallKind::UnknownType
                | StallKind::UnreadablePayload
                | StallKind::TaskTimeout => panic!("{:?}: {}", stalled.kind, stalled.message),
            }
        }
        let _ = live.query(&name(TRACE.name()), &Payload::null());
    }
    replayed(&code, &records);
}

/// A turn that some other code may have made.
fn drawn_turn(dice: &mut Dice<'_>) -> Turn {
    let mut seq = 1;
    let commands = (0..dice.below(3)).map(|_| generate::command(dice, &mut seq)).collect();
    Turn { commands, worker: None, delivered: dice.seq() % 4 }
}

/// What was taken in and made can be replayed, as far as their indices go up.
fn replayed(code: &WorkflowCode, records: &[Record]) {
    let mut replayed = instance(code);
    let mut before = 0;
    for record in records {
        if record.index <= before {
            return;
        }
        before = record.index;
        let result = replayed.replay(record);
        result.unwrap_or_else(|stalled| panic!("{:?}: {}", stalled.kind, stalled.message));
    }
}

fn record(index: u64, at_ms: u64, events: Vec<Event>, turn: Option<Turn>) -> Record {
    let run_id = RunId::new("run-1").expect("a valid id");
    Record { v: VERSION, run_id, index, at_ms, through: index, events, turn, stall: None }
}

fn instance(code: &WorkflowCode) -> Instance {
    let id = WorkflowId::new("order 7").expect("a valid id");
    Instance::new(code.clone(), id, RunId::new("run-1").expect("a valid id"))
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a valid name")
}

fn code(program: &[u8]) -> WorkflowCode {
    let program = program.to_vec();
    WorkflowCode::from_fn("drawn", move |ctx, _| {
        let program = program.clone();
        async move {
            let trace = ctx.answer(TRACE, Vec::new());
            for (place, op) in program.iter().enumerate() {
                let done = step(ctx.clone(), *op, 0).await;
                let note =
                    format!("{place}: {:?}", done.as_ref().map_err(|error| error.error_type().to_owned()));
                trace.update(|trace| trace.push(note));
                match done {
                    Ok(()) | Err(WorkflowError::Failed(_)) => {}
                    Err(error @ WorkflowError::Cancelled) => return Err(error),
                }
            }
            Ok(Payload::encode(&trace.get())?)
        }
        .boxed()
    })
}

/// One operation; the low bits say which, the high bits in which way.
fn step(ctx: WorkflowContext, op: u8, depth: u8) -> BoxFuture<'static, Result<(), WorkflowError>> {
    async move {
        let ctx = if op & 0x80 == 0 { ctx } else { ctx.shielded() };
        let (high, deep) = (op >> 4, depth >= DEEPEST);
        let undo = ActivityDefaults::start_to_close(secs(5));
        match op & 0x0f {
            0 | 1 => drop(activity(&ctx).await?),
            2 => drop(activity(&ctx).compensate_untyped("refund", undo).await?),
            3 => ctx.sleep(secs(u64::from(high))).await?,
            4 => drop(ctx.receive(SIGNALS[usize::from(high & 1)]).await?),
            5 => drop(ctx.receive(SIGNALS[0]).timeout(secs(u64::from(high))).await?),
            6 => drop(ctx.try_receive(SIGNALS[1])),
            7 => drop(activity(&ctx).wait_on_cancel().start()),
            8 => {
                let held = activity(&ctx).start();
                ctx.sleep(secs(1)).await?;
                held.cancel();
                let _ = held.await;
            }
            9 if !deep => match ctx.race(step(ctx.clone(), high, depth + 1), ctx.sleep(secs(2))).await {
                Either::Left(result) => result?,
                Either::Right(result) => result?,
            },
            10 if !deep => {
                let branches = (0..=high % 4).map(|it| step(ctx.clone(), it.wrapping_mul(37), depth + 1));
                ctx.race_all(branches).await.1?;
            }
            11 if !deep => {
                let body = |ctx: WorkflowContext, it: u8| step(ctx, it, depth + 1);
                for result in ctx.map_concurrent(0..high % 5, usize::from(high), body).await {
                    result?;
                }
            }
            12 => ctx.compensate().await?,
            13 => ctx.pivot(),
            14 => drop((ctx.now(), ctx.uuid(), ctx.random_u64(), ctx.info(), ctx.cancel_reason())),
            15 if high == 7 => return Err(WorkflowError::new("Failed", "as drawn")),
            _ => drop(ctx.is_cancelled()),
        }
        Ok(())
    }
    .boxed()
}

fn activity(ctx: &WorkflowContext) -> stepwell_worker_replay::ActivityCall<Payload, Payload> {
    ctx.run_untyped("charge", Payload::null()).start_to_close(secs(10))
}
