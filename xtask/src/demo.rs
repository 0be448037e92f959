//! `demo` and `bench`: build what is needed, find a server, and become the program that does the work.

use std::process::Command;

use anyhow::Result;

use crate::build::Programs;
use crate::nats_server;
use crate::process::{become_process, root};

/// Runs the demonstration.
pub(crate) fn demo(rest: Vec<String>) -> Result<()> {
    let packages = ["stepwell-demo", "stepwell-cli", "document-pipeline", "order-saga"];
    let programs = Programs::build(&packages, false)?;
    let mut command = Command::new(programs.path("stepwell-demo")?);
    command
        .current_dir(root())
        .env("STEPWELL_NATS_SERVER", nats_server::any()?)
        .arg("--stepwell")
        .arg(programs.path("stepwell")?)
        .arg("--document-pipeline")
        .arg(programs.path("document-pipeline")?)
        .arg("--order-saga")
        .arg(programs.path("order-saga")?)
        .args(without_separator(rest));
    become_process(&mut command)
}

/// Runs the benchmark.
pub(crate) fn bench(rest: Vec<String>) -> Result<()> {
    let programs = Programs::build(&["stepwell-bench"], true)?;
    let mut command = Command::new(programs.path("stepwell-bench")?);
    command
        .current_dir(root())
        .env("STEPWELL_NATS_SERVER", nats_server::any()?)
        .args(without_separator(rest));
    become_process(&mut command)
}

/// `cargo xtask demo -- --help` and `cargo xtask demo --help-me` alike pass on what follows.
fn without_separator(mut rest: Vec<String>) -> Vec<String> {
    if rest.first().is_some_and(|first| first == "--") {
        rest.remove(0);
    }
    rest
}
