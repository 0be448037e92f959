//! A peer's server: a child process on loopback that writes its log into its folder. It is killed when it is
//! dropped; its data is thrown away anyhow.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::process::{Child, Command};

/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(90);

/// How long to wait between two questions whether it answers.
const PAUSE: Duration = Duration::from_millis(50);

/// How much of the log is shown when it does not start, in bytes.
const SHOWN: usize = 4_000;

/// A running server.
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it; it may not be ready yet.
    pub(crate) fn start(mut command: Command, folder: &Path) -> Result<Self> {
        let log = folder.join("server.log");
        let file = File::create(&log)?;
        command.current_dir(folder).stdin(std::process::Stdio::null());
        command.stdout(file.try_clone()?).stderr(file).kill_on_drop(true);
        let program = Path::new(command.as_std().get_program()).display().to_string();
        let child = command.spawn().with_context(|| format!("cannot run {program}"))?;
        Ok(Self { child, log })
    }

    /// Waits until `answers`.
    pub(crate) async fn wait_until(&mut self, mut answers: impl AsyncFnMut() -> bool) -> Result<()> {
        let waiting = async {
            while !answers().await {
                if let Some(status) = self.child.try_wait()? {
                    bail!("the server ended with {status}");
                }
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        };
        let waited = tokio::time::timeout(START, waiting).await.context("the server does not answer");
        waited.flatten().with_context(|| format!("its log ends with:\n{}", self.end_of_log()))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Stops it.
    pub(crate) async fn stop(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    fn end_of_log(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(SHOWN)..]).into_owned()
    }
}

/// A port of loopback that nothing listens on.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
