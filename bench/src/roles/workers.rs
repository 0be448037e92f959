//! Workers of the SDK with the benchmark's code, one for each queue in one process.

use anyhow::Result;
use stepwell::prelude::*;
use stepwell_connection::Connection;
use tokio_util::sync::CancellationToken;

use super::workflows::{
    bench_fan_out, bench_flake, bench_flaky, bench_long, bench_signalled, bench_sleeper, bench_sleeper_until,
    bench_stamp, bench_step, bench_steps, bench_traced, steps_called,
};
use super::{queue, say_ready, steps_type};
use crate::arguments::RoleOptions;

/// Runs in memory of a worker when few are in flight: the SDK's default.
const FEWEST_CACHED: usize = 1_000;

/// Workers that have the workflows.
pub(super) async fn work_workflows(
    connection: Connection,
    options: &RoleOptions,
    stop: CancellationToken,
) -> Result<()> {
    let client = Client::on(connection);
    // A run that has ended stays for a moment; there must be room for all that are in flight beside it.
    let cached = (options.at_once * 2).max(FEWEST_CACHED);
    let workers = (0..options.queues).map(|number| {
        let worker = Worker::new(client.clone(), queue(number).to_string())
            .max_cached_workflows(cached)
            .workflow(bench_steps)
            .workflow(bench_traced)
            .workflow(bench_fan_out)
            .workflow(bench_signalled)
            .workflow(bench_long)
            .workflow(bench_sleeper)
            .workflow(bench_sleeper_until)
            .workflow(bench_flaky);
        (1..options.types)
            .fold(worker, |worker, number| worker.workflow_code(steps_called(&steps_type(number))))
    });
    run_all(workers, &stop).await
}

/// Workers that have the activities.
pub(super) async fn work_activities(
    connection: Connection,
    options: &RoleOptions,
    stop: CancellationToken,
) -> Result<()> {
    let client = Client::on(connection);
    let workers = (0..options.queues).map(|number| {
        Worker::new(client.clone(), queue(number).to_string())
            .activity(bench_step)
            .activity(bench_stamp)
            .activity(bench_flake)
            .max_concurrent_activities(options.at_once)
    });
    run_all(workers, &stop).await
}

async fn run_all(workers: impl Iterator<Item = Worker>, stop: &CancellationToken) -> Result<()> {
    let running = workers.map(|worker| worker.run_until(stop.clone()));
    let running = futures_util::future::try_join_all(running);
    say_ready();
    running.await?;
    Ok(())
}
