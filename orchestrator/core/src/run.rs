//! The state of one run and the only ways in which it changes: an event, or a command of its code.
//!
//! The functions here do what they are told; whether an event may follow is asked before, in
//! [`crate::legality`], and whether it should, in [`crate::decide`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use stepwell_shared::api::CompensationState;
use stepwell_shared::command::{Command, RunActivity};
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::history::{Event, RunStarted, Stall};
use stepwell_shared::ids::{RunId, Seq, StepId};
use stepwell_shared::limits::{MAX_REMEMBERED_REQUESTS, MAX_TASK_PAYLOAD_BYTES};
use stepwell_shared::message::CompensationAction;
use stepwell_shared::payload::Payload;
use stepwell_shared::summary::Status;
use stepwell_shared::task::UndoInput;

use crate::alarms::{Alarm, Alarms, CANCEL_REPEAT_MS};
use crate::effect::Effect;
use crate::step::{Step, StepState};
use crate::unwind::{Compensations, Ending, Registered, Then, Unwinding};

/// One run.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) run_id: RunId,
    pub(crate) started: Box<RunStarted>,
    pub(crate) started_at_ms: u64,
    /// Index of the last record, staged or stored.
    pub(crate) index: u64,
    /// Time of the last record.
    pub(crate) at_ms: u64,
    /// Index of the last record with a turn.
    pub(crate) turn_index: u64,
    /// What the code was handed so far; see [`crate::mark`].
    pub(crate) mark: u64,
    /// The highest number that the code has given to a command.
    pub(crate) last_seq: Seq,
    pub(crate) steps: BTreeMap<StepId, Step>,
    /// When each timer of the code is due.
    pub(crate) timers: BTreeMap<Seq, u64>,
    pub(crate) alarms: Alarms,
    /// Events for the code that were not handed over yet.
    pub(crate) undelivered: VecDeque<Event>,
    pub(crate) cancel_requested: Option<String>,
    pub(crate) timed_out: bool,
    pub(crate) stall: Option<Stall>,
    pub(crate) compensations: Compensations,
    pub(crate) unwinding: Option<Unwinding>,
    pub(crate) ended: Option<(u64, Ending)>,
    requests: BTreeSet<String>,
    requests_in_order: VecDeque<String>,
    /// Steps that were asked to end and have not ended.
    pub(crate) cancelling: BTreeSet<StepId>,
    /// When cancellations are told again; not part of the history.
    pub(crate) repeat_cancels_at_ms: Option<u64>,
}

impl Run {
    /// A run as its first event makes it.
    pub(crate) fn start(run_id: RunId, started: Box<RunStarted>, at_ms: u64) -> Self {
        let mut alarms = Alarms::default();
        if let Some(limit) = started.run_timeout_ms {
            alarms.set(at_ms.saturating_add(limit), Alarm::RunTimeout);
        }
        if let Some(limit) = started.execution_timeout_ms {
            alarms.set(at_ms.saturating_add(limit), Alarm::ExecutionTimeout);
        }
        Self {
            run_id,
            undelivered: VecDeque::from([Event::RunStarted(started.clone())]),
            started,
            started_at_ms: at_ms,
            index: 0,
            at_ms,
            turn_index: 0,
            mark: 0,
            last_seq: 0,
            steps: BTreeMap::new(),
            timers: BTreeMap::new(),
            alarms,
            cancel_requested: None,
            timed_out: false,
            stall: None,
            compensations: Compensations::default(),
            unwinding: None,
            ended: None,
            requests: BTreeSet::new(),
            requests_in_order: VecDeque::new(),
            cancelling: BTreeSet::new(),
            repeat_cancels_at_ms: None,
        }
    }

    pub(crate) fn closed(&self) -> bool {
        self.ended.is_some()
    }

    /// Whether the code has returned; what follows is compensation and closing.
    pub(crate) fn code_returned(&self) -> bool {
        let closing = self.unwinding.as_ref().is_some_and(|unwinding| match unwinding.then {
            Then::Close(_) => true,
            Then::Tell(_) => false,
        });
        self.closed() || closing
    }

    pub(crate) fn status(&self) -> Status {
        match (&self.ended, &self.unwinding) {
            (Some((_, ending)), _) => ending.status,
            (None, Some(_)) if self.compensations.failed() => Status::Stuck,
            (None, Some(_)) => Status::Compensating,
            (None, None) => Status::Running,
        }
    }

    /// Why the run is being undone, while it is.
    pub(crate) fn unwinding_failure(&self) -> Option<Failure> {
        match &self.unwinding.as_ref()?.then {
            Then::Tell(_) => None,
            Then::Close(ending) => ending.failure.clone(),
        }
    }

    pub(crate) fn remembers(&self, request_id: &str) -> bool {
        self.requests.contains(request_id)
    }

