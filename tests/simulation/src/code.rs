//! The workflow code that runs programs, in the simulation and in real processes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use stepwell_shared::payload::Payload;
use stepwell_worker_replay::{
    ActivityCall, ActivityDefaults, Either, Query, Signal, WaitError, WorkflowCode, WorkflowContext,
    WorkflowError, days, hours, join_all, mins, secs, try_join_all,
};

use super::program::{End, Op, Program, Work};

/// The workflow type, and the queue of everything.
pub const TYPE: &str = "program";

/// The activity that does work.
pub const WORK: &str = "work";

/// The one that undoes it.
pub const UNDO: &str = "undo";

/// How many steps of the program itself, not of its branches, are done.
pub const STEPS_DONE: Query<(), u64> = Query::new("steps_done");

/// Longest time of an attempt that is to take longer, and of what may pass between two signs of life.
const SHORT: Duration = Duration::from_secs(2);

/// The signal that never comes.
const NEVER: Signal<u64> = Signal::new("never");

/// The names of signals by their numbers; they must be static.
const SIGNALS: [&str; 8] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"];

/// What a signal carries.
#[derive(Debug, Clone, Deserialize, serde::Serialize)]
pub struct SignalBody {
    /// Which signal of the program.
    pub number: u32,
    /// What it adds to the result.
    pub value: u64,
    /// Which message it was.
    pub uid: u64,
}

/// The name of the signal of this number.
#[must_use]
pub fn signal_name(number: u32) -> &'static str {
    SIGNALS[number as usize % SIGNALS.len()]
}

/// The interpreter.
#[must_use]
pub fn code() -> WorkflowCode {
    WorkflowCode::from_fn(TYPE, |ctx, input| {
        async move {
            let program: Program = input.decode()?;
            // Values that must be the same on every replay.
            let drawn: u64 = ctx.random_u64();
            let steps = ctx.answer(STEPS_DONE, 0);
            let mut sum = 0u64;
            for op in &program.ops {
                sum = sum.wrapping_add(step(&ctx, op).await?);
                steps.update(|steps| *steps += 1);
            }
            if ctx.random_u64() == drawn {
                return Err(WorkflowError::new("Impossible", "two draws are the same"));
            }
            match program.end {
                End::Return => Ok(Payload::encode(&sum)?),
                End::Fail => Err(WorkflowError::new("Planned", "the program fails")),
                End::AwaitStop => {
                    ctx.cancelled().await;
                    Err(WorkflowError::Cancelled)
                }
            }
        }
        .boxed()
    })
}

fn run_all<'a>(ctx: &'a WorkflowContext, ops: &'a [Op]) -> BoxFuture<'a, Result<u64, WorkflowError>> {
    async move {
        let mut sum = 0u64;
        for op in ops {
            sum = sum.wrapping_add(step(ctx, op).await?);
        }
        Ok(sum)
    }
    .boxed()
}

