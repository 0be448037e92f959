//! The ledger: one line of JSON for each thing that an activity really did, written by the activity itself,
//! outside of Stepwell. Tests compare it with what is recorded.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use stepwell::ActivityContext;

/// One line.
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
    /// The step: `7` or `undo-7`.
    pub step: String,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The activity type.
    pub activity: String,
    /// The step's idempotency key.
    pub key: String,
    /// What happened.
    pub phase: Phase,
    /// What the activity has to say.
    #[serde(default)]
    pub text: String,
}

impl Entry {
    /// What the attempt that runs with `ctx` in this process notes now.
    #[must_use]
    pub fn of(ctx: &ActivityContext, phase: Phase, text: String) -> Self {
        let info = ctx.info();
        Self {
            at_ms: now_ms(),
            pid: std::process::id(),
            workflow_id: info.workflow_id.to_string(),
            run_id: info.run_id.to_string(),
            step: info.step.to_string(),
            attempt: info.attempt,
            activity: info.activity_type.to_string(),
            key: ctx.idempotency_key().to_owned(),
            phase,
            text,
        }
    }
}

/// What an entry says of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It began.
    Started,
    /// It is about to return a result.
    Finished,
    /// It is about to return an error.
    Failed,
    /// It was told to stop and does.
    Cancelled,
}

/// Where entries are written and read; cheap to clone.
#[derive(Debug, Clone)]
pub struct Ledger {
    path: PathBuf,
    file: Arc<File>,
}

impl Ledger {
    /// The ledger in a test's folder.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(folder: &Path) -> io::Result<Self> {
        Self::open_file(&folder.join("ledger.jsonl"))
    }

    fn open_file(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { path: path.to_owned(), file: Arc::new(file) })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// When the system says no.
    pub fn write(&self, entry: &Entry) -> io::Result<()> {
        append(&self.file, entry)
    }

    /// All complete lines so far. A last line without its end belongs to a process that was killed.
    ///
    /// # Panics
    /// When a complete line is not an entry.
    #[must_use]
    pub fn read(&self) -> Vec<Entry> {
        read_lines(&self.path)
    }

    /// How often attempts of `activity` in the workflow `id` got to `phase`.
    #[must_use]
    pub fn count(&self, id: &str, activity: &str, phase: Phase) -> usize {
        let matches =
            |entry: &&Entry| entry.workflow_id == id && entry.activity == activity && entry.phase == phase;
        self.read().iter().filter(matches).count()
    }
}

/// An account book outside of Stepwell: a service that knows idempotency keys.
#[derive(Debug, Clone)]
pub struct Bank(Ledger);

/// One booking as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booking {
    /// A booking with a key that was seen before changes nothing.
    pub key: String,
    /// Whose account.
    pub account: String,
    /// How much.
    pub amount: i64,
}

impl Bank {
    /// The bank in a test's folder.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(folder: &Path) -> io::Result<Self> {
        Ledger::open_file(&folder.join("bank.jsonl")).map(Self)
    }

    /// Asks for a booking.
    ///
    /// # Errors
    /// When the system says no.
    pub fn book(&self, booking: &Booking) -> io::Result<()> {
        append(&self.0.file, booking)
    }

    /// The amount of the booking with this key; 0 when there is none.
    #[must_use]
    pub fn booked(&self, key: &str) -> i64 {
        let bookings = read_lines::<Booking>(&self.0.path);
        bookings.iter().find(|booking| booking.key == key).map_or(0, |booking| booking.amount)
    }

    /// What an account holds: every key counts once.
    ///
    /// # Panics
    /// When a key was used for two different bookings.
    #[must_use]
    pub fn balance(&self, account: &str) -> i64 {
        let mut seen = std::collections::HashMap::new();
        for booking in read_lines::<Booking>(&self.0.path) {
            if let Some(before) = seen.insert(booking.key.clone(), booking.clone()) {
                assert_eq!(before, booking, "one key stands for two bookings");
            }
        }
        seen.values().filter(|booking| booking.account == account).map(|booking| booking.amount).sum()
    }
}

/// The time, for an entry.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// One write of one line: appends of different processes do not mix.
fn append<T: Serialize>(mut file: &File, line: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(line)?;
    line.push(b'\n');
    file.write_all(&line)
}

fn read_lines<T: serde::de::DeserializeOwned>(path: &Path) -> Vec<T> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("line {line:?}: {error}"));
    complete.lines().map(parse).collect()
}
