//! Restate: its server, two endpoints of its SDK (one with the workflows, one with the step, as Stepwell has
//! a worker for each), and workflows started over HTTP.

pub(crate) mod services;

mod client;
mod server;

use anyhow::{Context as _, Result};

use crate::arguments::{Options, RoleName};
use crate::child::Worker;
use crate::folder;
use crate::peer::{InFlight, Peer};
use client::Ingress;

/// Workflows in flight.
const IN_FLIGHT: InFlight = InFlight { steps: 500, signals: 200 };

/// Starts everything; `synced` as it is delivered, or told not to sync its log.
pub(crate) async fn start(options: &Options, synced: bool) -> Result<Peer<Ingress>> {
    let folder = folder::for_one_turn("restate")?;
    let binary = options.restate_server.as_ref().context("--restate-server is missing")?;
    let (server, urls) = server::start(binary, folder.path(), synced).await?;
    let mut workers = Vec::new();
    for role in [RoleName::RestateSteps, RoleName::RestateWorkflows] {
        let worker = Worker::start(role, None).await?;
        server::register(&urls, &worker.first).await?;
        workers.push(worker);
    }
    let client = Ingress::new(urls.ingress)?.into();
    Ok(Peer { client, workers, server, in_flight: IN_FLIGHT, folder })
}
