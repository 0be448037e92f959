//! A workflow id with its current run, and the record that is being made for it.

use std::collections::BTreeSet;

use stepwell_shared::command::Command;
use stepwell_shared::encoding::VERSION;
use stepwell_shared::failure::recorded_text;
use stepwell_shared::history::{Event, Record, RunStarted, Stall, StallKind, Turn};
use stepwell_shared::ids::{Name, RunId, StepId, WorkerId, WorkflowId};
use stepwell_shared::limits::MAX_RECORD_EVENT_BYTES;
use stepwell_shared::summary::{RunSummary, Status};

use crate::alarms::CANCEL_REPEAT_MS;
use crate::effect::{Dispatch, Effect};
use crate::error::{IllegalRecord, InvalidTurn};
use crate::input::{Arrival, Input, Ruling};
use crate::run::Run;
use crate::turn::{self, TurnRequest};
use crate::{decide, legality, mark, size};

/// First wait before stalled code is asked again, in milliseconds; it doubles with each failure.
const STALL_WAIT_MS: u64 = 1_000;

/// The longest such wait. Each try is a record; a worker that appears ends the wait at once.
const STALL_WAIT_MAX_MS: u64 = 600_000;

/// A workflow id with its current run.
#[derive(Debug, Clone)]
pub struct Workflow {
    id: WorkflowId,
    run: Option<Run>,
    /// The highest EVENTS sequence that was seen here.
    seen: u64,
    draft: Option<Draft>,
    ask_again: bool,
    /// What the last summary that was written said.
    summarised: Option<(RunId, Status, Option<StallKind>)>,
}

/// A record that is ready to be stored, and what may be done once it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// The record.
    pub record: Record,
    /// What may be done once it is stored.
    pub effects: Vec<Effect>,
    /// Whether the code was asked in vain. A record that only repeats an earlier stall has one, too.
    pub stalled: bool,
}

#[derive(Debug, Clone, Default)]
struct Draft {
    /// The time of the record before.
    before_ms: u64,
    events: Vec<Event>,
    /// How many bytes the events take at most.
    event_bytes: usize,
    turn: Option<Turn>,
    stall: Option<Stall>,
    effects: Vec<Effect>,
}

impl Workflow {
    /// A workflow id of which nothing is known.
    #[must_use]
    pub fn new(id: WorkflowId) -> Self {
        Self { id, run: None, seen: 0, draft: None, ask_again: false, summarised: None }
    }

    /// The workflow id.
    #[must_use]
    pub fn id(&self) -> &WorkflowId {
        &self.id
    }

    /// The current run's id.
    #[must_use]
    pub fn run_id(&self) -> Option<&RunId> {
        self.run.as_ref().map(|run| &run.run_id)
    }

