//! The workflows and the activity of the benchmark, in workers of the SDK: what a user would write.

use anyhow::Result;
use std::time::Duration;
use stepwell::Worker;
use stepwell::prelude::*;
use stepwell_connection::Connection;
use tokio_util::sync::CancellationToken;

use super::{MAX_ACTIVITIES, QUEUE, say_ready};
use crate::driver::SIGNAL;
use crate::payload::{Plan, text};

const GO: Signal<String> = Signal::new(SIGNAL);

#[activity(start_to_close = "30s")]
async fn bench_step(_ctx: ActivityContext, payload: String) -> Result<String, ActivityError> {
    Ok(payload)
}

#[workflow(queue = "bench")]
async fn bench_steps(ctx: WorkflowContext, plan: Plan) -> Result<String, WorkflowError> {
    let mut payload = text();
    for _ in 0..plan.count {
        payload = ctx.run(bench_step, payload).await?;
    }
    Ok(payload)
}

#[workflow(queue = "bench")]
async fn bench_fan_out(ctx: WorkflowContext, plan: Plan) -> Result<String, WorkflowError> {
    let all = join_all((0..plan.count).map(|_| ctx.run(bench_step, text()))).await;
    let mut last = String::new();
    for one in all {
        last = one?;
    }
    Ok(last)
}

#[workflow(queue = "bench")]
async fn bench_signalled(ctx: WorkflowContext, _plan: Plan) -> Result<String, WorkflowError> {
    Ok(ctx.receive(GO).await?)
}

#[workflow(queue = "bench")]
async fn bench_sleeper(ctx: WorkflowContext, plan: Plan) -> Result<String, WorkflowError> {
    ctx.sleep(Duration::from_millis(plan.delay_ms)).await?;
    Ok(text())
}

/// A worker that has the workflows.
pub(super) async fn work_workflows(connection: Connection, stop: CancellationToken) -> Result<()> {
    let worker = Worker::new(Client::on(connection), QUEUE)
        .workflow(bench_steps)
        .workflow(bench_fan_out)
        .workflow(bench_signalled)
        .workflow(bench_sleeper);
    say_ready();
    worker.run_until(stop).await?;
    Ok(())
}

/// A worker that has the activity.
pub(super) async fn work_activities(connection: Connection, stop: CancellationToken) -> Result<()> {
    let worker = Worker::new(Client::on(connection), QUEUE)
        .activity(bench_step)
        .max_concurrent_activities(MAX_ACTIVITIES);
    say_ready();
    worker.run_until(stop).await?;
    Ok(())
}
