//! One run's code, driven by its history and then by live turns.

use std::collections::VecDeque;
use std::sync::Arc;

use stepwell_shared::command::Command;
use stepwell_shared::history::{Event, Record};
use stepwell_shared::ids::{Name, RunId, WorkflowId};
use stepwell_shared::payload::Payload;

use crate::compare::compare;
use crate::definition::{CodeFuture, WorkflowCode};
use crate::error::QueryFailed;
use crate::panics;
use crate::query::lock;
use crate::run::{Phase, Shared, State};
use crate::stalled::Stalled;
use crate::turn::{TurnInput, make_turn};
use crate::wake::Driving;

/// The live code of one run.
///
/// First [`replay`](Self::replay) its records, if it has any, then make [`turn`](Self::turn)s. After a
/// [`Stalled`] the instance is of no use: drop it, and when the run is asked again make a new one from
/// history. It keeps answering with the same stall until then.
///
/// It runs user code on the calling thread: in `replay`, `turn` and `query`, and destructors when it is
/// dropped. Panics of that code do not leave it, except for a destructor that panics while another panic
/// unwinds, which aborts the process as anywhere in Rust.
///
/// See the [crate's documentation](crate) for an example and for the threads to drive it on.
pub struct Instance {
    code: WorkflowCode,
    run: Arc<Shared>,
    future: Option<CodeFuture>,
    position: u64,
    /// Index of the last record replayed.
    replayed: u64,
    /// Recorded events that no recorded turn has handed over yet.
    undelivered: VecDeque<Event>,
    live: bool,
    closed: bool,
    stalled: Option<Stalled>,
}

impl Instance {
    /// A run that has not begun.
    #[must_use]
    pub fn new(code: WorkflowCode, workflow_id: WorkflowId, run_id: RunId) -> Self {
        Self {
            code,
            run: Arc::new(Shared::new(State::new(workflow_id, run_id))),
            future: None,
            position: 0,
            replayed: 0,
            undelivered: VecDeque::new(),
            live: false,
            closed: false,
            stalled: None,
        }
    }

    /// Takes in one recorded commit. If it has a turn, the code is handed the recorded events, and what
    /// it asks for is compared with what is recorded.
    ///
    /// # Errors
    /// [`Stalled`] when the code does something else than history says, panics, waits for something
    /// foreign, or when the record cannot follow what was replayed before.
    pub fn replay(&mut self, record: &Record) -> Result<(), Stalled> {
        self.check_usable()?;
        let replayed = self.replay_checked(record);
        self.keep_stall(replayed)
    }

    /// Hands events to the code and gives what it asks for. The turn becomes record number `index`, and
    /// [`position`](Self::position) becomes `index`.
    ///
    /// `events` are the oldest that wake code and that it has not seen, as a workflow task has them;
    /// those replayed but not handed over are among them.
    ///
    /// # Errors
    /// [`Stalled`] when the code panics, waits for something foreign or cannot be asked; nothing of this
    /// turn counts then.
    pub fn turn(&mut self, events: &[Event], at_ms: u64, index: u64) -> Result<Vec<Command>, Stalled> {
        self.check_usable()?;
        self.live = true;
        self.undelivered.clear();
        let made = self.make_turn(&TurnInput { events, at_ms, index, replaying: false });
        let asked = self.keep_stall(made)?;
        self.position = index;
        Ok(asked.into_iter().map(|asked| asked.command).collect())
    }

