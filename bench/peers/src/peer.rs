//! What a peer is to the driver.

use anyhow::{Context as _, Result};
use std::sync::Arc;
use stepwell_bench_measure::usage;
use tempfile::TempDir;

use crate::child::Worker;
use crate::payload::Plan;
use crate::server::Server;
use crate::tally::Count;

/// The workflows that every peer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workflow {
    /// Steps elsewhere, one after the other.
    Steps,
    /// Steps in the workflow's own process, one after the other.
    InProcess,
    /// Steps elsewhere, all at once.
    FanOut,
    /// Waits for one signal.
    Signalled,
}

/// How a peer's workflows are started.
pub(crate) trait Client: Send + Sync + 'static {
    /// Starts a workflow and waits for its end; `Signalled` gets its signal when its start is recorded.
    fn run(&self, workflow: Workflow, id: &str, plan: &Plan) -> impl Future<Output = Result<()>> + Send;
}

/// A peer's server and workers, ready to be measured.
pub(crate) struct Peer<C> {
    pub(crate) client: Arc<C>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) server: Server,
    /// Workflows in flight that it is measured with.
    pub(crate) in_flight: InFlight,
    /// Where the server's data is.
    pub(crate) folder: TempDir,
}

/// How many workflows are in flight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InFlight {
    pub(crate) steps: usize,
    pub(crate) signals: usize,
}

impl<C: Client> Peer<C> {
    /// What the workers counted since they were last asked.
    pub(crate) async fn count(&mut self) -> Result<Count> {
        let mut count = Count::default();
        for worker in &mut self.workers {
            count.add(worker.count().await?);
        }
        Ok(count)
    }

    /// Processor seconds of all processes so far, with this one.
    pub(crate) fn cpu_seconds(&self) -> Option<f64> {
        let workers = self.workers.iter().map(Worker::pid);
        let pids = workers.chain([self.server.pid(), Some(std::process::id())]);
        pids.map(|pid| usage::cpu_seconds(pid?)).sum()
    }

    /// Stops everything.
    pub(crate) async fn stop(self) -> Result<()> {
        // The server first: workers then have nothing left to wait for.
        self.server.stop().await?;
        for worker in self.workers {
            worker.stop().await?;
        }
        self.folder.close().context("cannot remove a peer's data")
    }
}
