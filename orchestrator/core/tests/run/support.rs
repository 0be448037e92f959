//! A workflow with its clock, its records and the effects that it wanted, and short builders for what
//! arrives and for what workflow code asks for.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use stepwell_orchestrator_core::{Arrival, Commit, Effect, Input, InvalidTurn, Ruling, Workflow};
use stepwell_shared::command::{Command, Compensation, RunActivity};
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::history::{Event, Record, RunStarted, StallKind};
use stepwell_shared::ids::{Name, RunId, Seq, WorkflowId};
use stepwell_shared::message::{CompensationAction, Outcome};
use stepwell_shared::options::ActivityOptions;
use stepwell_shared::payload::Payload;
use stepwell_shared::retry::RetryPolicy;

/// Where the clock of every test begins.
pub(crate) const BEGIN_MS: u64 = 1_000_000;

/// One workflow id and everything around it.
pub(crate) struct World {
    pub(crate) workflow: Workflow,
    pub(crate) records: Vec<Record>,
    pub(crate) now_ms: u64,
    /// The highest EVENTS sequence given out.
    pub(crate) sequence: u64,
    /// What was rejected, with the number of records when it was, and when it had been set aside.
    pub(crate) aside: BTreeMap<u64, (usize, usize)>,
    runs: u32,
    effects: VecDeque<Effect>,
}

impl World {
    /// An id of which nothing is known.
    pub(crate) fn new() -> Self {
        Self {
            workflow: Workflow::new(id()),
            records: Vec::new(),
            now_ms: BEGIN_MS,
            sequence: 0,
            aside: BTreeMap::new(),
            runs: 0,
            effects: VecDeque::new(),
        }
    }

    /// A run that was started and whose code answered its first turn with `commands`; the effects so far
    /// are forgotten.
    pub(crate) fn running(commands: impl IntoIterator<Item = Command>) -> Self {
        let mut world = Self::new();
        world.start();
        world.turn(commands);
        world.effects();
        world
    }

    /// An accepted plain start.
    #[track_caller]
    pub(crate) fn start(&mut self) -> RunId {
        match self.gets(start_input(|_| {})) {
            Input::Start { run_id, .. } => run_id,
            other => panic!("{other:?}"),
        }
    }

    /// The next sequence number for something that arrives by the EVENTS stream.
    pub(crate) fn arrival(&mut self, input: Input) -> Arrival {
        self.sequence += 1;
        Arrival { sequence: Some(self.sequence), input: self.with_own_run_id(input) }
    }

    /// Something arrives and is recorded; the ruling.
    pub(crate) fn sends(&mut self, input: Input) -> Ruling {
        let arrival = self.arrival(input);
        self.delivers(&arrival)
    }

    /// Something arrives once more, as it was.
    pub(crate) fn delivers(&mut self, arrival: &Arrival) -> Ruling {
        let ruling = self.workflow.receive(arrival, self.now_ms);
        self.settle();
        ruling
    }

    /// Something arrives that must be accepted; it, as it went in.
    #[track_caller]
    pub(crate) fn gets(&mut self, input: Input) -> Input {
        let arrival = self.arrival(input);
        let ruling = self.delivers(&arrival);
        assert!(matches!(ruling, Ruling::Accepted { .. }), "{:?}: {ruling:?}", arrival.input);
        arrival.input
    }

    /// Something arrives that must be refused with this code, and leave no record.
    #[track_caller]
    pub(crate) fn refuses(&mut self, input: Input, code: ErrorCode) -> String {
        let before = self.records.len();
        match self.sends(input) {
            Ruling::Rejected { code: found, message, .. } if found == code => {
                assert_eq!(self.records.len(), before, "a refusal left a record");
                message
            }
            other => panic!("expected {code}, got {other:?}"),
        }
    }

    /// The clock moves on and the run is woken if it wants to be, as often as it wants until then.
    pub(crate) fn sleeps(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while let Some(wake_ms) = self.workflow.next_wake().filter(|wake_ms| *wake_ms <= until) {
            self.now_ms = self.now_ms.max(wake_ms);
            self.effects.extend(self.workflow.cancellations_to_repeat(self.now_ms));
            self.workflow.receive(&Arrival { sequence: None, input: Input::Wake }, self.now_ms);
            self.settle();
            if self.workflow.next_wake() == Some(wake_ms) {
                break;
            }
        }
        self.now_ms = until;
    }

    /// Something that does not come by the EVENTS stream.
    pub(crate) fn internally(&mut self, input: Input) -> Ruling {
        self.delivers(&Arrival { sequence: None, input })
    }

    /// The code must be asked now, and answers with these commands.
    #[track_caller]
    pub(crate) fn turn(&mut self, commands: impl IntoIterator<Item = Command>) {
        self.try_turn(commands).expect("acceptable commands");
    }

