//! Measures Stepwell: one program that starts a nats-server on a throw-away store and itself again as
//! orchestrator, workflow worker, activity worker and as the bare loops that these are compared with.
//!
//! It never talks to a server that it did not start.

mod arguments;
mod crew;
mod driver;
mod floor;
mod payload;
mod report;
mod roles;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tokio::runtime::{Builder, Runtime};

use arguments::{Arguments, Command};

/// As in `stepwell`; the floor has it, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    match &arguments.command {
        Some(Command::Role { name, options }) => {
            // One thread, as `stepwell orchestrator` has and a worker should whose activities only wait: more of
            // them mostly wake each other.
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(roles::run(*name, options))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Soak(options)) => Runtime::new()?.block_on(driver::soak(options)),
        None => {
            Runtime::new()?.block_on(driver::run(&arguments))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
