//! Measures Restate and Temporal beside Stepwell: one program that starts the peers' servers on throw-away
//! folders and itself again as their workers, and has Stepwell's own benchmark run in turn with them.
//!
//! It never talks to a server that it did not start, and stops nothing else.

mod arguments;
mod child;
mod folder;
mod load;
mod measure;
mod payload;
mod peer;
mod report;
mod restate;
mod rounds;
mod server;
mod stepwell;
mod tally;
mod temporal;

use anyhow::{Result, bail};
use clap::Parser;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use arguments::{Arguments, Command, RoleName};

/// As in Stepwell's processes; the peers' workers have it, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "error".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match arguments.command {
        Some(Command::Role { name, url }) => {
            // One thread, as Stepwell's workers have.
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(role(name, url))
        }
        None => Runtime::new()?.block_on(async {
            let mut terminated = signal(SignalKind::terminate())?;
            // What was started is stopped when its future is dropped.
            tokio::select! {
                done = rounds::run(&arguments.options) => done,
                _ = tokio::signal::ctrl_c() => bail!("interrupted"),
                _ = terminated.recv() => bail!("terminated"),
            }
        }),
    }
}

async fn role(name: RoleName, url: Option<String>) -> Result<()> {
    match name {
        RoleName::RestateSteps => restate::services::serve_steps().await,
        RoleName::RestateWorkflows => restate::services::serve_workflows().await,
        RoleName::TemporalWorker => temporal::worker::work(url.as_deref().unwrap_or_default()).await,
    }
}
