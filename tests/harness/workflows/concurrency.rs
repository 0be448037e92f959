//! Workflows that do several things at once.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use stepwell::prelude::*;

use crate::activities::{double, note, occupy, text_of, wait_at};

/// A fan-out.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct FanOut {
    /// How many activities.
    pub count: i64,
    /// So many more that return a text of that many bytes each.
    pub texts: (usize, usize),
}

/// Doubles the numbers up to a count, all at once; returns the sum and the bytes of text.
#[workflow]
pub async fn fan_out(ctx: WorkflowContext, plan: FanOut) -> Result<(i64, usize), WorkflowError> {
    let doubles = try_join_all((1..=plan.count).map(|number| ctx.run(double, number)));
    let texts = try_join_all((0..plan.texts.0).map(|_| ctx.run(text_of, plan.texts.1)));
    let (doubles, texts) = join!(doubles, texts);
    Ok((doubles?.into_iter().sum(), texts?.iter().map(String::len).sum()))
}

/// So many items, at most so many at a time.
#[workflow]
pub async fn mapped(ctx: WorkflowContext, count: u32, limit: usize) -> Result<Vec<u32>, WorkflowError> {
    let results =
        ctx.map_concurrent(0..count, limit, |ctx, number| async move { ctx.run(occupy, number).await });
    Ok(results.await.into_iter().collect::<Result<_, _>>()?)
}

/// Races between activities and timers; says who won each.
#[workflow]
pub async fn races(ctx: WorkflowContext) -> Result<Vec<String>, WorkflowError> {
    let mut winners = Vec::new();
    match ctx.race(ctx.run(wait_at, "never".to_owned()), ctx.sleep(Duration::from_millis(30))).await {
        Either::Left(_) => winners.push("activity".to_owned()),
        Either::Right(_) => winners.push("timer".to_owned()),
    }
    match ctx.race(ctx.run(note, "quick".to_owned()), ctx.sleep(hours(1))).await {
        Either::Left(text) => winners.push(text?),
        Either::Right(_) => winners.push("timer".to_owned()),
    }
    let gates = ["never-1", "third", "never-2"].map(|gate| ctx.run(wait_at, gate.to_owned()));
    let (index, gate) = ctx.race_all(gates).await;
    winners.push(format!("{index} {}", gate?));
    Ok(winners)
}
