//! What the outside knows: every request with what became of it, every workflow that was asked for, every signal.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::Value;
use stepwell::Status;

use super::plan::Plan;
use crate::ledger::now_ms;

/// Most refusals that are kept word for word.
const MAX_TEXTS: usize = 50;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was confirmed.
    Ok,
    /// It was refused.
    Fail,
    /// Nobody said; it is repeated.
    Unknown,
}

/// How many requests of one kind came to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Operations {
    /// Confirmed.
    pub ok: u64,
    /// Refused.
    pub fail: u64,
    /// Of unknown outcome; each of them was repeated.
    pub unknown: u64,
}

/// A workflow that was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) plan: Plan,
    /// The run, once it was confirmed.
    pub(crate) run_id: Option<String>,
    /// How it ended, as the client was told.
    pub(crate) closed: Option<(Status, Option<Value>)>,
    /// It was ended or cancelled on a whim, and perhaps not in vain.
    pub(crate) disturbed: bool,
}

/// A signal that was sent.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) workflow_id: String,
    pub(crate) uid: u64,
    /// It is stored or refused; nothing is sent any more.
    pub(crate) settled: bool,
    /// What the orchestrator said of it, if it was asked.
    pub(crate) accepted: Option<bool>,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Book(Mutex<Pages>);

#[derive(Debug, Default)]
pub(crate) struct Pages {
    pub(crate) operations: BTreeMap<&'static str, Operations>,
    pub(crate) asked: BTreeMap<String, Asked>,
    pub(crate) signals: Vec<Sent>,
    /// What was refused, word for word.
    pub(crate) refusals: Vec<String>,
    /// What cannot be right.
    pub(crate) findings: Vec<String>,
    pub(crate) last_start_ms: u64,
}

impl Book {
    pub(crate) fn open(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn operation(&self, kind: &'static str, outcome: Outcome) {
        let mut pages = self.open();
        let count = pages.operations.entry(kind).or_default();
        match outcome {
            Outcome::Ok => count.ok += 1,
            Outcome::Fail => count.fail += 1,
            Outcome::Unknown => count.unknown += 1,
        }
    }

    pub(crate) fn refused(&self, kind: &'static str, why: String) {
        self.operation(kind, Outcome::Fail);
        let mut pages = self.open();
        if pages.refusals.len() < MAX_TEXTS {
            pages.refusals.push(format!("{kind}: {why}"));
        }
    }

    pub(crate) fn finding(&self, text: String) {
        self.open().findings.push(text);
    }

    pub(crate) fn ask(&self, plan: &Plan) {
        let asked = Asked { plan: plan.clone(), run_id: None, closed: None, disturbed: false };
        let mut pages = self.open();
        pages.last_start_ms = now_ms();
        pages.asked.insert(plan.id.clone(), asked);
    }

    pub(crate) fn change(&self, id: &str, change: impl FnOnce(&mut Asked)) {
        if let Some(asked) = self.open().asked.get_mut(id) {
            change(asked);
        }
    }

    /// Those that were asked for and are not known to be closed.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        let pages = self.open();
        let open = pages.asked.values().filter(|asked| asked.closed.is_none());
        open.map(|asked| asked.plan.id.clone()).collect()
    }
}