    /// The key under which a step's outside effect is recognised, whatever the attempt.
    pub(crate) fn idempotency_key(&self, step: StepId) -> String {
        format!("{}/{step}", self.run_id)
    }

    /// Takes an event that is known to be legal.
    pub(crate) fn apply_event(&mut self, event: &Event, effects: &mut Vec<Effect>) {
        let (at_ms, index) = (self.at_ms, self.index);
        match event {
            // It made the run; see `start`.
            Event::RunStarted(_) => {}
            Event::SignalReceived { request_id, .. } => self.remember(request_id.as_deref()),
            Event::CancelRequested { reason } => self.cancel_requested = Some(reason.clone()),
            Event::RunTimedOut { .. } => {
                self.timed_out = true;
                self.clear_run_timeouts();
            }
            Event::RunTerminated { reason } => {
                let failure = Failure::new(FailureKind::Terminated, reason.clone());
                self.close(
                    Ending { status: Status::Terminated, result: None, failure: Some(failure) },
                    effects,
                );
            }
            Event::AttemptFailed { step, attempt, failure, retry_at_ms, heartbeat } => {
                let Some(state) = self.steps.get_mut(step) else { return };
                state.last_failure = Some(failure.clone());
                state.heartbeat.clone_from(heartbeat);
                if *retry_at_ms > at_ms {
                    state.wait_retry(*step, attempt + 1, *retry_at_ms, &mut self.alarms);
                } else {
                    state.queue(*step, attempt + 1, at_ms, index, &mut self.alarms);
                    effects
                        .extend(state.dispatch(*step).map(|dispatch| Effect::Dispatch(Box::new(dispatch))));
                }
            }
            Event::AttemptStarted { step, .. } => {
                if let Some(state) = self.steps.get_mut(step) {
                    state.started(*step, &mut self.alarms);
                }
            }
            Event::AttemptRefused { step, .. } => {
                if let Some(state) = self.steps.get_mut(step) {
                    // A worker of the queue acknowledged the task, so this attempt needs a new number.
                    state.attempt += 1;
                    state.first_attempt += 1;
                    state.wait_worker(*step, at_ms, &mut self.alarms);
                }
            }
            Event::AttemptScheduled { step, attempt } => {
                let Some(state) = self.steps.get_mut(step) else { return };
                state.queue(*step, *attempt, at_ms, index, &mut self.alarms);
                effects.extend(state.dispatch(*step).map(|dispatch| Effect::Dispatch(Box::new(dispatch))));
            }
            Event::ActivityCompleted { seq, result, .. } => {
                self.drop_step(StepId::Action(*seq));
                if let Some(registered) = self.compensations.0.get_mut(seq) {
                    registered.output = Some(result.clone());
                }
            }
            Event::ActivityFailed { seq, failure, .. } => {
                self.give_up(StepId::Action(*seq), failure, effects);
                self.drop_step(StepId::Action(*seq));
            }
            Event::ActivityCancelled { seq } => self.drop_step(StepId::Action(*seq)),
            Event::TimerFired { seq } => self.drop_timer(*seq),
            Event::CompensationStarted { seq } => self.start_compensation(*seq, effects),
            Event::CompensationCompleted { seq } => {
                self.end_compensation(*seq, CompensationState::Completed, None);
            }
            Event::CompensationFailed { seq, failure } => {
                self.give_up(StepId::Undo(*seq), failure, effects);
                self.end_compensation(*seq, CompensationState::Failed, Some(failure.clone()));
            }
            Event::CompensationResolved { seq, action, .. } => {
                let state = match action {
                    CompensationAction::Retry => CompensationState::Registered,
                    CompensationAction::Skip => CompensationState::Skipped,
                };
                self.set_compensation(*seq, state);
            }
            Event::CompensationsFinished { .. } => self.finish_unwinding(effects),
        }
        if event.wakes_code() && !self.code_returned() && !matches!(event, Event::RunStarted(_)) {
            self.undelivered.push_back(event.clone());
        }
    }

