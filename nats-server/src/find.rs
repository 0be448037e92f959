//! Where the `nats-server` binary is.

use std::env;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Names the binary, before anything else is looked at.
const VARIABLE: &str = "STEPWELL_NATS_SERVER";

/// The binary's name in a directory.
const BINARY: &str = if cfg!(windows) { "nats-server.exe" } else { "nats-server" };

/// No `nats-server` was found.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotFound {
    /// The variable names something that is not a file.
    #[error("STEPWELL_NATS_SERVER is {0}, which is not a file; point it at a nats-server binary")]
    Variable(PathBuf),
    /// It is in none of the places.
    #[error(
        "no nats-server found: STEPWELL_NATS_SERVER is not set and there is none on PATH{also}; \
         install nats-server 2.12 or newer (https://nats.io/download) or set STEPWELL_NATS_SERVER to its path"
    )]
    Nowhere {
        /// Other places that were looked at, for the message.
        also: String,
    },
}

/// The binary that `STEPWELL_NATS_SERVER` names, or the first one on `PATH`.
///
/// # Errors
/// [`NotFound`] says where it was looked for.
pub fn find() -> Result<PathBuf, NotFound> {
    find_among(None)
}

/// As [`find`], and then `<root>/.nats-server/nats-server`, where a repository may keep one.
///
/// # Errors
/// [`NotFound`] says where it was looked for.
pub fn find_in(root: &Path) -> Result<PathBuf, NotFound> {
    find_among(Some(root))
}

fn find_among(root: Option<&Path>) -> Result<PathBuf, NotFound> {
    if let Some(path) = env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        return if path.is_file() { Ok(path) } else { Err(NotFound::Variable(path)) };
    }
    let mut folders: Vec<PathBuf> =
        env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    let own = root.map(|root| root.join(".nats-server"));
    folders.extend(own.clone());
    folders.into_iter().map(|folder| folder.join(BINARY)).find(|path| path.is_file()).ok_or_else(|| {
        NotFound::Nowhere { also: own.map_or_else(String::new, |own| format!(" or in {}", own.display())) }
    })
}
