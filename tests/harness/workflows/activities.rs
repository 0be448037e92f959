//! Workflows about activities.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepwell::prelude::*;
use stepwell::{Payload, RetryPolicy};

use super::Settled;
use crate::activities::{boundless, concatenate, double, nothing, serve};

/// A call of any activity with any options.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Call {
    /// The activity type.
    pub activity: String,
    /// Its input.
    pub input: Value,
    /// Its queue; the run's when absent.
    pub queue: Option<String>,
    /// Timeouts, in milliseconds.
    pub start_to_close: Option<u64>,
    /// How long one attempt may wait for a worker.
    pub schedule_to_start: Option<u64>,
    /// How long all of it may take.
    pub schedule_to_close: Option<u64>,
    /// The longest gap between heartbeats.
    pub heartbeat: Option<u64>,
    /// Retries.
    pub retry: RetryPolicy,
}

impl Call {
    /// A call with half a minute for each attempt and quick retries.
    #[must_use]
    pub fn of(activity: &str, input: Value) -> Self {
        let retry = RetryPolicy {
            initial_interval_ms: 20,
            backoff_coefficient: 1.0,
            jitter: 0.0,
            ..RetryPolicy::default()
        };
        let activity = activity.to_owned();
        Self { activity, input, start_to_close: Some(30_000), retry, ..Self::default() }
    }
}

/// Runs one activity and returns how it ended.
#[workflow]
pub async fn one_activity(ctx: WorkflowContext, call: Call) -> Result<Settled<Value>, WorkflowError> {
    let mut running = ctx.run_untyped(&call.activity, Payload::encode(&call.input)?).retry(call.retry);
    if let Some(queue) = call.queue {
        running = running.queue(queue);
    }
    if let Some(ms) = call.start_to_close {
        running = running.start_to_close(Duration::from_millis(ms));
    }
    if let Some(ms) = call.schedule_to_start {
        running = running.schedule_to_start(Duration::from_millis(ms));
    }
    if let Some(ms) = call.schedule_to_close {
        running = running.schedule_to_close(Duration::from_millis(ms));
    }
    if let Some(ms) = call.heartbeat {
        running = running.heartbeat_timeout(Duration::from_millis(ms));
    }
    match running.await {
        Ok(payload) => Ok(Settled::Ok(payload.decode()?)),
        Err(failure) => Ok(Settled::from(Err(failure))),
    }
}

/// Something to compute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sum {
    /// Doubled.
    pub numbers: Vec<i64>,
    /// Put together.
    pub words: (String, String),
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summed {
    /// The sum of the doubled numbers.
    pub total: i64,
    /// Both words.
    pub text: String,
    /// What became of a call without a timeout.
    pub boundless: Settled<()>,
}

/// Types in and out, of none, one and two arguments.
#[workflow]
pub async fn typed(ctx: WorkflowContext, sum: Sum) -> Result<Summed, WorkflowError> {
    let mut total = 0;
    for number in sum.numbers {
        total += ctx.run(double, number).await?;
    }
    let (left, right) = sum.words;
    let text = ctx.run(concatenate, (left, right)).await?;
    ctx.run(nothing, ()).await?;
    let boundless = ctx.run(boundless, ()).await.into();
    Ok(Summed { total, text, boundless })
}

/// Calls a method of the value that a worker's activities share.
#[workflow]
pub async fn serves(ctx: WorkflowContext, times: u32) -> Result<Vec<(u32, u64)>, WorkflowError> {
    let mut served = Vec::new();
    for _ in 0..times {
        served.push(ctx.run(serve, ()).await?);
    }
    Ok(served)
}
