//! Where a peer keeps its data for one turn: a new folder, gone afterwards.

use anyhow::{Context as _, Result};
use tempfile::TempDir;

/// Makes the folder.
pub(crate) fn for_one_turn(peer: &str) -> Result<TempDir> {
    let prefix = format!("stepwell-bench-{peer}-");
    tempfile::Builder::new().prefix(&prefix).tempdir().context("cannot make a folder for a peer's data")
}
