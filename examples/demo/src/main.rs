//! The demonstration: real documents and orders on real processes that are killed on the way, and a
//! proof at the end. `cargo xtask demo` builds what it needs and runs it.

mod cluster;
mod histories;
mod processes;
mod progress;
mod proof;
mod report;
mod runs;
mod scenario;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// What the demonstration needs to know; `cargo xtask demo` fills it in.
#[derive(Debug, Parser)]
#[command(
    about = "Documents and orders run through Stepwell while processes are killed; the outcome is proved"
)]
pub(crate) struct Arguments {
    /// The program `stepwell`.
    #[arg(long, value_name = "FILE")]
    stepwell: PathBuf,
    /// The program `document-pipeline`.
    #[arg(long, value_name = "FILE")]
    document_pipeline: PathBuf,
    /// The program `order-saga`.
    #[arg(long, value_name = "FILE")]
    order_saga: PathBuf,
    /// The folder of the documents.
    #[arg(long, value_name = "DIR", default_value = "examples/document_pipeline/documents")]
    documents: PathBuf,
    /// How many orders.
    #[arg(long, default_value_t = 48, value_parser = clap::value_parser!(u16).range(8..=500))]
    orders: u16,
    /// Keep streams, logs, ledger, books and results in this folder, which must be empty or not exist.
    /// Without it they are thrown away, unless something fails.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Whichever ends first, everything that was started ends with it: it is dropped here.
    let outcome = tokio::select! {
        outcome = scenario::play(&arguments) => outcome,
        name = interrupted() => Err(anyhow::anyhow!("interrupted by {name}; everything that was started has been ended")),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the demonstration failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Resolves when somebody wants the demonstration to end.
async fn interrupted() -> &'static str {
    let ctrl_c = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "ctrl-c"
    };
    tokio::select! {
        name = ctrl_c => name,
        name = terminated() => name,
    }
}

#[cfg(unix)]
async fn terminated() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut stream) => {
            stream.recv().await;
            "SIGTERM"
        }
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminated() -> &'static str {
    std::future::pending().await
}
