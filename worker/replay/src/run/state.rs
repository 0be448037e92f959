//! The state itself, and how commands and numbers are given out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::Location;

use stepwell_shared::command::Command;
use stepwell_shared::failure::Failure;
use stepwell_shared::history::RunStarted;
use stepwell_shared::ids::{RunId, Seq, WorkflowId};
use stepwell_shared::limits::MAX_TURN_COMMANDS;
use stepwell_shared::rng::{SplitMix64, seed_from};

use super::park::{Inbox, Parked};
use super::query::Handler;
use super::step::Step;
use crate::stalled::{LastCall, Stalled};

/// How much of a turn cancellations may fill. A run may have more pending than one turn can cancel; what
/// does not fit is asked for in the turns after it, and the code has room for what it wants itself.
const MAX_CANCELLATIONS_WITHIN: usize = MAX_TURN_COMMANDS / 2;

/// Everything of a run but the code.
pub(crate) struct State {
    pub(crate) workflow_id: WorkflowId,
    pub(crate) run_id: RunId,
    /// How the run began; `None` before its first turn.
    pub(crate) started: Option<Box<RunStarted>>,
    /// The time of the first turn.
    pub(crate) started_at_ms: u64,
    /// The time that the code sees.
    pub(crate) now_ms: u64,
    /// Index of the record that the current turn becomes.
    pub(crate) index: u64,
    pub(crate) replaying: bool,
    pub(crate) phase: Phase,
    /// What the code asked for in this turn.
    pub(crate) asked: Vec<Asked>,
    /// Cancellations that did not fit into a turn; at most one for every step that may be pending.
    owed: VecDeque<Asked>,
    /// What is not settled, or settled and not yet looked at.
    pub(super) steps: BTreeMap<Seq, Step>,
    /// How many of `steps` a waker waits for.
    pub(super) awaited: usize,
    pub(super) inboxes: BTreeMap<String, Inbox>,
    pub(super) parked: BTreeMap<u64, Parked>,
    pub(super) conditions: BTreeSet<u64>,
    pub(super) next_parked: u64,
    /// The compensations that the code asked for and that are still running.
    pub(crate) compensating: Option<Seq>,
    /// Why the run is to stop, once it is.
    pub(crate) cancel: Option<Failure>,
    /// Counts what the code achieved, to see when it has come to rest.
    pub(crate) progress: u64,
    pub(crate) queries: BTreeMap<String, Handler>,
    /// What a query's handler tried to do that it may not.
    pub(super) query_violation: Option<&'static str>,
    pub(crate) last_call: Option<LastCall>,
    /// Why this turn cannot count.
    pub(crate) fault: Option<Stalled>,
    last_seq: Seq,
    random: SplitMix64,
}

/// Who may do what at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Between two turns.
    Idle,
    /// The code is being polled.
    Running,
    /// A query's handler runs.
    Querying,
    /// The code has returned, or the instance is being torn down.
    Over,
}

/// A command, and where in the code it came from.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) command: Command,
    pub(crate) at: Option<&'static Location<'static>>,
}

impl State {
    pub(crate) fn new(workflow_id: WorkflowId, run_id: RunId) -> Self {
        let random = SplitMix64::new(seed_from(run_id.as_str().as_bytes()));
        Self {
            workflow_id,
            run_id,
            started: None,
            started_at_ms: 0,
            now_ms: 0,
            index: 0,
            replaying: false,
            phase: Phase::Idle,
            asked: Vec::new(),
            owed: VecDeque::new(),
            steps: BTreeMap::new(),
            awaited: 0,
            inboxes: BTreeMap::new(),
            parked: BTreeMap::new(),
            conditions: BTreeSet::new(),
            next_parked: 0,
            compensating: None,
            cancel: None,
            progress: 0,
            queries: BTreeMap::new(),
            query_violation: None,
            last_call: None,
            fault: None,
            last_seq: 0,
            random,
        }
    }

    /// Records a command under the next number.
    pub(crate) fn ask_new(
        &mut self,
        at: Option<&'static Location<'static>>,
        command: impl FnOnce(Seq) -> Command,
    ) -> Option<Seq> {
        let seq = self.last_seq.checked_add(1)?;
        self.ask(at, command(seq))?;
        self.last_seq = seq;
        Some(seq)
    }

    /// Records a command; `None` when the turn cannot hold more of them.
    pub(crate) fn ask(&mut self, at: Option<&'static Location<'static>>, command: Command) -> Option<()> {
        // Checked here as well as at the end, so that a loop that never waits fills no memory.
        if self.asked.len() >= MAX_TURN_COMMANDS {
            self.fault.get_or_insert_with(|| too_many_commands(at));
            return None;
        }
        self.progress += 1;
        self.asked.push(Asked { command, at });
        Some(())
    }

    /// Records a cancellation, in this turn or in a later one.
    pub(super) fn ask_cancel(&mut self, at: &'static Location<'static>, command: Command) {
        if self.asked.len() < MAX_CANCELLATIONS_WITHIN {
            self.ask(Some(at), command);
        } else {
            self.owed.push_back(Asked { command, at: Some(at) });
        }
    }

    /// Begins a turn with what did not fit into those before.
    pub(super) fn ask_what_is_owed(&mut self) {
        let fits = self.owed.len().min(MAX_CANCELLATIONS_WITHIN);
        self.asked.extend(self.owed.drain(..fits));
    }

    /// The run's stream of random bits, from its beginning in the order in which the code draws.
    pub(crate) fn random(&mut self) -> &mut SplitMix64 {
        &mut self.random
    }

    /// Whether a future of Stepwell waits, so that an event can move the code on.
    pub(crate) fn waits(&self) -> bool {
        self.awaited > 0 || !self.parked.is_empty()
    }
}

/// The answer to a turn that asks for more than one record may hold.
pub(crate) fn too_many_commands(at: Option<&'static Location<'static>>) -> Stalled {
    let place = at.map(|at| format!("; the last came from {at}")).unwrap_or_default();
    Stalled::invalid(format!(
        "workflow code asked for more than {MAX_TURN_COMMANDS} things in one turn{place}, and no more are \
         allowed. Ask for them in smaller portions, for instance with ctx.map_concurrent, or hand each \
         activity more than one item"
    ))
}
