//! What the activities did, read from the ledger while they do it and as a whole when they have done.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use stepwell_shared::ids::StepId;

use super::desk::Effect;
use crate::ledger::{Entry, Phase};

/// The pieces of work that were done so far, read as the ledger grows.
#[derive(Debug)]
pub(crate) struct Done {
    path: PathBuf,
    read: u64,
    rest: Vec<u8>,
    done: BTreeSet<(String, u32)>,
}

impl Done {
    pub(crate) fn of(path: PathBuf) -> Self {
        Self { path, read: 0, rest: Vec::new(), done: BTreeSet::new() }
    }

    /// Reads what was added.
    pub(crate) fn look(&mut self) -> std::io::Result<()> {
        let mut file = std::fs::File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.read))?;
        self.read += file.read_to_end(&mut self.rest)? as u64;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let lines: Vec<u8> = self.rest.drain(..=end).collect();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let Ok(entry) = serde_json::from_slice::<Entry>(line) else { continue };
            if entry.phase == Phase::Finished && entry.activity == stepwell_simulation::code::WORK {
                self.done.extend(effect(&entry).map(|effect| (entry.workflow_id, effect.node)));
            }
        }
        Ok(())
    }

    pub(crate) fn is_done(&self, workflow_id: &str, node: u32) -> bool {
        self.done.contains(&(workflow_id.to_owned(), node))
    }
}

/// What happened to one piece of work of one run in the world outside, which recognises repeats by their key and
/// does nothing any more that was undone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// How many times it was done, repeats included.
    pub(crate) asked: u32,
    /// It is there.
    pub(crate) done: bool,
    /// How many times it was undone.
    pub(crate) undone: u32,
    pub(crate) amount: u64,
    pub(crate) keys: BTreeSet<String>,
}

/// The accounts by run and step, and the steps of each run that were undone, in order.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    pub(crate) accounts: BTreeMap<(String, u32), Account>,
    pub(crate) undone: BTreeMap<String, Vec<u32>>,
}

impl Accounts {
    pub(crate) fn of(entries: &[Entry]) -> Self {
        let mut all = Self::default();
        for entry in entries.iter().filter(|entry| entry.phase == Phase::Finished) {
            let (Ok(step), Some(effect)) = (entry.step.parse::<StepId>(), effect(entry)) else { continue };
            let account = all.accounts.entry((entry.run_id.clone(), step.seq())).or_default();
            account.amount = effect.amount;
            match step {
                StepId::Action(_) => {
                    account.asked += 1;
                    account.keys.insert(entry.key.clone());
                    account.done = account.undone == 0;
                }
                StepId::Undo(seq) => {
                    if account.undone == 0 {
                        all.undone.entry(entry.run_id.clone()).or_default().push(seq);
                    }
                    account.undone += 1;
                    account.done = false;
                }
            }
        }
        all
    }
}

fn effect(entry: &Entry) -> Option<Effect> {
    serde_json::from_str(&entry.text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(step: &str, phase: Phase) -> Entry {
        Entry {
            at_ms: 1,
            pid: 1,
            workflow_id: "w".into(),
            run_id: "r".into(),
            step: step.into(),
            attempt: 1,
            activity: if step.starts_with("undo") { "undo" } else { "work" }.into(),
            key: format!("r/{step}"),
            phase,
            text: r#"{"node":4,"amount":9}"#.into(),
        }
    }

    #[test]
    fn what_was_undone_stays_undone() {
        let entries = [
            entry("7", Phase::Started),
            entry("7", Phase::Finished),
            entry("undo-7", Phase::Finished),
            entry("7", Phase::Finished),
            entry("8", Phase::Failed),
        ];
        let all = Accounts::of(&entries);
        let keys = BTreeSet::from(["r/7".to_owned()]);
        let account = Account { asked: 2, done: false, undone: 1, amount: 9, keys };
        assert_eq!(all.accounts, BTreeMap::from([(("r".to_owned(), 7), account)]));
        assert_eq!(all.undone["r"], [7]);
    }

    #[test]
    fn lines_are_read_when_they_are_complete() {
        let folder = crate::folder::Folder::new("done");
        let path = folder.path().join("ledger.jsonl");
        let line = serde_json::to_string(&entry("7", Phase::Finished)).unwrap();
        let (first, rest) = line.split_at(20);
        std::fs::write(&path, first).unwrap();
        let mut done = Done::of(path.clone());
        done.look().unwrap();
        assert!(!done.is_done("w", 4));
        std::fs::write(&path, format!("{first}{rest}\n")).unwrap();
        done.look().unwrap();
        assert!(done.is_done("w", 4));
        assert!(!done.is_done("w", 5));
    }
}
