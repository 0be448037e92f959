//! `demo`, `chaos`, `bench` and `soak`: build what is needed, find a server, and become the program that does the work.

use std::process::Command;

use anyhow::Result;

use crate::build::Programs;
use crate::nats_server;
use crate::peers;
use crate::process::{become_process, root};

/// Runs the demonstration.
pub(crate) fn demo(rest: Vec<String>) -> Result<()> {
    let programs = Programs::build(&["stepwell-demo", "stepwell", "document-pipeline", "order-saga"])?;
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

/// Runs the verification run.
pub(crate) fn chaos(rest: Vec<String>) -> Result<()> {
    let programs = Programs::build(&["stepwell-chaos", "stepwell-test-process"])?;
    let mut command = Command::new(programs.path("stepwell-chaos")?);
    command
        .current_dir(root())
        .env("STEPWELL_NATS_SERVER", nats_server::any()?)
        .arg("--process")
        .arg(programs.path("stepwell-test-process")?)
        .args(without_separator(rest));
    become_process(&mut command)
}

/// Runs the benchmark, or the one of the peers when `--peers` stands anywhere.
pub(crate) fn bench(peers: bool, rest: Vec<String>) -> Result<()> {
    let mut rest = without_separator(rest);
    let given = rest.len();
    rest.retain(|argument| argument != "--peers");
    if peers || rest.len() < given {
        return peers::bench(rest);
    }
    measure(rest)
}

/// Runs the benchmark's mixed load for a long time.
pub(crate) fn soak(rest: Vec<String>) -> Result<()> {
    let mut arguments = vec!["soak".to_owned()];
    arguments.extend(without_separator(rest));
    measure(arguments)
}

fn measure(arguments: Vec<String>) -> Result<()> {
    let programs = Programs::build_to_measure("stepwell-bench")?;
    let mut command = Command::new(programs.path("stepwell-bench")?);
    command.current_dir(root()).env("STEPWELL_NATS_SERVER", nats_server::any()?).args(arguments);
    become_process(&mut command)
}

/// `cargo xtask demo -- --help` and `cargo xtask demo --help-me` alike pass on what follows.
fn without_separator(mut rest: Vec<String>) -> Vec<String> {
    if rest.first().is_some_and(|first| first == "--") {
        rest.remove(0);
    }
    rest
}
