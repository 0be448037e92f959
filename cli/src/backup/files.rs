//! The data files of a backup: written and read in chunks, with their checksums.

use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use stepwell_connection::snapshot::{Sink, Source};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::manifest::Copy;
use crate::exit::{Exit, Failure};
use crate::text;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 128 * 1024;

/// After so many bytes of one file it is said on stderr how far it is.
const PROGRESS_BYTES: u64 = 256 * 1024 * 1024;

/// A file that is being written.
pub(crate) struct Writer {
    file: File,
    path: PathBuf,
    name: String,
    hash: Sha256,
    bytes: u64,
    told: u64,
}

impl Writer {
    /// Begins a new file, which only its owner may read: payloads and the namespace's secret are in it.
    pub(crate) async fn create(path: PathBuf, name: &str) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        options.mode(0o600);
        let file = options.open(&path).await.map_err(|error| failed("create", &path, &error))?;
        Ok(Self { file, path, name: name.to_owned(), hash: Sha256::new(), bytes: 0, told: 0 })
    }

    /// Brings everything to the disk; returns size and SHA-256.
    pub(crate) async fn finish(mut self) -> Result<(u64, String), Failure> {
        let synced = async {
            self.file.flush().await?;
            self.file.sync_all().await
        };
        synced.await.map_err(|error| failed("write", &self.path, &error))?;
        Ok((self.bytes, hexadecimal(&self.hash.finalize())))
    }
}

impl Sink for Writer {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        if self.bytes - self.told >= PROGRESS_BYTES {
            self.told = self.bytes;
            eprintln!("{}: {} so far", self.name, text::bytes(self.bytes));
        }
        let written = self.file.write_all(bytes).await;
        written.map_err(|error| format!("cannot write {}: {error}", self.path.display()))
    }
}

/// A file that is being read.
pub(crate) struct Reader {
    file: File,
    path: PathBuf,
}

impl Reader {
    pub(crate) async fn open(path: PathBuf) -> Result<Self, Failure> {
        let file = File::open(&path).await.map_err(|error| failed("open", &path, &error))?;
        Ok(Self { file, path })
    }
}

impl Source for Reader {
    async fn read(&mut self, limit: usize) -> Result<Bytes, String> {
        let mut chunk = BytesMut::with_capacity(limit.min(CHUNK_BYTES));
        let read = self.file.read_buf(&mut chunk).await;
        read.map_err(|error| format!("cannot read {}: {error}", self.path.display()))?;
        Ok(chunk.freeze())
    }
}

/// Reads a file of a backup from beginning to end, and says what is wrong with it.
pub(crate) async fn verify(directory: &Path, copy: &Copy) -> Result<(), Failure> {
    let path = directory.join(&copy.file);
    let damaged = |found: String| {
        let text =
            format!("{} is damaged: {found}; nothing was restored. Take another backup", path.display());
        Failure::new(Exit::Failure, text)
    };
    let mut file =
        File::open(&path).await.map_err(|error| damaged(format!("it cannot be opened: {error}")))?;
    let (mut hash, mut bytes) = (Sha256::new(), 0_u64);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = file.read(&mut chunk).await;
        let read = read.map_err(|error| damaged(format!("it cannot be read: {error}")))?;
        let Some(part) = chunk.get(..read).filter(|part| !part.is_empty()) else { break };
        hash.update(part);
        bytes += read as u64;
    }
    if bytes != copy.bytes {
        return Err(damaged(format!("it has {bytes} bytes and should have {}", copy.bytes)));
    }
    let found = hexadecimal(&hash.finalize());
    if found != copy.sha256 {
        return Err(damaged(format!("its SHA-256 is {found} and should be {}", copy.sha256)));
    }
    Ok(())
}

/// Makes the directory of a new backup, or takes one that is empty.
pub(crate) async fn new_directory(path: &Path) -> Result<(), Failure> {
    let mut builder = tokio::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    builder.mode(0o700);
    builder.create(path).await.map_err(|error| failed("create", path, &error))?;
    let mut entries = tokio::fs::read_dir(path).await.map_err(|error| failed("read", path, &error))?;
    let first = entries.next_entry().await.map_err(|error| failed("read", path, &error))?;
    match first {
        None => Ok(()),
        Some(_) => {
            let text = format!("{} is not empty; a backup needs a directory of its own", path.display());
            Err(Failure::new(Exit::Conflict, text))
        }
    }
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failure, format!("cannot {what} {}: {error}", path.display()))
}

fn hexadecimal(digest: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(digest.len() * 2);
    for byte in digest {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