    /// The code must be asked now; what becomes of its answer.
    #[track_caller]
    pub(crate) fn try_turn(
        &mut self,
        commands: impl IntoIterator<Item = Command>,
    ) -> Result<(), InvalidTurn> {
        let request = self.workflow.turn_request(self.now_ms).expect("the code is asked");
        let answered = self.workflow.answer(commands.into_iter().collect(), None, request.events.len());
        self.settle();
        answered
    }

    /// The events that the code would be handed now, by name; none when it would not be asked.
    pub(crate) fn asked(&mut self) -> Vec<&'static str> {
        let request = self.workflow.turn_request(self.now_ms);
        let names = request.iter().flat_map(|request| request.events.iter().map(Event::name)).collect();
        assert_eq!(self.workflow.seal(), None, "a question alone is no record");
        names
    }

    /// The code must be asked and cannot answer.
    #[track_caller]
    pub(crate) fn stalls(&mut self, kind: StallKind) {
        self.workflow.turn_request(self.now_ms).expect("the code is asked");
        self.workflow.stall(kind, "a reason".into(), self.now_ms);
        self.settle();
    }

    /// Records everything that is staged and that follows without anything arriving.
    pub(crate) fn settle(&mut self) {
        loop {
            self.workflow.advance(self.now_ms);
            let Some(Commit { record, effects, .. }) = self.workflow.seal() else { return };
            self.records.push(record);
            self.effects.extend(effects);
            self.check();
        }
    }

    /// The live state is the one that the records make.
    pub(crate) fn check(&self) {
        let rebuilt = rebuild(&self.records);
        assert_eq!(rebuilt.fingerprint(), self.workflow.fingerprint());
        assert_eq!(rebuilt.outstanding(), self.workflow.outstanding());
        assert_eq!(rebuilt.describe(), self.workflow.describe());
        assert_eq!(rebuilt.summary(), self.workflow.summary());
    }

    /// Takes note of effects.
    pub(crate) fn keep(&mut self, effects: Vec<Effect>) {
        self.effects.extend(effects);
    }

    /// The effects since they were asked for last, in short form.
    pub(crate) fn effects(&mut self) -> Vec<String> {
        self.effects.drain(..).map(|effect| show(&effect)).collect()
    }

    /// The same as they are.
    pub(crate) fn raw_effects(&mut self) -> Vec<Effect> {
        self.effects.drain(..).collect()
    }

    /// The names of the events of the last record.
    pub(crate) fn last_events(&self) -> Vec<&'static str> {
        self.records.last().map(|record| record.events.iter().map(Event::name).collect()).unwrap_or_default()
    }

    /// The last event that was recorded.
    pub(crate) fn last_event(&self) -> &Event {
        self.records.iter().rev().find_map(|record| record.events.last()).expect("an event")
    }

    pub(crate) fn status(&self) -> &'static str {
        self.workflow.summary().expect("a run").status.name()
    }

    pub(crate) fn run_id(&self) -> RunId {
        self.workflow.run_id().expect("a run").clone()
    }

    /// States of the compensations by action, as `1 completed`.
    pub(crate) fn compensations(&self) -> Vec<String> {
        let description = self.workflow.describe().expect("a run");
        description.compensations.iter().map(|it| format!("{} {:?}", it.seq, it.state)).collect()
    }

    fn with_own_run_id(&mut self, input: Input) -> Input {
        match input {
            Input::Start { start, .. } => {
                self.runs += 1;
                Input::Start { start, run_id: RunId::new(format!("run-{}", self.runs)).unwrap() }
            }
            Input::Report { step, attempt, outcome, run_id } if run_id.as_str() == "current" => {
                let run_id = self.workflow.run_id().cloned().unwrap_or(run_id);
                Input::Report { run_id, step, attempt, outcome }
            }
            other => other,
        }
    }
}

/// The workflow that records make.
pub(crate) fn rebuild(records: &[Record]) -> Workflow {
    let mut workflow = Workflow::new(id());
    for record in records {
        workflow.apply(record).expect("a record that was made");
    }
    workflow
}

