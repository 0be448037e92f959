//! The `stepwell` command: a development server, the orchestrator, and everything that a person or a
//! script does with runs.
//!
//! Data goes to stdout, everything else to stderr, and the exit code says what happened. It talks to the
//! orchestrator through its API and never writes to a stream itself, but for backups and what is restored from
//! them.

mod api;
mod args;
mod backup;
mod commands;
mod exit;
mod input;
mod logging;
mod output;
mod refusal;
mod show;
mod shutdown;
mod text;
mod times;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;

/// The orchestrator makes and drops many small things for each step; the system's allocator would take a
/// quarter of its time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

// One thread: what the orchestrator does for a step is little and goes through one connection, and more
// threads mostly wake each other, at a fifth more processor time per step.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::start(&cli);
    match commands::run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
