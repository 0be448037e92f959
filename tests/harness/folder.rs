//! A folder for one test: the server's store, logs, ledger, gates. Removed when the test has passed, kept
//! and named when it has not.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that goes with the test.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new, empty folder with `name` in its name.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("stepwell-test-{name}-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(path.join("gates")).expect("a folder for the test can be made");
        Self(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Lets it stay, for somebody to look at; returns where it is.
    #[must_use]
    pub fn keep(mut self) -> PathBuf {
        // What is left to be removed is nothing.
        std::mem::take(&mut self.0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("logs, ledger and store are kept in {}", self.0.display());
        } else {
            // Nobody is harmed by what is left in the system's temporary folder.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
