//! Workflows about signals, conditions, timers and queries.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use stepwell::prelude::*;

use crate::activities::note;

/// A number.
pub const NUMBER: Signal<i64> = Signal::new("number");
/// Lets [`looks_late`] look.
pub const LOOK: Signal<()> = Signal::new("look");
/// How far a run is.
pub const PROGRESS: Query<(), String> = Query::new("progress");
/// The sum of two numbers and what the run has counted.
pub const PLUS: Query<(i64, i64), i64> = Query::new("plus");

/// Receives so many numbers.
#[workflow]
pub async fn collects(ctx: WorkflowContext, count: usize) -> Result<Vec<i64>, WorkflowError> {
    let progress = ctx.answer(PROGRESS, "0".to_owned());
    let mut numbers = Vec::new();
    while numbers.len() < count {
        numbers.push(ctx.receive(NUMBER).await?);
        progress.set(numbers.len().to_string());
    }
    Ok(numbers)
}

/// Waits for [`LOOK`], runs an activity, and only then asks for the numbers that have come.
#[workflow]
pub async fn looks_late(ctx: WorkflowContext) -> Result<Vec<i64>, WorkflowError> {
    ctx.receive(LOOK).await?;
    ctx.run(note, "before looking".to_owned()).await?;
    let mut numbers = Vec::new();
    while let Some(number) = ctx.try_receive(NUMBER)? {
        numbers.push(number);
    }
    Ok(numbers)
}

/// Receives one number; says what was wrong with what came before it.
#[workflow]
pub async fn picky(ctx: WorkflowContext) -> Result<(Vec<String>, i64), WorkflowError> {
    let mut complaints = Vec::new();
    loop {
        match ctx.receive(NUMBER).await {
            Ok(number) => return Ok((complaints, number)),
            Err(WaitError::Malformed(error)) => complaints.push(error.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// How [`counts_to`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Counted {
    /// The goal was reached, with this sum.
    Goal(i64),
    /// It was not reached in time.
    TooLate(i64),
}

/// Adds up numbers until a goal is reached or time is up.
#[workflow]
pub async fn counts_to(ctx: WorkflowContext, goal: i64, timeout_ms: u64) -> Result<Counted, WorkflowError> {
    let total = ctx.answer(Query::<(), i64>::new("total"), 0);
    let adding = async {
        loop {
            match ctx.receive(NUMBER).await {
                Ok(number) => total.update(|total| *total += number),
                Err(error) => return error,
            }
        }
    };
    let goal_reached = ctx.wait_until(|| total.get() >= goal).timeout(Duration::from_millis(timeout_ms));
    match ctx.race(goal_reached, adding).await {
        Either::Left(Ok(())) => Ok(Counted::Goal(total.get())),
        Either::Left(Err(WaitError::TimedOut)) => Ok(Counted::TooLate(total.get())),
        Either::Left(Err(error)) | Either::Right(error) => Err(error.into()),
    }
}

/// Sleeps so many milliseconds, one after the other; returns how long each took by its own clock.
#[workflow]
pub async fn naps(ctx: WorkflowContext, naps: Vec<u64>) -> Result<Vec<u128>, WorkflowError> {
    let mut took = Vec::new();
    for nap in naps {
        let before = ctx.now();
        ctx.sleep(Duration::from_millis(nap)).await?;
        took.push(ctx.now().duration_since(before).unwrap_or_default().as_millis());
    }
    Ok(took)
}

/// Sleeps until a time, in milliseconds since 1970; returns when it woke by its own clock.
#[workflow]
pub async fn sleeps_until(ctx: WorkflowContext, at_ms: u64) -> Result<u64, WorkflowError> {
    ctx.sleep(Duration::from_millis(at_ms.saturating_sub(ms(ctx.now())))).await?;
    Ok(ms(ctx.now()))
}

fn ms(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// Answers queries while it counts the numbers that come, until a negative one.
#[workflow]
pub async fn answers(ctx: WorkflowContext) -> Result<i64, WorkflowError> {
    let progress = ctx.answer(PROGRESS, "waiting".to_owned());
    let count = ctx.answer(Query::<(), i64>::new("count"), 0);
    let counted = count.clone();
    ctx.on_query(PLUS, move |(left, right)| left + right + counted.get());
    loop {
        let number = ctx.receive(NUMBER).await?;
        if number < 0 {
            progress.set("done".to_owned());
            return Ok(count.get());
        }
        count.update(|count| *count += 1);
        progress.set(format!("got {number}"));
    }
}