pub(crate) fn id() -> WorkflowId {
    WorkflowId::new("order 7").unwrap()
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn payload<T: Serialize>(value: T) -> Payload {
    Payload::encode(&value).unwrap()
}

/// A start that is a little different from a plain one.
pub(crate) fn start_input(change: impl FnOnce(&mut RunStarted)) -> Input {
    let mut start = RunStarted {
        workflow_type: name("order"),
        queue: name("orders"),
        input: payload(7),
        request_id: None,
        run_timeout_ms: None,
        execution_timeout_ms: None,
    };
    change(&mut start);
    Input::Start { start: Box::new(start), run_id: RunId::new("given-later").unwrap() }
}

pub(crate) fn signal(request_id: Option<&str>) -> Input {
    Input::Signal { name: name("go"), payload: payload(1), request_id: request_id.map(str::to_owned) }
}

pub(crate) fn cancel() -> Input {
    Input::Cancel { reason: "changed my mind".into() }
}

pub(crate) fn terminate() -> Input {
    Input::Terminate { reason: "enough".into() }
}

pub(crate) fn resolve(seq: Seq, action: CompensationAction) -> Input {
    Input::Resolve { seq, action, reason: "looked at it".into() }
}

pub(crate) fn appeared(queue: &str, workflows: &[&str], activities: &[&str]) -> Input {
    let names = |texts: &[&str]| texts.iter().map(|text| name(text)).collect();
    Input::WorkerAppeared { queue: name(queue), workflows: names(workflows), activities: names(activities) }
}

/// A report on a step of the current run.
pub(crate) fn report(step: &str, attempt: u32, outcome: Outcome) -> Input {
    Input::Report { run_id: RunId::new("current").unwrap(), step: step.parse().unwrap(), attempt, outcome }
}

pub(crate) fn completed(step: &str, attempt: u32) -> Input {
    report(step, attempt, Outcome::Completed { result: payload("done") })
}

pub(crate) fn failed(step: &str, attempt: u32) -> Input {
    failed_with(step, attempt, application("Broken"))
}

pub(crate) fn failed_with(step: &str, attempt: u32, failure: Failure) -> Input {
    report(step, attempt, Outcome::Failed { failure, heartbeat: None })
}

pub(crate) fn application(error_type: &str) -> Failure {
    Failure::typed(FailureKind::Application, error_type, "it did not work")
}

pub(crate) fn lost(step: &str, attempt: u32) -> Input {
    failed_with(step, attempt, Failure::new(FailureKind::Lost, "the worker died"))
}

pub(crate) fn stopped(step: &str, attempt: u32) -> Input {
    report(step, attempt, Outcome::Cancelled {})
}

pub(crate) fn began(step: &str, attempt: u32) -> Input {
    report(step, attempt, Outcome::Started {})
}

pub(crate) fn refused(step: &str, attempt: u32) -> Input {
    report(step, attempt, Outcome::Refused { reason: "no such activity here".into() })
}

/// Options with a timeout per attempt and retries after 1 s, 2 s, 4 s … without jitter.
pub(crate) fn options() -> ActivityOptions {
    let retry = RetryPolicy { jitter: 0.0, ..RetryPolicy::default() };
    ActivityOptions { start_to_close_ms: Some(60_000), retry, ..ActivityOptions::default() }
}

/// An activity with [`options`].
pub(crate) fn run(seq: Seq) -> Command {
    run_with(seq, |_| {})
}

pub(crate) fn run_with(seq: Seq, change: impl FnOnce(&mut ActivityOptions)) -> Command {
    let mut options = options();
    change(&mut options);
    Command::RunActivity(RunActivity {
        seq,
        activity_type: name("charge"),
        queue: name("payments"),
        input: payload(seq),
        options,
        compensation: None,
    })
}

/// An activity with a compensation.
pub(crate) fn undoable(seq: Seq) -> Command {
    undoable_with(seq, |_| {})
}

/// An activity with a compensation that has options of its own.
pub(crate) fn undoable_with(seq: Seq, change: impl FnOnce(&mut ActivityOptions)) -> Command {
    let mut undo_options = options();
    change(&mut undo_options);
    let Command::RunActivity(mut activity) = run(seq) else { unreachable!("it is one") };
    activity.compensation = Some(Box::new(Compensation {
        activity_type: name("refund"),
        queue: name("refunds"),
        options: undo_options,
    }));
    Command::RunActivity(activity)
}

pub(crate) fn once(options: &mut ActivityOptions) {
    options.retry.maximum_attempts = Some(1);
}

pub(crate) fn timer(seq: Seq, delay_ms: u64) -> Command {
    Command::StartTimer { seq, delay_ms }
}

pub(crate) fn complete() -> Command {
    Command::CompleteRun { result: payload("result") }
}

pub(crate) fn fail() -> Command {
    Command::FailRun { failure: application("OutOfStock") }
}

pub(crate) fn accept_cancel() -> Command {
    Command::CancelRun { failure: Failure::new(FailureKind::Cancelled, "changed my mind") }
}

fn show(effect: &Effect) -> String {
    match effect {
        Effect::Dispatch(it) => format!("dispatch {} {} #{}", it.activity_type, it.step, it.attempt),
        Effect::CancelActivity { step, .. } => format!("cancel {step}"),
        Effect::WriteSummary(summary) => match &summary.stall {
            Some(stall) => format!("summary {} {}", summary.status.name(), stall.kind.name()),
            None => format!("summary {}", summary.status.name()),
        },
        Effect::Close(summary) => format!("close {}", summary.status.name()),
    }
}