    /// Whether there is no open run: nothing happens here until somebody starts one.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.run.as_ref().is_none_or(Run::closed)
    }

    /// Takes a stored record: the way a workflow is rebuilt.
    ///
    /// # Errors
    /// [`IllegalRecord`] when the record cannot follow the ones before; the workflow is then of no use.
    pub fn apply(&mut self, record: &Record) -> Result<(), IllegalRecord> {
        self.try_apply(record).map_err(|reason| IllegalRecord {
            run_id: record.run_id.to_string(),
            index: record.index,
            reason,
        })?;
        self.summarised = self.summary_mark();
        Ok(())
    }

    /// Takes what arrived at `now_ms` (milliseconds since 1970) and stages what follows from it.
    ///
    /// No record covers what was rejected until [`Workflow::set_aside`] says so: after a crash it is ruled on
    /// again. Nothing that arrived later may be taken in before that.
    pub fn receive(&mut self, arrival: &Arrival, now_ms: u64) -> Ruling {
        if arrival.sequence.is_some_and(|sequence| sequence <= self.seen) {
            return self.redelivered(&arrival.input);
        }
        let ruling = self.rule(arrival, now_ms);
        if !ruling.is_rejection() {
            self.seen = arrival.sequence.unwrap_or(self.seen);
        }
        ruling
    }

    /// What was rejected has been set aside; records cover it from now on.
    pub fn set_aside(&mut self, sequence: u64) {
        self.seen = self.seen.max(sequence);
    }

    fn rule(&mut self, arrival: &Arrival, now_ms: u64) -> Ruling {
        // All of a record happens at one time: that at which it was begun.
        let at_ms = self.record_time(now_ms);
        match self.follow(&arrival.input, at_ms, now_ms) {
            Err(ruling) => ruling,
            Ok(events) if events.is_empty() => Ruling::Ignored,
            Ok(events) => {
                for event in events {
                    self.stage(event, at_ms);
                }
                match self.run_id() {
                    Some(run_id) => Ruling::Accepted { run_id: run_id.clone() },
                    None => Ruling::Ignored,
                }
            }
        }
    }

    /// Whether what is staged must be stored before `input` can be taken: a record belongs to one run, and
    /// it has room for so many bytes.
    #[must_use]
    pub fn must_seal_before(&self, input: &Input) -> bool {
        let Some(draft) = &self.draft else { return false };
        let full = draft.event_bytes >= MAX_RECORD_EVENT_BYTES;
        full || (matches!(input, Input::Start { .. }) && self.idle())
    }

    /// Stages what follows without anything arriving, such as the next compensation.
    pub fn advance(&mut self, now_ms: u64) {
        // After a turn the record is full: its events came before the turn, these come after it.
        if self.draft.as_ref().is_some_and(|draft| draft.turn.is_some()) {
            return;
        }
        while let Some(event) = self.run.as_ref().and_then(decide::next_consequence) {
            self.stage(event, now_ms);
        }
    }

    /// What workflow code is to be asked now, if it is to be asked.
    pub fn turn_request(&mut self, now_ms: u64) -> Option<TurnRequest> {
        let run = self.run.as_ref()?;
        let held = run.stall.is_some() && !self.ask_again;
        let turn_taken = self.draft.as_ref().is_some_and(|draft| draft.turn.is_some());
        if run.code_returned() || run.undelivered.is_empty() || held || turn_taken {
            return None;
        }
        self.open_draft(now_ms);
        let run = self.run.as_ref()?;
        let events = turn::events_for_turn(run);
        Some(TurnRequest {
            after: run.turn_index,
            mark: mark::text(run.mark),
            next_mark: mark::text(mark::after_turn(run.mark, run.index, run.at_ms, events.iter())),
            index: run.index,
            at_ms: run.at_ms,
            events,
            workflow_type: run.started.workflow_type.clone(),
            queue: run.started.queue.clone(),
        })
    }

    /// Stages the code's answer to the last [`TurnRequest`], of which `delivered` events were handed over.
    ///
    /// # Errors
    /// [`InvalidTurn`] when the commands cannot be carried out; nothing was staged, and the caller calls
    /// [`Workflow::stall`].
    pub fn answer(
        &mut self,
        mut commands: Vec<Command>,
        worker: Option<WorkerId>,
        delivered: usize,
    ) -> Result<(), InvalidTurn> {
        let (Some(run), Some(draft)) = (self.run.as_mut(), self.draft.as_mut()) else {
            return Err(InvalidTurn { position: 0, reason: "nobody asked the code".into() });
        };
        turn::check(run, &commands, delivered)?;
        turn::fit(&mut commands)?;
        let turn = Turn { commands, worker, delivered: u32::try_from(delivered).unwrap_or(u32::MAX) };
        apply_turn(run, &turn, &mut draft.effects);
        run.set_stall(None);
        draft.turn = Some(turn);
        self.ask_again = false;
        Ok(())
    }

    /// Stages that the code could not answer.
    pub fn stall(&mut self, kind: StallKind, message: String, now_ms: u64) {
        self.open_draft(now_ms);
        self.ask_again = false;
        let (Some(run), Some(draft)) = (self.run.as_mut(), self.draft.as_mut()) else { return };
        let failures = run.stall.as_ref().map_or(0, |stall| stall.failures).saturating_add(1);
        let wait = STALL_WAIT_MS.saturating_mul(1 << failures.min(20)).min(STALL_WAIT_MAX_MS);
        let retry_at_ms = run.at_ms.max(now_ms).saturating_add(wait);
        let stall = Stall { kind, message: recorded_text(&message), retry_at_ms, failures };
        run.set_stall(Some(stall.clone()));
        draft.stall = Some(stall);
    }

    /// Turns what is staged into a record and its effects; `None` when nothing is staged.
    pub fn seal(&mut self) -> Option<Commit> {
        let mut draft = self.draft.take()?;
        let run = self.run.as_mut()?;
        if draft.events.is_empty() && draft.turn.is_none() && draft.stall.is_none() {
            run.index -= 1;
            run.at_ms = draft.before_ms;
            return None;
        }
        let stalled = draft.stall.is_some();
        // Events without a turn leave the stall as it is; it is repeated so that the record says it.
        if !stalled {
            draft.stall.clone_from(&run.stall);
        }
        let record = Record {
            v: VERSION,
            run_id: run.run_id.clone(),
            index: run.index,
            at_ms: run.at_ms,
            through: self.seen,
            events: draft.events,
            turn: draft.turn,
            stall: draft.stall,
        };
        let mut effects = live_effects(run, draft.effects);
        let mark = self.summary_mark();
        if mark != self.summarised {
            self.summarised = mark;
            effects.extend(self.summary_effect());
        }
        Some(Commit { record, effects, stalled })
    }

    /// Every effect that the run wants and that is not known to have ended. After a crash the shell
    /// carries out those that it cannot find done.
    #[must_use]
    pub fn outstanding(&self) -> Vec<Effect> {
        let Some(run) = &self.run else { return Vec::new() };
        let mut effects: Vec<Effect> = run
            .steps
            .iter()
            .filter_map(|(id, step)| step.dispatch(*id))
            .map(|dispatch| Effect::Dispatch(Box::new(dispatch)))
            .collect();
        effects.extend(cancellations(run));
        effects.extend(self.summary_effect());
        effects
    }

    /// When [`Input::Wake`] is wanted, in milliseconds since 1970. It may come late, or in vain.
    #[must_use]
    pub fn next_wake(&self) -> Option<u64> {
        let run = self.run.as_ref()?;
        match (run.alarms.next(), run.repeat_cancels_at_ms) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (Some(only), None) | (None, Some(only)) => Some(only),
            (None, None) => None,
        }
    }

    /// The same as far as the history tells it, so that it can be compared with what somebody else knows: when
    /// cancellations are told again is never recorded, so it counts as any time.
    #[must_use]
    pub fn next_recorded_wake(&self) -> Option<u64> {
        let run = self.run.as_ref()?;
        run.alarms.next().or(run.repeat_cancels_at_ms.map(|_| u64::MAX))
    }

    /// Why the run cannot go on, if it cannot, and the queue where a worker could change that.
    #[must_use]
    pub fn stalled(&self) -> Option<&Stall> {
        self.run.as_ref()?.stall.as_ref()
    }

    /// The queues where the run waits for a worker to appear: for its code, or for that of a step.
    #[must_use]
    pub fn waits_for_workers_on(&self) -> BTreeSet<Name> {
        let Some(run) = &self.run else { return BTreeSet::new() };
        let mut queues: BTreeSet<_> = run
            .steps
            .values()
            .filter(|step| step.refusals > 0 && !step.in_flight())
            .map(|step| step.queue.clone())
            .collect();
        if run.stall.is_some() {
            queues.insert(run.started.queue.clone());
        }
        queues
    }

    /// The activity type and the queue of a step that is not finished.
    #[must_use]
    pub fn step_names(&self, step: StepId) -> Option<(Name, Name)> {
        let step = self.run.as_ref()?.steps.get(&step)?;
        Some((step.activity_type.clone(), step.queue.clone()))
    }

    /// The run's start, for those who need its type or queue.
    #[must_use]
    pub fn started(&self) -> Option<&RunStarted> {
        self.run.as_ref().map(|run| &*run.started)
    }

    /// When the run started, in milliseconds since 1970.
    #[must_use]
    pub fn started_at_ms(&self) -> Option<u64> {
        self.run.as_ref().map(|run| run.started_at_ms)
    }

    /// Which of the turns that may have been made for [`Workflow::turn_index`] the code must have made.
    #[must_use]
    pub fn turn_mark(&self) -> String {
        mark::text(self.run.as_ref().map_or(0, |run| run.mark))
    }

    /// Up to which sequence of the EVENTS stream the records have taken in what came for this workflow.
    #[must_use]
    pub fn through(&self) -> u64 {
        self.seen
    }

    /// Index of the last record whose turn the code has answered; where a query is answered.
    #[must_use]
    pub fn turn_index(&self) -> u64 {
        self.run.as_ref().map_or(0, |run| run.turn_index)
    }

    pub(crate) fn run(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    fn record_time(&self, now_ms: u64) -> u64 {
        match (&self.run, &self.draft) {
            (Some(run), Some(_)) => run.at_ms,
            (Some(run), None) => run.at_ms.max(now_ms),
            (None, _) => now_ms,
        }
    }

    fn follow(&mut self, input: &Input, at_ms: u64, now_ms: u64) -> Result<Vec<Event>, Ruling> {
        let run = self.run.as_ref();
        match input {
            Input::Start { start, run_id } => {
                decide::start(run, start)?;
                self.run = Some(Run::start(run_id.clone(), start.clone(), at_ms));
                self.ask_again = false;
                Ok(vec![Event::RunStarted(start.clone())])
            }
            Input::Signal { name, payload, request_id } => {
                decide::signal(run, name, payload, request_id.as_deref()).map(|event| vec![event])
            }
            Input::Cancel { reason } => decide::cancel(run, reason).map(|event| vec![event]),
            Input::Terminate { reason } => decide::terminate(run, reason).map(|event| vec![event]),
            Input::Report { run_id, step, attempt, outcome } => {
                decide::report(run, run_id, *step, *attempt, outcome, at_ms).map(|event| vec![event])
            }
            Input::Resolve { seq, action, reason } => {
                decide::resolve(run, *seq, *action, reason).map(|event| vec![event])
            }
            Input::Wake => Ok(self.woken(at_ms, now_ms)),
            Input::WorkerAppeared { queue, workflows, activities } => {
                let Some(run) = run.filter(|run| !run.closed()) else { return Ok(Vec::new()) };
                if run.started.queue == *queue && workflows.contains(&run.started.workflow_type) {
                    self.ask_again = true;
                }
                Ok(decide::worker_appeared(run, queue, activities))
            }
        }
    }

    fn woken(&mut self, at_ms: u64, now_ms: u64) -> Vec<Event> {
        let Some(run) = self.run.as_mut().filter(|run| !run.closed()) else { return Vec::new() };
        if run.stall.as_ref().is_some_and(|stall| stall.retry_at_ms <= at_ms) {
            self.ask_again = true;
        }
        let events = decide::alarms(run, at_ms);
        if run.repeat_cancels_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            let told = cancellations(run);
            run.repeat_cancels_at_ms = (!told.is_empty()).then(|| now_ms.saturating_add(CANCEL_REPEAT_MS));
        }
        events
    }

    /// The cancellations that are to be told again at `now_ms`; they need no record. Asked before
    /// [`Input::Wake`] is given.
    #[must_use]
    pub fn cancellations_to_repeat(&self, now_ms: u64) -> Vec<Effect> {
        let Some(run) = &self.run else { return Vec::new() };
        if run.repeat_cancels_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            return cancellations(run);
        }
        Vec::new()
    }

    /// A delivery of something that was handled before: only what the sender may still wait for is said.
    fn redelivered(&self, input: &Input) -> Ruling {
        let Some(run) = &self.run else { return Ruling::Ignored };
        let duplicate = Ruling::Duplicate { run_id: run.run_id.clone() };
        match input {
            Input::Start { start, .. }
                if start.request_id.is_some() && start.request_id == run.started.request_id =>
            {
                duplicate
            }
            Input::Signal { request_id: Some(request_id), .. } if run.remembers(request_id) => duplicate,
            Input::Start { .. }
            | Input::Signal { .. }
            | Input::Cancel { .. }
            | Input::Terminate { .. }
            | Input::Report { .. }
            | Input::Resolve { .. }
            | Input::Wake
            | Input::WorkerAppeared { .. } => Ruling::Ignored,
        }
    }

    fn open_draft(&mut self, now_ms: u64) {
        if self.draft.is_some() {
            return;
        }
        if let Some(run) = self.run.as_mut() {
            self.draft = Some(Draft { before_ms: run.at_ms, ..Draft::default() });
            run.index += 1;
            run.at_ms = run.at_ms.max(now_ms);
        }
    }

    fn stage(&mut self, event: Event, now_ms: u64) {
        self.open_draft(now_ms);
        let (Some(run), Some(draft)) = (self.run.as_mut(), self.draft.as_mut()) else { return };
        let starts = matches!(event, Event::RunStarted(_));
        // Two arrivals of one batch may exclude each other (an alarm and the report it waited for); the
        // later one then changes nothing.
        if starts || legality::check(run, &event).is_ok() {
            run.apply_event(&event, &mut draft.effects);
            draft.event_bytes += size::of_event(&event);
            draft.events.push(event);
        }
    }

    fn try_apply(&mut self, record: &Record) -> Result<(), String> {
        let mut effects = Vec::new();
        let mut events = record.events.as_slice();
        if let Some((Event::RunStarted(start), rest)) = events.split_first() {
            if self.run.as_ref().is_some_and(|run| !run.closed()) {
                return Err("it starts a run while another one is open".into());
            }
            self.run = Some(Run::start(record.run_id.clone(), start.clone(), record.at_ms));
            events = rest;
        }
        let run = self.run.as_mut().ok_or("the first record of a workflow does not start a run")?;
        if run.closed() {
            return Err("the run is closed".into());
        }
        if run.run_id != record.run_id {
            return Err(format!("run {} is open", run.run_id));
        }
        if record.index != run.index + 1 {
            return Err(format!("record {} is the last one", run.index));
        }
        if record.at_ms < run.at_ms || record.through < self.seen {
            return Err("its time or its place in the EVENTS stream lies before the last record's".into());
        }
        run.index = record.index;
        run.at_ms = record.at_ms;
        self.seen = record.through;
        for event in events {
            legality::check(run, event)?;
            run.apply_event(event, &mut effects);
        }
        if let Some(turn) = &record.turn {
            if run.code_returned() {
                return Err("it has a turn after the code returned".into());
            }
            turn::check(run, &turn.commands, turn.delivered as usize).map_err(|error| error.to_string())?;
            apply_turn(run, turn, &mut effects);
        }
        if !run.closed() {
            run.set_stall(record.stall.clone());
        }
        Ok(())
    }

    fn summary_mark(&self) -> Option<(RunId, Status, Option<StallKind>)> {
        let run = self.run.as_ref()?;
        Some((run.run_id.clone(), run.status(), run.stall.as_ref().map(|stall| stall.kind)))
    }

    fn summary_effect(&self) -> Option<Effect> {
        let summary: Box<RunSummary> = Box::new(self.summary()?);
        Some(if self.idle() { Effect::Close(summary) } else { Effect::WriteSummary(summary) })
    }
}

