//! Gates: an activity waits at one until the test opens it, over process boundaries, so that a test can do
//! something while the activity runs without guessing how long that takes.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Pause between two looks at a gate.
const PAUSE: Duration = Duration::from_millis(5);

/// The gates of one test, all closed at first.
#[derive(Debug, Clone)]
pub struct Gates(PathBuf);

impl Gates {
    /// The gates in a test's folder.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        Self(folder.join("gates"))
    }

    /// Opens a gate for good.
    ///
    /// # Panics
    /// When it cannot be marked as open.
    pub fn open(&self, name: &str) {
        std::fs::write(self.0.join(name), b"").expect("a gate can be opened");
    }

    /// Whether it is open.
    #[must_use]
    pub fn is_open(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }

    /// Waits until it is open.
    pub async fn pass(&self, name: &str) {
        while !self.is_open(name) {
            tokio::time::sleep(PAUSE).await;
        }
    }
}
