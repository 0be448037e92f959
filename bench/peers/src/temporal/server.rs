//! Temporal's development server: a SQLite file with a write-ahead log, no console, and no questions to others
//! about new versions.

use std::path::Path;

use anyhow::{Context as _, Result};
use tokio::process::Command;

use super::client::Workflows;
use crate::server::{Server, free_port};

/// Starts it and waits until it is ready; returns its address, too.
pub(crate) async fn start(binary: &Path, folder: &Path, synced: bool) -> Result<(Server, String)> {
    let port = free_port()?;
    let synchronous = if synced { "FULL" } else { "NORMAL" };
    let mut command = Command::new(binary);
    command.args(["server", "start-dev", "--headless", "--ip", "127.0.0.1"]);
    command.args(["--port", &port.to_string(), "--log-level", "error", "--disable-config-file"]);
    command.args(["--db-filename", "temporal.db", "--sqlite-pragma", "journal_mode=WAL"]);
    command.args(["--sqlite-pragma", &format!("synchronous={synchronous}")]);
    command.env("TEMPORAL_VERSION_CHECK_DISABLED", "1").env("DO_NOT_TRACK", "1");
    let mut server = Server::start(command, folder)?;
    let url = format!("http://127.0.0.1:{port}");
    let answers = async || Workflows::connect(&url).await.is_ok();
    server.wait_until(answers).await.context("starting Temporal's development server")?;
    Ok((server, url))
}
