//! What the demonstration shows while it works, read off the ledger.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use example_ledger::{Entry, Phase};

/// Time between two lines of progress.
const INTERVAL: Duration = Duration::from_secs(1);

/// Counts of one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    /// Attempts that ended, by process.
    finished: HashMap<u32, usize>,
    /// Attempts that began and have not ended, by process.
    in_flight: HashMap<u32, usize>,
}

impl Counts {
    /// Counts the attempts of a ledger.
    pub(crate) fn of(ledger: &[Entry]) -> Self {
        let mut counts = Self::default();
        let mut open = HashSet::new();
        for entry in ledger {
            let attempt = (&entry.run_id, &entry.step, entry.attempt);
            match entry.phase {
                Phase::Started => {
                    open.insert(attempt);
                    *counts.in_flight.entry(entry.pid).or_default() += 1;
                }
                Phase::Finished | Phase::Failed => {
                    if open.remove(&attempt) {
                        *counts.in_flight.entry(entry.pid).or_default() -= 1;
                    }
                    *counts.finished.entry(entry.pid).or_default() += 1;
                }
            }
        }
        counts
    }

    /// Attempts of one process that ended.
    pub(crate) fn finished_by(&self, pid: u32) -> usize {
        self.finished.get(&pid).copied().unwrap_or_default()
    }

    /// Attempts of one process that began and have not ended.
    pub(crate) fn in_flight_of(&self, pid: u32) -> usize {
        self.in_flight.get(&pid).copied().unwrap_or_default()
    }

    /// All attempts that ended.
    pub(crate) fn finished(&self) -> usize {
        self.finished.values().sum()
    }
}

/// Prints lines with the time since the beginning.
pub(crate) struct Progress {
    began: Instant,
    last: Instant,
    ledger: PathBuf,
}

impl Progress {
    /// Begins now.
    pub(crate) fn new(ledger: PathBuf) -> Self {
        let now = Instant::now();
        Self { began: now, last: now, ledger }
    }

    /// The counts of now; before anybody wrote, none.
    pub(crate) fn counts(&self) -> Result<Counts> {
        if !self.ledger.exists() {
            return Ok(Counts::default());
        }
        Ok(Counts::of(&example_ledger::read(&self.ledger)?))
    }

    /// Prints a line about something that happened.
    pub(crate) fn say(&mut self, text: &str) {
        println!("{:5.1} s  {text}", self.began.elapsed().as_secs_f64());
        self.last = Instant::now();
    }

    /// Prints a line about how far it is, unless there was one just now.
    pub(crate) fn tick(&mut self, closed: usize, all: usize, alive: &[u32]) -> Result<()> {
        if self.last.elapsed() >= INTERVAL {
            let counts = self.counts()?;
            let working: usize = alive.iter().map(|pid| counts.in_flight_of(*pid)).sum();
            let finished = counts.finished();
            self.say(&format!(
                "{closed} of {all} runs closed, {finished} steps executed, {working} being executed"
            ));
        }
        Ok(())
    }

    /// Time since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_in_flight_until_they_end() {
        let entry = |pid, step: &str, phase| Entry {
            at_ms: 1,
            pid,
            workflow_id: "w".into(),
            run_id: "r".into(),
            step: step.into(),
            attempt: 1,
            activity: "a".into(),
            phase,
        };
        let ledger = [
            entry(1, "1", Phase::Started),
            entry(1, "2", Phase::Started),
            entry(2, "3", Phase::Started),
            entry(1, "2", Phase::Finished),
            entry(2, "3", Phase::Failed),
        ];
        let counts = Counts::of(&ledger);
        assert_eq!((counts.in_flight_of(1), counts.in_flight_of(2)), (1, 0));
        assert_eq!((counts.finished_by(1), counts.finished_by(2), counts.finished()), (1, 1, 2));
    }
}