    /// Takes a command that is known to be acceptable.
    pub(crate) fn apply_command(&mut self, command: &Command, effects: &mut Vec<Effect>) {
        if let Some(seq) = command.new_seq() {
            self.last_seq = seq;
        }
        match command {
            Command::RunActivity(activity) => self.run_activity(activity, effects),
            Command::CancelActivity { seq } => self.cancel_step(StepId::Action(*seq), effects),
            Command::StartTimer { seq, delay_ms } => {
                let due_ms = self.at_ms.saturating_add(*delay_ms);
                self.timers.insert(*seq, due_ms);
                self.alarms.set(due_ms, Alarm::Timer(*seq));
            }
            Command::CancelTimer { seq } => self.drop_timer(*seq),
            Command::RaceWon { .. } => {}
            Command::Pivot { .. } => self.compensations.release_from(0),
            Command::Compensate { seq } => {
                self.unwinding = Some(Unwinding { below: *seq, then: Then::Tell(*seq) });
                self.begin_unwinding(effects);
            }
            Command::CompleteRun { result } => {
                let ending =
                    Ending { status: Status::Completed, result: Some(result.clone()), failure: None };
                self.end_code(ending, effects);
            }
            Command::FailRun { failure } => {
                let ending = Ending { status: Status::Failed, result: None, failure: Some(failure.clone()) };
                self.end_code(ending, effects);
            }
            Command::CancelRun { failure } => {
                let status = if failure.kind == FailureKind::RunTimeout {
                    Status::TimedOut
                } else {
                    Status::Cancelled
                };
                self.end_code(Ending { status, result: None, failure: Some(failure.clone()) }, effects);
            }
        }
    }

    /// Replaces the stall and its alarm.
    pub(crate) fn set_stall(&mut self, stall: Option<Stall>) {
        if let Some(old) = &self.stall {
            self.alarms.clear(old.retry_at_ms, Alarm::Stall);
        }
        if let Some(new) = &stall {
            self.alarms.set(new.retry_at_ms, Alarm::Stall);
        }
        self.stall = stall;
    }

    fn run_activity(&mut self, activity: &RunActivity, effects: &mut Vec<Effect>) {
        if let Some(compensation) = &activity.compensation {
            self.compensations.0.insert(
                activity.seq,
                Registered {
                    action: activity.activity_type.clone(),
                    input: activity.input.clone(),
                    output: None,
                    compensation: (**compensation).clone(),
                    state: CompensationState::Registered,
                    attempts_made: 0,
                    failure: None,
                },
            );
        }
        let step = Step {
            activity_type: activity.activity_type.clone(),
            queue: activity.queue.clone(),
            input: activity.input.clone(),
            options: activity.options.clone(),
            scheduled_at_ms: self.at_ms,
            first_attempt: 1,
            attempt: 1,
            state: StepState::WaitingRetry { at_ms: self.at_ms },
            cancel_requested: false,
            heartbeat: None,
            last_failure: None,
            refusals: 0,
        };
        self.put_step(StepId::Action(activity.seq), step, effects);
    }

    fn put_step(&mut self, id: StepId, mut step: Step, effects: &mut Vec<Effect>) {
        step.arm(id, &mut self.alarms);
        step.queue(id, step.attempt, self.at_ms, self.index, &mut self.alarms);
        effects.extend(step.dispatch(id).map(|dispatch| Effect::Dispatch(Box::new(dispatch))));
        self.steps.insert(id, step);
    }

    fn drop_step(&mut self, id: StepId) {
        if let Some(step) = self.steps.remove(&id) {
            step.disarm(id, &mut self.alarms);
        }
        self.cancelling.remove(&id);
    }

    fn drop_timer(&mut self, seq: Seq) {
        if let Some(due_ms) = self.timers.remove(&seq) {
            self.alarms.clear(due_ms, Alarm::Timer(seq));
        }
    }

    /// Asks for a step's end. What is in flight is told; what waits ends with the next event.
    pub(crate) fn cancel_step(&mut self, id: StepId, effects: &mut Vec<Effect>) {
        let Some(step) = self.steps.get_mut(&id) else { return };
        if step.cancel_requested {
            return;
        }
        step.cancel_requested = true;
        self.cancelling.insert(id);
        if step.in_flight() {
            effects.push(Effect::CancelActivity { queue: step.queue.clone(), step: id });
            self.repeat_cancels_at_ms = Some(self.at_ms.saturating_add(CANCEL_REPEAT_MS));
        }
    }

    /// The orchestrator's own timeout ends a step while a worker may still be at it: tell that worker.
    fn give_up(&mut self, id: StepId, failure: &Failure, effects: &mut Vec<Effect>) {
        let by_deadline = failure.kind == FailureKind::ScheduleToClose;
        if let Some(step) = self.steps.get(&id)
            && by_deadline
            && step.in_flight()
        {
            effects.push(Effect::CancelActivity { queue: step.queue.clone(), step: id });
        }
    }

    /// The code returned: undo what is registered if it did not succeed, then close.
    fn end_code(&mut self, ending: Ending, effects: &mut Vec<Effect>) {
        self.undelivered.clear();
        for seq in self.timers.keys().copied().collect::<Vec<_>>() {
            self.drop_timer(seq);
        }
        self.clear_run_timeouts();
        let below = match &self.unwinding {
            _ if ending.status != Status::Completed => Seq::MAX,
            Some(unwinding) => unwinding.below,
            None => 0,
        };
        self.compensations.release_from(below);
        if !self.compensations.unfinished(below) {
            self.close(self.ending_after_unwinding(ending), effects);
            return;
        }
        self.unwinding = Some(Unwinding { below, then: Then::Close(ending) });
        self.begin_unwinding(effects);
    }