    /// Answers a query from the state as it is, also after the run has closed. Changes nothing.
    ///
    /// # Errors
    /// [`QueryFailed`] when there is no such query (the text lists those there are), when its argument
    /// or answer does not fit, or when answering it tried to change the run.
    pub fn query(&mut self, name: &Name, argument: &Payload) -> Result<Payload, QueryFailed> {
        if let Some(stalled) = &self.stalled {
            return Err(failed(name, &format!("the run's code is stalled: {}", stalled.message)));
        }
        let _driving = Driving::enter(&self.run.root);
        let (handler, phase) = {
            let mut state = self.run.state();
            let Some(handler) = state.queries.get(name.as_str()).cloned() else {
                return Err(unknown_query(name, &state));
            };
            state.begin_query();
            (handler, std::mem::replace(&mut state.phase, Phase::Querying))
        };
        let answer = panics::catch(|| (*lock(&handler))(argument));
        let violation = {
            let mut state = self.run.state();
            state.phase = phase;
            state.end_query()
        };
        if let Some(what) = violation {
            let reason = format!("answering it tried to {what}; a query reads, it must not change the run");
            return Err(failed(name, &reason));
        }
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(reason)) => Err(failed(name, &reason)),
            Err(panic) => Err(failed(name, &format!("answering it panicked: {panic}"))),
        }
    }

    /// Index of the last record whose turn the code has answered; 0 for a run that has not begun.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether the code has returned. Queries are still answered; turns are not made any more.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.closed
    }

    fn replay_checked(&mut self, record: &Record) -> Result<(), Stalled> {
        self.check_follows(record)?;
        self.replayed = record.index;
        if self.closed {
            // Late events and what is done about compensations; the code has no part in it.
            return record.turn.as_ref().map_or(Ok(()), |_| Err(turn_after_close(record.index)));
        }
        self.undelivered.extend(record.events.iter().filter(|event| event.wakes_code()).cloned());
        let Some(turn) = &record.turn else { return Ok(()) };
        let delivered = turn.delivered as usize;
        if delivered > self.undelivered.len() {
            return Err(too_many_delivered(record.index, delivered, self.undelivered.len()));
        }
        let events: Vec<Event> = self.undelivered.drain(..delivered).collect();
        let (at_ms, index) = (record.at_ms, record.index);
        let asked = self.make_turn(&TurnInput { events: &events, at_ms, index, replaying: true })?;
        compare(record.index, &turn.commands, &asked)?;
        self.position = record.index;
        Ok(())
    }

    fn make_turn(&mut self, input: &TurnInput<'_>) -> Result<Vec<crate::run::Asked>, Stalled> {
        if self.closed {
            return Err(turn_after_close(input.index));
        }
        let output = make_turn(&self.code, &self.run, &mut self.future, input)?;
        if output.closed {
            self.closed = true;
            self.drop_code();
        }
        Ok(output.asked)
    }

    fn check_usable(&self) -> Result<(), Stalled> {
        self.stalled.clone().map_or(Ok(()), Err)
    }

    fn check_follows(&self, record: &Record) -> Result<(), Stalled> {
        let run_id = self.run.state().run_id.clone();
        let index = record.index;
        if record.run_id != run_id {
            let found = &record.run_id;
            return Err(Stalled::invalid(format!(
                "record {index} is of run {found}, and this is run {run_id}"
            )));
        }
        if self.live || index <= self.replayed {
            let before = self.replayed.max(self.position);
            return Err(Stalled::invalid(format!(
                "record {index} cannot be replayed after record {before}{}; replay a new instance from the \
                 run's first record on",
                if self.live { ", which was made live" } else { "" }
            )));
        }
        Ok(())
    }

    /// Remembers a stall, and lets go of code that will not be driven again.
    fn keep_stall<T>(&mut self, result: Result<T, Stalled>) -> Result<T, Stalled> {
        if let Err(stalled) = &result {
            self.stalled = Some(stalled.clone());
            self.tear_down();
        }
        result
    }

    fn drop_code(&mut self) {
        let _driving = Driving::enter(&self.run.root);
        self.run.state().phase = Phase::Over;
        panics::drop_quietly(self.future.take());
    }

    fn tear_down(&mut self) {
        self.drop_code();
        let _driving = Driving::enter(&self.run.root);
        self.run.tear_down();
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.tear_down();
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance")
            .field("code", &self.code)
            .field("position", &self.position)
            .field("closed", &self.closed)
            .field("stalled", &self.stalled)
            .finish_non_exhaustive()
    }
}

fn failed(name: &Name, reason: &str) -> QueryFailed {
    QueryFailed { message: format!("query `{name}`: {reason}") }
}

fn unknown_query(name: &Name, state: &State) -> QueryFailed {
    let names = state.query_names();
    let known = match (state.started.is_some(), names.is_empty()) {
        (false, _) => "the run's code has not begun, so it answers none yet".to_owned(),
        (true, true) => "the run's code answers none so far".to_owned(),
        (true, false) => format!("there are {names}"),
    };
    failed(name, &format!("there is no such query; {known}"))
}

fn turn_after_close(index: u64) -> Stalled {
    Stalled::nondeterminism(format!(
        "record {index} is another turn of the code, but the code has returned before it. Deploy the code that \
         this run started with, and the run goes on by itself"
    ))
}

fn too_many_delivered(index: u64, delivered: usize, there: usize) -> Stalled {
    Stalled::invalid(format!(
        "record {index} says that {delivered} events were handed over, and history has only {there} that \
         were not handed over before; records are missing, or the history was written by something else"
    ))
}
