//! The server and the processes, ready to be measured.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context as _, Result};
use stepwell_bench_measure::usage;
use stepwell_connection::provision::{ProvisionOptions, provision};
use stepwell_connection::{Connection, ConnectionOptions};
use stepwell_shared::ids::Namespace;

use super::load::{Kind, Load};
use super::server::{Server, ServerKind};
use crate::arguments::{Arguments, RoleName, RoleOptions};
use crate::crew::Crew;
use crate::payload::Plan;
use crate::report::Places;

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

/// What is to be set up for a measurement.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) server: ServerKind,
    /// Whether the floor is measured beside it.
    pub(crate) floor: bool,
    pub(crate) orchestrators: usize,
    /// Workflows in flight.
    pub(crate) at_once: usize,
    pub(crate) queues: usize,
    pub(crate) types: usize,
    /// For how many seconds closed runs are kept, if not as usual.
    pub(crate) retention_s: Option<u64>,
    /// Where the orchestrator shows its metrics, if it does; there must be only one.
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) bare_workers: bool,
    /// Over how many streams tasks and histories are spread.
    pub(crate) shards: u32,
}

impl Setting {
    /// One of each, 500 workflows in flight, on a server as it is when nothing is said.
    pub(crate) fn usual(arguments: &Arguments) -> Self {
        Self { bare_workers: arguments.bare_workers, ..Self::default() }
    }
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            server: ServerKind::Plain,
            floor: false,
            orchestrators: 1,
            at_once: 500,
            queues: 1,
            types: 1,
            retention_s: None,
            listen: None,
            bare_workers: false,
            shards: 1,
        }
    }
}

/// Everything that is measured. Both crews work on the same server, one at a time.
pub(crate) struct Stage {
    pub(crate) real: Side,
    pub(crate) floor: Option<Side>,
    pub(crate) server: Server,
}

/// A crew and the driver's connection to its namespace.
pub(crate) struct Side {
    pub(crate) connection: Connection,
    pub(crate) crew: Crew,
}

impl Stage {
    /// Starts everything and waits until a first workflow has gone through.
    pub(crate) async fn set(setting: &Setting) -> Result<Self> {
        let server = Server::start(setting.server)?;
        let options = |namespace: &str| -> Result<RoleOptions> {
            Ok(RoleOptions {
                nats_url: server.url(),
                namespace: Namespace::new(namespace)?,
                replicas: setting.server.replicas(),
                at_once: setting.at_once,
                queues: setting.queues,
                types: setting.types,
                retention_s: setting.retention_s,
                listen: setting.listen,
            })
        };
        let mut floor = None;
        if setting.floor {
            let mut side = Side::open(options("floor")?, setting.shards).await?;
            side.crew.join(ORCHESTRATOR, RoleName::FloorOrchestrator)?;
            side.crew.join(WORKFLOW_WORKER, RoleName::FloorWorkflowWorker)?;
            side.crew.join(ACTIVITY_WORKER, RoleName::FloorActivityWorker)?;
            floor = Some(side);
        }
        let mut real = Side::open(options("bench")?, setting.shards).await?;
        for _ in 0..setting.orchestrators {
            real.crew.join(ORCHESTRATOR, RoleName::Orchestrator)?;
        }
        if setting.bare_workers {
            real.crew.join(WORKFLOW_WORKER, RoleName::BareWorkflowWorker)?;
            real.crew.join(ACTIVITY_WORKER, RoleName::BareActivityWorker)?;
        } else {
            real.crew.join(WORKFLOW_WORKER, RoleName::WorkflowWorker)?;
            real.crew.join(ACTIVITY_WORKER, RoleName::ActivityWorker)?;
        }
        let stage = Self { real, floor, server };
        // Every queue and every partition, so that what is measured finds nothing to begin with.
        stage.run_through("first", 16 * setting.queues.max(setting.types)).await?;
        Ok(stage)
    }

    /// Lets so many workflows of one step go through, at once. `prefix` begins their ids and must be new.
    pub(crate) async fn run_through(&self, prefix: &str, workflows: usize) -> Result<()> {
        let options = self.real.crew.options();
        let through = async {
            let load = Load::new(&self.real.connection, prefix).await?;
            let mut load = load.over(options.queues, options.types);
            for _ in 0..workflows {
                load.start(Kind::Steps, &Plan::activities(1)).await?;
            }
            for _ in 0..workflows {
                load.wait_for_close().await?;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(FIRST_WORKFLOW, through).await.context("the first workflows did not finish")?
    }

    /// Places and process ids of a side, with the server and this process. Several may be in one place.
    pub(crate) fn pids(&self, side: &Side) -> Vec<(&'static str, u32)> {
        let mut pids: Vec<_> = self.server.pids().into_iter().map(|pid| (SERVER, pid)).collect();
        pids.extend(side.crew.pids());
        pids.push((DRIVER, std::process::id()));
        pids
    }

    /// The most memory that the processes in each place used, in MiB.
    pub(crate) fn peak_memory(&self) -> Places {
        by_place(self.pids(&self.real).into_iter().map(|(place, pid)| (place, usage::peak_memory(pid))))
    }
}

impl Side {
    async fn open(options: RoleOptions, shards: u32) -> Result<Self> {
        let mut access = ConnectionOptions::to_url(&options.nats_url);
        access.namespace = options.namespace.clone();
        let connection = access.connect("stepwell bench driver").await?;
        // Workers want a namespace to exist, and an orchestrator needs a moment to make one.
        let replicas = options.replicas;
        let wanted = ProvisionOptions { replicas, shards: Some(shards), ..ProvisionOptions::default() };
        provision(&connection, &wanted).await?;
        Ok(Self { connection, crew: Crew::new(options) })
    }
}

/// Sums by place, in the order in which places come first; a place without a figure is left out.
pub(crate) fn by_place(figures: impl Iterator<Item = (&'static str, Option<f64>)>) -> Places {
    let mut places = Places::new();
    for (place, figure) in figures {
        let Some(figure) = figure else { continue };
        match places.iter_mut().find(|(other, _)| *other == place) {
            Some((_, sum)) => *sum += figure,
            None => places.push((place, figure)),
        }
    }
    places
}

/// An address of this machine at which nobody listens now.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
