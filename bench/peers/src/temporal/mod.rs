//! Temporal: its development server on a SQLite file, one worker of its SDK with workflows and activities (so
//! that the SDK may start an activity where its workflow is, without a round trip), and its client.

pub(crate) mod worker;

mod client;
mod server;

use anyhow::{Context as _, Result};

use crate::arguments::{Options, RoleName};
use crate::child::Worker;
use crate::folder;
use crate::peer::{InFlight, Peer};
use client::Workflows;

/// Workflows in flight: fewer than of the others, since this server makes about a hundred steps a second.
const IN_FLIGHT: InFlight = InFlight { steps: 50, signals: 50 };

/// Starts everything; `synced` at each transaction, or at checkpoints.
pub(crate) async fn start(options: &Options, synced: bool) -> Result<Peer<Workflows>> {
    let folder = folder::for_one_turn("temporal")?;
    let binary = options.temporal.as_ref().context("--temporal is missing")?;
    let (server, url) = server::start(binary, folder.path(), synced).await?;
    let client = Workflows::connect(&url).await?.into();
    let worker = Worker::start(RoleName::TemporalWorker, Some(&url)).await?;
    Ok(Peer { client, workers: vec![worker], server, in_flight: IN_FLIGHT, folder })
}