async fn step(ctx: &WorkflowContext, op: &Op) -> Result<u64, WorkflowError> {
    match op {
        Op::Run(work) => value(call(ctx, work).await?),
        Op::Try(work) => match call(ctx, work).await {
            Ok(result) => value(result),
            Err(failure) if failure.is_cancelled() => Err(failure.into()),
            Err(_) => Ok(0),
        },
        Op::Sleep(ms) => {
            ctx.sleep(Duration::from_millis(*ms)).await?;
            Ok(0)
        }
        Op::Receive(number) => {
            let signal: Signal<SignalBody> = Signal::new(signal_name(*number));
            Ok(ctx.receive(signal).await?.value)
        }
        Op::Until(number) => {
            let signal: Signal<SignalBody> = Signal::new(signal_name(*number));
            let got = AtomicU64::new(0);
            let receiving = async {
                let body = ctx.receive(signal).await?;
                got.store(body.value, Ordering::Relaxed);
                Ok::<_, WorkflowError>(())
            };
            let waiting = ctx.wait_until(|| got.load(Ordering::Relaxed) > 0).timeout(days(30));
            let (received, waited) = stepwell_worker_replay::join!(receiving, waiting);
            received?;
            waited?;
            Ok(got.load(Ordering::Relaxed))
        }
        Op::Missing(ms) => {
            let longest = Duration::from_millis(*ms);
            let receiving = ctx.receive(NEVER).timeout(longest);
            let waiting = ctx.wait_until(|| false).timeout(longest);
            let (received, waited) = stepwell_worker_replay::join!(receiving, waiting);
            match (received, waited) {
                (Err(WaitError::TimedOut), Err(WaitError::TimedOut)) => Ok(0),
                (Err(error @ WaitError::Cancelled), _) | (_, Err(error @ WaitError::Cancelled)) => {
                    Err(error.into())
                }
                (_, _) => Err(WorkflowError::new("Impossible", "what is missing came")),
            }
        }
        Op::Once(work) => match call(ctx, work).max_attempts(1).await {
            Err(failure) if failure.is_cancelled() => Err(failure.into()),
            // What it gives must not be part of an answer that is known in advance.
            Ok(_) | Err(_) => Ok(0),
        },
        Op::All(branches) => {
            let sums = try_join_all(branches.iter().map(|ops| run_all(ctx, ops))).await?;
            Ok(sums.into_iter().fold(0, u64::wrapping_add))
        }
        Op::Each(works, limit) => {
            let results = ctx.map_concurrent(works.clone(), *limit, |ctx, work| async move {
                value(call(&ctx, &work).await?)
            });
            let results: Result<Vec<u64>, WorkflowError> = results.await.into_iter().collect();
            Ok(results?.into_iter().fold(0, u64::wrapping_add))
        }
        Op::Beats(work) => match ctx.race(call(ctx, work), ctx.sleep(days(30))).await {
            Either::Left(result) => value(result?),
            Either::Right(slept) => {
                slept?;
                Err(WorkflowError::new("Impossible", "a month passed"))
            }
        },
        Op::Outlasts(ms, work) => {
            match ctx.race(ctx.sleep(Duration::from_millis(*ms)), call(ctx, work)).await {
                Either::Left(slept) => {
                    slept?;
                    Ok(0)
                }
                Either::Right(result) => {
                    result?;
                    Err(WorkflowError::new("Impossible", "endless work ended"))
                }
            }
        }
        Op::Either(left, right) => {
            let (_, result) = ctx.race_all([call(ctx, left), call(ctx, right)]).await;
            value(result?)
        }
        Op::Compensate => {
            ctx.compensate().await?;
            Ok(0)
        }
        Op::Pivot => {
            ctx.pivot();
            // Something to do at once, for turns with several commands.
            join_all([ctx.sleep(Duration::from_millis(1)), ctx.sleep(Duration::from_millis(1))]).await;
            Ok(0)
        }
    }
}

fn call(ctx: &WorkflowContext, work: &Work) -> ActivityCall<Payload, Payload> {
    let input = Payload::encode(work).unwrap_or_default();
    let mut call = ctx
        .run_untyped(WORK, input)
        .start_to_close(hours(24))
        .initial_interval(Duration::from_millis(200))
        .max_interval(secs(5));
    if let Some(queue) = &work.queue {
        call = call.queue(queue.clone());
    }
    if work.overruns > 0 {
        call = call.start_to_close(SHORT);
    }
    if work.silences.is_some() {
        call = call.heartbeat_timeout(SHORT);
    }
    if work.announced {
        call = call.schedule_to_start(days(20));
    }
    if let Some(undo) = &work.undo {
        let mut defaults = ActivityDefaults::start_to_close(mins(10));
        defaults.options.retry.initial_interval_ms = 300;
        // Lost attempts are no fault of the program's; what fails for good says so.
        defaults.options.retry.maximum_attempts = None;
        let _ = undo;
        call = call.compensate_untyped(UNDO, defaults);
    }
    call
}

fn value(result: Payload) -> Result<u64, WorkflowError> {
    Ok(result.decode()?)
}
