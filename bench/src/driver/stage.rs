//! The server and the processes, ready to be measured.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context as _, Result};
use stepwell_connection::provision::{ProvisionOptions, provision};
use stepwell_connection::{Connection, ConnectionOptions};
use stepwell_nats_server::NatsServer;
use stepwell_shared::ids::Namespace;

use super::load::{Kind, Load};
use crate::arguments::{Arguments, RoleName};
use crate::crew::Crew;
use crate::payload::Plan;

/// How long the first workflow may take: the workers must announce themselves.
const FIRST_WORKFLOW: Duration = Duration::from_secs(60);

/// The place of the server in the table.
pub(crate) const SERVER: &str = "nats-server";

/// The place of the orchestrator in the table.
pub(crate) const ORCHESTRATOR: &str = "orchestrator";

/// The place of the worker with workflow code in the table.
pub(crate) const WORKFLOW_WORKER: &str = "workflow worker";

/// The place of the worker with activity code in the table.
pub(crate) const ACTIVITY_WORKER: &str = "activity worker";

/// The place of this process in the table.
pub(crate) const DRIVER: &str = "driver";

/// Everything that is measured. Both crews work on the same server, one at a time.
pub(crate) struct Stage {
    pub(crate) repetitions: usize,
    pub(crate) quick: bool,
    pub(crate) real: Side,
    pub(crate) floor: Side,
    /// Where the server tells what went through it.
    pub(crate) monitoring_port: u16,
    server: NatsServer,
}

/// A crew and the driver's connection to its namespace.
pub(crate) struct Side {
    pub(crate) connection: Connection,
    pub(crate) crew: Crew,
}

impl Stage {
    /// Starts everything and waits until a first workflow has gone through.
    pub(crate) async fn set(arguments: &Arguments) -> Result<Self> {
        let monitoring_port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let server = NatsServer::builder(stepwell_nats_server::find()?)
            .config(format!("http: \"127.0.0.1:{monitoring_port}\""))
            .start()?;
        let workers = if arguments.bare_workers {
            [RoleName::BareWorkflowWorker, RoleName::BareActivityWorker]
        } else {
            [RoleName::WorkflowWorker, RoleName::ActivityWorker]
        };
        let floor = Side::start(
            &server,
            "floor",
            [RoleName::FloorOrchestrator, RoleName::FloorWorkflowWorker, RoleName::FloorActivityWorker],
        )
        .await?;
        let real = Side::start(&server, "bench", [RoleName::Orchestrator, workers[0], workers[1]]).await?;
        let first = async {
            let mut load = Load::new(&real.connection, "first").await?;
            load.start(Kind::Steps, &Plan::activities(1)).await?;
            load.wait_for_close().await
        };
        tokio::time::timeout(FIRST_WORKFLOW, first).await.context("the first workflow did not finish")??;
        Ok(Self {
            repetitions: arguments.repetitions(),
            quick: arguments.quick,
            real,
            floor,
            monitoring_port,
            server,
        })
    }

    /// Places and process ids of a side, with the server and this process.
    pub(crate) fn pids(&self, side: &Side) -> Vec<(&'static str, u32)> {
        let mut pids: Vec<_> = self.server.pid().map(|pid| (SERVER, pid)).into_iter().collect();
        pids.extend(side.crew.pids());
        pids.push((DRIVER, std::process::id()));
        pids
    }

    /// The most memory that each process used.
    pub(crate) fn peak_memory(&self) -> Vec<(&'static str, Option<f64>)> {
        let pids = self.pids(&self.real);
        pids.into_iter().map(|(place, pid)| (place, crate::usage::peak_memory(pid))).collect()
    }
}

impl Side {
    async fn start(server: &NatsServer, namespace: &str, roles: [RoleName; 3]) -> Result<Self> {
        let namespace = Namespace::new(namespace)?;
        let mut options = ConnectionOptions::to_url(&server.url());
        options.namespace = namespace.clone();
        let connection = options.connect("stepwell bench driver").await?;
        // Workers want a namespace to exist, and an orchestrator needs a moment to make one.
        provision(&connection, &ProvisionOptions::default()).await?;
        let crew = Crew::start(
            &server.url(),
            &namespace,
            &[(ORCHESTRATOR, roles[0]), (WORKFLOW_WORKER, roles[1]), (ACTIVITY_WORKER, roles[2])],
        )?;
        Ok(Self { connection, crew })
    }
}
