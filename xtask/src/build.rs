//! Builds programs of the workspace and says where they are.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::process::cargo;

/// The programs of some packages, by name.
pub(crate) struct Programs(HashMap<String, PathBuf>);

impl Programs {
    /// Builds programs of the workspace, as its tests have them built: of fewer packages, what they depend on would be
    /// built once more, with fewer features.
    pub(crate) fn build(programs: &[&str]) -> Result<Self> {
        eprintln!("building {}", programs.join(", "));
        let mut command = cargo();
        command.args(["build", "--workspace"]).args(programs.iter().flat_map(|program| ["--bin", program]));
        Self::built_by(command)
    }

    /// Builds the programs of one package, in release mode, with the features that it asks for and no others.
    pub(crate) fn build_to_measure(package: &str) -> Result<Self> {
        eprintln!("building {package}");
        let mut command = cargo();
        command.args(["build", "--release", "--bins", "--package", package]);
        Self::built_by(command)
    }

    /// Builds all programs of a package that is not in the workspace, in release mode.
    pub(crate) fn build_apart(manifest: &str, target: &str) -> Result<Self> {
        eprintln!("building {manifest}");
        let mut command = cargo();
        command.args([
            "build",
            "--release",
            "--bins",
            "--locked",
            "--manifest-path",
            manifest,
            "--target-dir",
            target,
        ]);
        Self::built_by(command)
    }

    fn built_by(mut command: Command) -> Result<Self> {
        command.arg("--message-format=json-render-diagnostics");
        let output = command.stderr(Stdio::inherit()).output().context("cannot run cargo build")?;
        if !output.status.success() {
            bail!("cargo build ended with {}", output.status);
        }
        let messages = String::from_utf8_lossy(&output.stdout);
        let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(Self(messages.filter_map(|message| program(&message)).collect()))
    }

    /// Where the program called `name` is.
    pub(crate) fn path(&self, name: &str) -> Result<&PathBuf> {
        self.0.get(name).ok_or_else(|| anyhow!("cargo build made no program called {name}"))
    }
}

fn program(message: &Value) -> Option<(String, PathBuf)> {
    let executable = message.get("executable")?.as_str()?;
    let name = message.get("target")?.get("name")?.as_str()?;
    Some((name.to_owned(), PathBuf::from(executable)))
}