    /// Cancels what is in flight and is to be undone; with the code gone, everything that is in flight.
    fn begin_unwinding(&mut self, effects: &mut Vec<Effect>) {
        let Some(unwinding) = &self.unwinding else { return };
        let below = unwinding.below;
        let everything = self.code_returned();
        let actions: Vec<Seq> = self
            .steps
            .keys()
            .filter_map(|id| match id {
                StepId::Action(seq) => Some(*seq),
                StepId::Undo(_) => None,
            })
            .collect();
        for seq in actions {
            let to_undo = seq < below && self.compensations.0.contains_key(&seq);
            if everything || to_undo {
                self.cancel_step(StepId::Action(seq), effects);
            }
            if everything && !to_undo {
                self.drop_step(StepId::Action(seq));
            }
        }
    }

    fn start_compensation(&mut self, seq: Seq, effects: &mut Vec<Effect>) {
        let key = self.idempotency_key(StepId::Action(seq));
        let Some(registered) = self.compensations.0.get_mut(&seq) else { return };
        registered.state = CompensationState::Running;
        let fits = |output: &Payload| registered.input.size() + output.size() <= MAX_TASK_PAYLOAD_BYTES;
        let undo = UndoInput {
            input: registered.input.clone(),
            // What it is without is what it must cope with anyway: an action of unknown outcome.
            output: registered.output.clone().filter(fits),
            idempotency_key: key,
        };
        let attempt = registered.attempts_made + 1;
        let step = Step {
            activity_type: registered.compensation.activity_type.clone(),
            queue: registered.compensation.queue.clone(),
            input: Payload::encode(&undo).unwrap_or_default(),
            options: registered.compensation.options.clone(),
            scheduled_at_ms: self.at_ms,
            first_attempt: attempt,
            attempt,
            state: StepState::WaitingRetry { at_ms: self.at_ms },
            cancel_requested: false,
            heartbeat: None,
            last_failure: None,
            refusals: 0,
        };
        self.put_step(StepId::Undo(seq), step, effects);
    }

    fn end_compensation(&mut self, seq: Seq, state: CompensationState, failure: Option<Failure>) {
        let made = self.steps.get(&StepId::Undo(seq)).map_or(0, |step| step.attempt);
        self.drop_step(StepId::Undo(seq));
        if let Some(registered) = self.compensations.0.get_mut(&seq) {
            registered.attempts_made = made;
            registered.failure = failure;
        }
        self.set_compensation(seq, state);
    }

    fn set_compensation(&mut self, seq: Seq, state: CompensationState) {
        if let Some(registered) = self.compensations.0.get_mut(&seq) {
            registered.state = state;
        }
    }

    fn finish_unwinding(&mut self, effects: &mut Vec<Effect>) {
        let Some(unwinding) = self.unwinding.take() else { return };
        match unwinding.then {
            Then::Tell(_) => {}
            Then::Close(ending) => self.close(self.ending_after_unwinding(ending), effects),
        }
    }

    /// Whether it was undone when or before the code returned makes no difference.
    fn ending_after_unwinding(&self, mut ending: Ending) -> Ending {
        if ending.status != Status::Completed && self.compensations.any_undone() {
            ending.status = Status::Compensated;
        }
        ending
    }

    fn close(&mut self, ending: Ending, effects: &mut Vec<Effect>) {
        for id in self.steps.keys().copied().collect::<Vec<_>>() {
            self.cancel_step(id, effects);
        }
        self.steps.clear();
        self.cancelling.clear();
        self.timers.clear();
        self.alarms.clear_all();
        self.undelivered.clear();
        self.unwinding = None;
        self.stall = None;
        self.repeat_cancels_at_ms = None;
        self.ended = Some((self.at_ms, ending));
    }

    fn clear_run_timeouts(&mut self) {
        if let Some(limit) = self.started.run_timeout_ms {
            self.alarms.clear(self.started_at_ms.saturating_add(limit), Alarm::RunTimeout);
        }
        if let Some(limit) = self.started.execution_timeout_ms {
            self.alarms.clear(self.started_at_ms.saturating_add(limit), Alarm::ExecutionTimeout);
        }
    }

    fn remember(&mut self, request_id: Option<&str>) {
        let Some(request_id) = request_id else { return };
        if self.requests.insert(request_id.to_owned()) {
            self.requests_in_order.push_back(request_id.to_owned());
        }
        if self.requests_in_order.len() > MAX_REMEMBERED_REQUESTS
            && let Some(oldest) = self.requests_in_order.pop_front()
        {
            self.requests.remove(&oldest);
        }
    }
}
