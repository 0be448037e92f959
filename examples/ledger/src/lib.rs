//! The ledger of the examples: one line of JSON in a file for each thing that an activity really did,
//! written by the activity itself, outside of Stepwell. It is what a demonstration or a test compares
//! with the recorded history. It never reads a history and never decides anything.

use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use stepwell::prelude::{ActivityContext, ActivityError};
use thiserror::Error;

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The process that wrote it.
    pub pid: u32,
    /// The workflow that the step belongs to.
    pub workflow_id: String,
    /// The run that the step belongs to.
    pub run_id: String,
    /// The step, as Stepwell writes it: `7` or `undo-7`.
    pub step: String,
    /// Which attempt of the step, from 1.
    pub attempt: u32,
    /// The activity type.
    pub activity: String,
    /// What happened.
    pub phase: Phase,
}

/// What an entry says of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It began.
    Started,
    /// It did its work and is about to return the result.
    Finished,
    /// It is about to return an error.
    Failed,
}

/// Where activities write; cheap to clone. Without a file it writes nothing.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Option<Arc<File>>);

/// Why the ledger cannot be opened or read.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// The system said no.
    #[error("cannot open the ledger {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line that is none of ours. The last line may be cut off by a kill; others may not.
    #[error("line {line} of the ledger {} cannot be read: {source}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
}

impl Ledger {
    /// Opens `path` for appending, or nothing when there is none.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: Option<&Path>) -> Result<Self, LedgerError> {
        let Some(path) = path else { return Ok(Self(None)) };
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|source| LedgerError::Io { path: path.to_owned(), source })?;
        Ok(Self(Some(Arc::new(file))))
    }

    /// Does `work` as one attempt of the activity that `ctx` belongs to, with an entry before and after.
    /// Work that is cancelled or killed has no entry after it.
    ///
    /// # Errors
    /// What `work` fails with, or `LedgerUnwritable`: without its entry an attempt proves nothing.
    pub async fn around<T>(
        &self,
        ctx: &ActivityContext,
        work: impl Future<Output = Result<T, ActivityError>>,
    ) -> Result<T, ActivityError> {
        self.write(ctx, Phase::Started)?;
        let outcome = work.await;
        self.write(ctx, if outcome.is_ok() { Phase::Finished } else { Phase::Failed })?;
        outcome
    }

    fn write(&self, ctx: &ActivityContext, phase: Phase) -> Result<(), ActivityError> {
        let Some(file) = &self.0 else { return Ok(()) };
        let info = ctx.info();
        let entry = Entry {
            at_ms: now_ms(),
            pid: std::process::id(),
            workflow_id: info.workflow_id.to_string(),
            run_id: info.run_id.to_string(),
            step: info.step.to_string(),
            attempt: info.attempt,
            activity: info.activity_type.to_string(),
            phase,
        };
        append(file, &entry).map_err(|error| ActivityError::new("LedgerUnwritable", error.to_string()))
    }
}

/// The entries of the ledger at `path`, oldest first. A last line without its end was being written
/// when its process was killed, and is left out.
///
/// # Errors
/// When the file cannot be read, or a complete line is not an entry.
pub fn read(path: &Path) -> Result<Vec<Entry>, LedgerError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|source| LedgerError::Io { path: path.to_owned(), source })?;
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    let entries = complete.lines().enumerate().map(|(at, line)| {
        serde_json::from_str(line).map_err(|source| LedgerError::Line {
            path: path.to_owned(),
            line: at + 1,
            source,
        })
    });
    entries.collect()
}

/// One write of one line: appends of different processes do not mix.
fn append(mut file: &File, entry: &Entry) -> io::Result<()> {
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    file.write_all(&line)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(attempt: u32) -> Entry {
        Entry {
            at_ms: 1,
            pid: 2,
            workflow_id: "w".into(),
            run_id: "r".into(),
            step: "undo-3".into(),
            attempt,
            activity: "a".into(),
            phase: Phase::Started,
        }
    }

    #[test]
    fn what_is_appended_is_read_and_a_torn_end_is_left_out() {
        let path = std::env::temp_dir().join(format!("stepwell-ledger-{}.jsonl", std::process::id()));
        let ledger = Ledger::open(Some(&path)).unwrap();
        let file = ledger.0.as_ref().unwrap();
        append(file, &entry(1)).unwrap();
        append(file, &entry(2)).unwrap();
        (&**file).write_all(b"{\"at_ms\": 1, \"pi").unwrap();
        let read = read(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read.unwrap(), [entry(1), entry(2)]);
    }

    #[test]
    fn a_complete_line_that_is_no_entry_is_an_error() {
        let path = std::env::temp_dir().join(format!("stepwell-ledger-bad-{}.jsonl", std::process::id()));
        std::fs::write(&path, "{}\n").unwrap();
        let read = read(&path);
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(read, Err(LedgerError::Line { line: 1, .. })), "{read:?}");
    }
}
