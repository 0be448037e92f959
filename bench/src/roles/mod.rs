//! The processes that are measured. Each says when it is ready, and ends when its standard input does:
//! nothing is left behind when the process that started it dies.

mod bare_activities;
mod bare_workflows;
mod workflows;

use std::io::Read as _;

use anyhow::Result;
use stepwell_connection::ConnectionOptions;
use stepwell_orchestrator::Options;
use stepwell_shared::ids::{Name, Namespace};
use tokio_util::sync::CancellationToken;

use crate::arguments::RoleName;
use crate::crew::READY;
use crate::floor;

/// Activities at once in one worker, SDK or not: as many as there are workflows in flight.
pub(crate) const MAX_ACTIVITIES: usize = 500;

/// The activity type.
pub(crate) const ACTIVITY: &str = "bench_step";

/// The queue of all workers.
const QUEUE: &str = "bench";

/// The queue of all workers.
pub(crate) fn queue() -> Name {
    Name::new(QUEUE).expect("a valid name")
}

/// Tells the process that started this one.
pub(crate) fn say_ready() {
    println!("{READY}");
}

/// Is a process of this role until standard input ends.
pub(crate) async fn run(role: RoleName, nats_url: &str, namespace: &Namespace) -> Result<()> {
    let stop = until_input_ends();
    let mut options = ConnectionOptions::to_url(nats_url);
    options.namespace = namespace.clone();
    let connect = || options.connect("stepwell bench");
    match role {
        RoleName::Orchestrator => {
            // Whether it works is seen by the first workflow.
            say_ready();
            let settings = Options { no_http: true, ..Options::default() };
            Ok(stepwell_orchestrator::run(&options, settings, stop).await?)
        }
        RoleName::WorkflowWorker => workflows::work_workflows(connect().await?, stop).await,
        RoleName::ActivityWorker => workflows::work_activities(connect().await?, stop).await,
        RoleName::BareWorkflowWorker => until(&stop, bare_workflows::work(connect().await?)).await,
        RoleName::BareActivityWorker => until(&stop, bare_activities::work(connect().await?)).await,
        RoleName::FloorOrchestrator => until(&stop, floor::orchestrate(connect().await?)).await,
        RoleName::FloorWorkflowWorker => until(&stop, floor::answer_workflow_tasks(connect().await?)).await,
        RoleName::FloorActivityWorker => until(&stop, floor::work_activities(connect().await?)).await,
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
