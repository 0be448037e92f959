//! The workflows and the activities of the benchmark, for workers of the SDK: what a user would write.

use std::time::{Duration, UNIX_EPOCH};

use stepwell::prelude::*;
use stepwell::{Payload, WorkflowCode};
use stepwell_bench_measure::payload::text;

use crate::driver::SIGNAL;
use crate::payload::{Plan, Stamp};

const GO: Signal<String> = Signal::new(SIGNAL);

#[activity(start_to_close = "30s")]
pub(super) async fn bench_step(_ctx: ActivityContext, payload: String) -> Result<String, ActivityError> {
    Ok(payload)
}

/// Returns when it began. That is of no use to a workflow; it is there for whoever reads the history.
#[activity(start_to_close = "30s")]
pub(super) async fn bench_stamp(_ctx: ActivityContext, _asked: Stamp) -> Result<Stamp, ActivityError> {
    Ok(Stamp::now())
}

#[activity(start_to_close = "30s", retry(initial = "100ms"))]
pub(super) async fn bench_flake(ctx: ActivityContext, payload: String) -> Result<String, ActivityError> {
    if ctx.info().attempt == 1 {
        return Err(ActivityError::new("Flake", "the first attempt fails"));
    }
    Ok(payload)
}

#[workflow(queue = "bench")]
pub(super) async fn bench_steps(ctx: WorkflowContext, plan: Plan) -> Result<String, WorkflowError> {
    steps(&ctx, plan.count).await
}

/// Not deterministic: what it gives to its activities is when it ran. It is never replayed, since nobody ends
/// the worker or crowds out the run while one is traced.
#[workflow(queue = "bench")]
pub(super) async fn bench_traced(ctx: WorkflowContext, plan: Plan) -> Result<String, WorkflowError> {
    for _ in 0..plan.count {
        ctx.run(bench_stamp, Stamp::now()).await?;
    }
    Ok(text())
}

#[workflow(queue = "bench")]
pub(super) async fn bench_fan_out(ctx: WorkflowContext, plan: Plan) -> Result<String, WorkflowError> {
    let all = join_all((0..plan.count).map(|_| ctx.run(bench_step, text()))).await;
    let mut last = String::new();
    for one in all {
        last = one?;
    }
    Ok(last)
}

#[workflow(queue = "bench")]
pub(super) async fn bench_signalled(ctx: WorkflowContext, _plan: Plan) -> Result<String, WorkflowError> {
    Ok(ctx.receive(GO).await?)
}

#[workflow(queue = "bench")]
pub(super) async fn bench_long(ctx: WorkflowContext, plan: Plan) -> Result<String, WorkflowError> {
    steps(&ctx, plan.count).await?;
    Ok(ctx.receive(GO).await?)
}

#[workflow(queue = "bench")]
pub(super) async fn bench_sleeper(ctx: WorkflowContext, plan: Plan) -> Result<String, WorkflowError> {
    ctx.sleep(Duration::from_millis(plan.delay_ms)).await?;
    Ok(text())
}

#[workflow(queue = "bench")]
pub(super) async fn bench_sleeper_until(ctx: WorkflowContext, plan: Plan) -> Result<String, WorkflowError> {
    let due = UNIX_EPOCH + Duration::from_millis(plan.delay_ms);
    ctx.sleep(due.duration_since(ctx.now()).unwrap_or_default()).await?;
    Ok(text())
}

#[workflow(queue = "bench")]
pub(super) async fn bench_flaky(ctx: WorkflowContext, plan: Plan) -> Result<String, WorkflowError> {
    let mut payload = text();
    for _ in 0..plan.count {
        payload = ctx.run(bench_flake, payload).await?;
    }
    Ok(payload)
}

/// The workflow of sequential steps under another name.
pub(super) fn steps_called(name: &str) -> WorkflowCode {
    WorkflowCode::from_fn(name, |ctx, input| {
        Box::pin(async move {
            let plan: Plan = input.decode().map_err(|error| WorkflowError::new("Plan", error.to_string()))?;
            Ok(Payload::encode(&steps(&ctx, plan.count).await?)?)
        })
    })
}

async fn steps(ctx: &WorkflowContext, count: u32) -> Result<String, WorkflowError> {
    let mut payload = text();
    for _ in 0..count {
        payload = ctx.run(bench_step, payload).await?;
    }
    Ok(payload)
}
