//! The world outside: a service that does what activities ask for. It recognises repeats by their key, and
//! refuses to do what was undone already.

use std::collections::BTreeMap;

use stepwell_shared::ids::{RunId, Seq, StepId};

use super::program::{Undo, Work};

/// What the service knows of one piece of work.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    pub(crate) node: u32,
    /// How many times an attempt got as far as asking for the effect.
    pub(crate) asked: u32,
    /// The effect is there.
    pub(crate) done: bool,
    /// How many times it was undone; repeats are recognised, so 1 at most counts.
    pub(crate) undone: u32,
    failures: u32,
    undo_transient: u32,
    undo_fatal: u32,
}

/// An attempt that began.
#[derive(Debug, Clone)]
pub(crate) struct Began {
    pub(crate) run_id: RunId,
    pub(crate) step: StepId,
    pub(crate) attempt: u32,
    pub(crate) at_ms: u64,
    /// The worker stood still for so long that the task had been handed to somebody else.
    pub(crate) stale: bool,
}

/// The service, and what it saw.
#[derive(Debug, Default)]
pub(crate) struct Service {
    pub(crate) accounts: BTreeMap<String, Account>,
    pub(crate) began: Vec<Began>,
    /// Undone work in order.
    pub(crate) undone: Vec<(RunId, Seq)>,
}

/// What the service says to an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    Done,
    TryAgain,
    Never,
}

impl Service {
    pub(crate) fn begin(&mut self, began: Began) {
        self.began.push(began);
    }

    /// An attempt asks for the effect.
    pub(crate) fn work(&mut self, key: &str, work: &Work) -> Reply {
        let account = self.accounts.entry(key.to_owned()).or_default();
        account.node = work.node;
        if work.fatal {
            return Reply::Never;
        }
        if work.endless {
            return Reply::TryAgain;
        }
        if account.failures < work.transient {
            account.failures += 1;
            return Reply::TryAgain;
        }
        account.asked += 1;
        if account.undone == 0 {
            account.done = true;
        }
        Reply::Done
    }

    /// A compensation asks for the effect to go away.
    pub(crate) fn undo(&mut self, key: &str, node: u32, undo: &Undo, run_id: &RunId, seq: Seq) -> Reply {
        let account = self.accounts.entry(key.to_owned()).or_default();
        account.node = node;
        if account.undo_transient < undo.transient {
            account.undo_transient += 1;
            return Reply::TryAgain;
        }
        if account.undo_fatal < undo.fatal {
            account.undo_fatal += 1;
            return Reply::Never;
        }
        if account.undone == 0 {
            self.undone.push((run_id.clone(), seq));
        }
        account.undone += 1;
        account.done = false;
        Reply::Done
    }
}