fn apply_turn(run: &mut Run, turn: &Turn, effects: &mut Vec<Effect>) {
    let delivered = (turn.delivered as usize).min(run.undelivered.len());
    run.mark = mark::after_turn(run.mark, run.index, run.at_ms, run.undelivered.iter().take(delivered));
    run.undelivered.drain(..delivered);
    run.turn_index = run.index;
    for command in &turn.commands {
        run.apply_command(command, effects);
    }
}

/// An attempt that was wanted and given up within one record is not dispatched at all.
fn live_effects(run: &Run, effects: Vec<Effect>) -> Vec<Effect> {
    let wanted = |dispatch: &Dispatch| {
        run.steps.get(&dispatch.step).is_some_and(|step| step.attempt == dispatch.attempt && step.in_flight())
    };
    effects
        .into_iter()
        .filter(|effect| match effect {
            Effect::Dispatch(dispatch) => wanted(dispatch),
            Effect::CancelActivity { .. } | Effect::WriteSummary(_) | Effect::Close(_) => true,
        })
        .collect()
}

fn cancellations(run: &Run) -> Vec<Effect> {
    let in_flight = run.cancelling.iter().filter_map(|id| run.steps.get(id).map(|step| (id, step)));
    in_flight
        .filter(|(_, step)| step.in_flight())
        .map(|(id, step)| Effect::CancelActivity { queue: step.queue.clone(), step: *id })
        .collect()
}
