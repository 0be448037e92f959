//! The processes that are measured. Each says when it is ready, and ends when its standard input does:
//! nothing is left behind when the process that started it dies.

mod bare_activities;
mod bare_workflows;

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
pub(crate) fn queue() -> Name {
    Name::new("bench").expect("a valid name")
}

/// Tells the process that started this one.
pub(crate) fn say_ready() {
    println!("{READY}");
}

/// Is a process of this role until standard input ends.
pub(crate) async fn run(role: RoleName, nats_url: &str, namespace: &Namespace) -> Result<()> {
    let shutdown = until_input_ends();
    let mut options = ConnectionOptions::to_url(nats_url);
    options.namespace = namespace.clone();
    if role == RoleName::Orchestrator {
        // Whether it works is seen by the first workflow; it stands by until then.
        say_ready();
        let orchestrator = Options { no_http: true, ..Options::default() };
        stepwell_orchestrator::run(&options, orchestrator, shutdown).await?;
        return Ok(());
    }
    tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        ended = work(role, &options) => ended,
    }
}

async fn work(role: RoleName, options: &ConnectionOptions) -> Result<()> {
    let connection = options.connect("stepwell bench").await?;
    match role {
        RoleName::Orchestrator | RoleName::WorkflowWorker | RoleName::ActivityWorker => Ok(()),
        RoleName::BareWorkflowWorker => bare_workflows::work(connection).await,
        RoleName::BareActivityWorker => bare_activities::work(connection).await,
        RoleName::FloorOrchestrator => floor::orchestrate(connection).await,
        RoleName::FloorWorkflowWorker => floor::answer_workflow_tasks(connection).await,
        RoleName::FloorActivityWorker => floor::work_activities(connection).await,
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
