//! A small disk of its own for a test: a tmpfs, which can be full without harming anybody. Only root may
//! mount one.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::folder::Folder;

/// What is written at once to fill it.
const BLOCK: usize = 4_096;

/// A mounted tmpfs. Unmounted when it is dropped, so it must be dropped after who writes there.
#[derive(Debug)]
pub struct Tmpfs {
    at: PathBuf,
    _folder: Folder,
}

impl Tmpfs {
    /// Mounts one of so many MiB.
    ///
    /// # Errors
    /// What `mount` said.
    pub fn mount(name: &str, mib: u32) -> Result<Self, String> {
        let folder = Folder::new(name);
        let at = folder.path().join("disk");
        std::fs::create_dir(&at).map_err(|error| error.to_string())?;
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(&at)
            .output()
            .map_err(|error| error.to_string())?;
        if mount.status.success() {
            return Ok(Self { at, _folder: folder });
        }
        Err(String::from_utf8_lossy(&mount.stderr).trim().to_owned())
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Fills it to the last byte and returns the file that does it.
    ///
    /// # Panics
    /// When it is not full in the end.
    #[must_use]
    pub fn fill(&self) -> PathBuf {
        let path = self.at.join("ballast");
        let mut file = File::options().append(true).create(true).open(&path).expect("a file can be made");
        let mut size = BLOCK;
        while size > 0 {
            match file.write(&vec![b'x'; size]) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => size /= 2,
                Err(error) => panic!("the disk cannot be filled: {error}"),
            }
        }
        path
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: it goes even if somebody still has a file open there.
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.at).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.at.display());
        }
    }
}
