//! Restate's server: one node with everything in it and its defaults, but for where it listens, that it tells
//! nobody of its use, and where asked for, that it does not sync its log to disk.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use crate::server::{Server, free_port};

/// Where it listens.
pub(crate) struct Urls {
    pub(crate) ingress: String,
    admin: String,
}

/// Starts it and waits until it is ready.
pub(crate) async fn start(binary: &Path, folder: &Path, synced: bool) -> Result<(Server, Urls)> {
    let (fabric, ingress, admin) = (free_port()?, free_port()?, free_port()?);
    let config = folder.join("restate.toml");
    std::fs::write(&config, configuration(fabric, ingress, admin, synced))?;
    let mut command = Command::new(binary);
    command.arg("--config-file").arg(config).arg("--base-dir").arg(folder.join("data"));
    command.args(["--no-logo", "--node-name", "bench"]).env("DO_NOT_TRACK", "1");
    let mut server = Server::start(command, folder)?;
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let urls = Urls { ingress: url(ingress), admin: url(admin) };
    let client = reqwest::Client::new();
    for health in [format!("{}/health", urls.admin), format!("{}/restate/health", urls.ingress)] {
        let client = &client;
        let answers = async || {
            let response = client.get(&health).send().await;
            response.is_ok_and(|response| response.status().is_success())
        };
        server.wait_until(answers).await.context("starting restate-server")?;
    }
    Ok((server, urls))
}

/// Tells it of an endpoint.
pub(crate) async fn register(urls: &Urls, endpoint: &str) -> Result<()> {
    let request = reqwest::Client::new().post(format!("{}/deployments", urls.admin));
    let response = request.json(&serde_json::json!({ "uri": endpoint })).send().await?;
    let status = response.status();
    if !status.is_success() {
        bail!("registering {endpoint}: {status}: {}", response.text().await?);
    }
    Ok(())
}

fn configuration(fabric: u16, ingress: u16, admin: u16, synced: bool) -> String {
    let unsynced = !synced;
    format!(
        r#"
cluster-name = "bench"
disable-telemetry = true
log-filter = "warn"
listen-mode = "tcp"
bind-address = "127.0.0.1:{fabric}"
advertised-address = "http://127.0.0.1:{fabric}/"

[log-server]
rocksdb-disable-wal-fsync = {unsynced}

[ingress]
bind-address = "127.0.0.1:{ingress}"

[admin]
bind-address = "127.0.0.1:{admin}"
disable-web-ui = true
"#
    )
}
