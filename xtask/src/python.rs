//! A Python environment of the repository's own, in `.python/` (ignored by git): it installs private
//! copies of nats-server and holds what the Python example needs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};

use crate::process::{output, root, run};

/// The client that the Python example uses.
const NATS_PY: &str = "nats-py==2.16.0";

/// A Python that can install packages.
pub(crate) struct Python {
    interpreter: PathBuf,
    /// Where packages lie when there is no virtual environment.
    packages: Option<PathBuf>,
}

impl Python {
    /// The repository's own environment, made when it is not there; without `venv`, the system's Python
    /// with packages in a folder.
    pub(crate) fn ready() -> Result<Self> {
        let folder = root().join(".python");
        let interpreter = folder.join("bin/python3");
        if works(&interpreter) {
            return Ok(Self { interpreter, packages: None });
        }
        let system = system_python()?;
        let made = run(Command::new(&system).args(["-m", "venv", "--clear"]).arg(&folder));
        if made.is_ok() && works(&interpreter) {
            return Ok(Self { interpreter, packages: None });
        }
        output(Command::new(&system).args(["-m", "pip", "--version"])).with_context(|| {
            format!(
                "{} can make no virtual environment and has no pip; install one of them \
                 (Debian: `apt-get install python3-venv`)",
                system.display()
            )
        })?;
        let packages = root().join(".python-packages");
        Ok(Self { interpreter: system, packages: Some(packages) })
    }

    /// Installs exactly `requirement` into `folder`, which gets `bin/` and the packages.
    pub(crate) fn install_into(&self, requirement: &str, folder: &Path) -> Result<()> {
        let mut pip = self.pip();
        run(pip.args(["install", "--no-deps", "--target"]).arg(folder).arg(requirement))
    }

    /// Installs what the Python example needs, if it is not there yet; returns the environment variables
    /// with which tests find it.
    pub(crate) fn with_nats(&self) -> Result<Vec<(&'static str, PathBuf)>> {
        let mut variables = vec![("STEPWELL_PYTHON", self.interpreter.clone())];
        variables.extend(self.packages.iter().map(|packages| ("PYTHONPATH", packages.clone())));
        let mut check = Command::new(&self.interpreter);
        check.args(["-c", "import nats"]).envs(variables.iter().map(|(name, value)| (name, value)));
        if output(&mut check).is_err() {
            let mut pip = self.pip();
            pip.arg("install");
            if let Some(packages) = &self.packages {
                pip.arg("--target").arg(packages);
            }
            run(pip.arg(NATS_PY))?;
        }
        Ok(variables)
    }

    fn pip(&self) -> Command {
        let mut pip = Command::new(&self.interpreter);
        pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]);
        pip
    }
}

fn works(interpreter: &Path) -> bool {
    interpreter.is_file() && output(Command::new(interpreter).args(["-m", "pip", "--version"])).is_ok()
}

fn system_python() -> Result<PathBuf> {
    let found = ["python3", "python"].into_iter().find(|name| {
        let version = output(Command::new(name).arg("--version"));
        version.is_ok_and(|version| version.starts_with("Python 3"))
    });
    found.map(PathBuf::from).ok_or_else(|| anyhow!("there is no Python 3 on PATH"))
}
