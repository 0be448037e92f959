//! The processes that are measured. Each says when it is ready, and ends when its standard input does:
//! nothing is left behind when the process that started it dies.

mod bare_activities;
mod bare_workflows;
mod workers;
mod workflows;

use std::io::Read as _;
use std::time::Duration;

use anyhow::Result;
use stepwell_connection::ConnectionOptions;
use stepwell_orchestrator::Options;
use stepwell_shared::ids::Name;
use tokio_util::sync::CancellationToken;

use crate::arguments::{RoleName, RoleOptions};
use crate::crew::READY;
use crate::floor;

/// The activity type.
pub(crate) const ACTIVITY: &str = "bench_step";

/// A queue of the workers, by its number.
pub(crate) fn queue(number: usize) -> Name {
    let name = if number == 0 { "bench".to_owned() } else { format!("bench-{number}") };
    Name::new(name).expect("a valid name")
}

/// A name under which workers have the workflow of sequential steps, by its number.
pub(crate) fn steps_type(number: usize) -> String {
    if number == 0 { "bench_steps".to_owned() } else { format!("bench_steps_{number}") }
}

/// Tells the process that started this one.
pub(crate) fn say_ready() {
    println!("{READY}");
}

/// Is a process of this role until standard input ends.
pub(crate) async fn run(role: RoleName, options: &RoleOptions) -> Result<()> {
    let stop = until_input_ends();
    let mut connection = ConnectionOptions::to_url(&options.nats_url);
    connection.namespace = options.namespace.clone();
    let connect = || connection.connect("stepwell bench");
    match role {
        RoleName::Orchestrator => {
            // Whether it works is seen by the first workflow.
            say_ready();
            let mut settings = Options { replicas: options.replicas, ..Options::default() };
            if let Some(seconds) = options.retention_s {
                settings.retention = Duration::from_secs(seconds);
            }
            match options.listen {
                Some(listen) => settings.listen = listen,
                None => settings.no_http = true,
            }
            Ok(stepwell_orchestrator::run(&connection, settings, stop).await?)
        }
        RoleName::WorkflowWorker => workers::work_workflows(connect().await?, options, stop).await,
        RoleName::ActivityWorker => workers::work_activities(connect().await?, options, stop).await,
        RoleName::BareWorkflowWorker => until(&stop, bare_workflows::work(connect().await?)).await,
        RoleName::BareActivityWorker => {
            until(&stop, bare_activities::work(connect().await?, options.at_once)).await
        }
        RoleName::FloorOrchestrator => {
            until(&stop, floor::orchestrate(connect().await?, options.replicas)).await
        }
        RoleName::FloorWorkflowWorker => until(&stop, floor::answer_workflow_tasks(connect().await?)).await,
        RoleName::FloorActivityWorker => {
            until(&stop, floor::work_activities(connect().await?, options.at_once)).await
        }
    }
}

async fn until(stop: &CancellationToken, work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = work => ended,
    }
}

fn until_input_ends() -> CancellationToken {
    let shutdown = CancellationToken::new();
    let ended = shutdown.clone();
    std::thread::spawn(move || {
        let mut rest = Vec::new();
        let _ = std::io::stdin().read_to_end(&mut rest);
        ended.cancel();
    });
    shutdown
}
