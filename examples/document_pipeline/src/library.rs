//! The folder that documents are read from. Names are relative and cannot lead out of it.

use std::io;
use std::path::{Component, Path, PathBuf};

use thiserror::Error;

use crate::extract::Format;

/// Largest file that is read, in bytes. Far above a book, far below what would hurt a worker.
pub const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Most documents that are listed from one folder.
const MAX_DOCUMENTS: usize = 10_000;

/// Why a document cannot be had.
#[derive(Debug, Error)]
pub enum LibraryError {
    /// The name would leave the folder.
    #[error("{name:?} is not a name inside the document folder; give a relative path without ..")]
    OutsideFolder {
        /// As given.
        name: String,
    },
    /// There is no such file.
    #[error("there is no document {name:?} in {}", folder.display())]
    NotFound {
        /// As given.
        name: String,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// Larger than allowed.
    #[error("{name:?} has {bytes} bytes; at most {MAX_FILE_BYTES} are read")]
    TooLarge {
        /// As given.
        name: String,
        /// Its size.
        bytes: u64,
    },
    /// The disk said no.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The bytes of the document called `name` in `folder`.
///
/// # Errors
/// [`LibraryError`]; only `Io` may go away by itself.
pub fn read(folder: &Path, name: &str) -> Result<Vec<u8>, LibraryError> {
    let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if name.is_empty() || !inside {
        return Err(LibraryError::OutsideFolder { name: name.to_owned() });
    }
    let path = folder.join(name);
    let failed = |source: io::Error| {
        if source.kind() == io::ErrorKind::NotFound {
            LibraryError::NotFound { name: name.to_owned(), folder: folder.to_owned() }
        } else {
            LibraryError::Io { path: path.clone(), source }
        }
    };
    let resolved = path.canonicalize().map_err(failed)?;
    if !resolved.starts_with(folder.canonicalize().map_err(failed)?) {
        return Err(LibraryError::OutsideFolder { name: name.to_owned() }); // a link that leads out
    }
    let bytes = std::fs::metadata(&resolved).map_err(failed)?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(LibraryError::TooLarge { name: name.to_owned(), bytes });
    }
    std::fs::read(&resolved).map_err(failed)
}

/// The names of the documents in `folder`, sorted: files of a known format.
///
/// # Errors
/// When the folder cannot be read.
pub fn documents(folder: &Path) -> Result<Vec<String>, LibraryError> {
    let failed = |source| LibraryError::Io { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)?.take(MAX_DOCUMENTS) {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_file() && Format::of(&name).is_ok() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("documents")
    }

    #[test]
    fn a_document_is_read_and_listed() {
        assert!(read(&folder(), "gettysburg-address.txt").unwrap().starts_with(b"The Gettysburg Address"));
        assert!(documents(&folder()).unwrap().contains(&"us-constitution.pdf".to_owned()));
    }

    #[test]
    fn names_cannot_lead_out_of_the_folder() {
        for name in ["", "/etc/passwd", "../Cargo.toml", "a/../../Cargo.toml", "./x.txt", ".."] {
            assert!(matches!(read(&folder(), name), Err(LibraryError::OutsideFolder { .. })), "{name}");
        }
    }

    #[test]
    fn a_missing_document_is_named() {
        assert!(matches!(read(&folder(), "nothing.txt"), Err(LibraryError::NotFound { .. })));
    }
}
