//! An orchestrator in miniature: it records every turn, and makes each of them twice, once with the live
//! code and once with code that is replayed from the records so far.

use std::future::Future;

use futures_util::FutureExt;
use serde::Serialize;
use stepwell_shared::command::Command;
use stepwell_shared::encoding::VERSION;
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::history::{Event, Record, RunStarted, StallKind, Turn};
use stepwell_shared::ids::{Name, RunId, Seq, WorkflowId};
use stepwell_shared::payload::Payload;
use stepwell_worker_replay::{
    Activity, ActivityDefaults, Instance, Query, QueryFailed, Stalled, Undo, WorkflowCode, WorkflowContext,
    WorkflowError, secs,
};

/// An activity that doubles a number.
pub(crate) struct Double;

impl Activity for Double {
    type Input = u64;
    type Output = u64;
    const NAME: &'static str = "double";

    fn options() -> ActivityDefaults {
        ActivityDefaults::start_to_close(secs(10))
    }
}

/// What undoes it, on a queue of its own.
pub(crate) struct Halve;

impl Activity for Halve {
    type Input = Undo<u64, u64>;
    type Output = ();
    const NAME: &'static str = "halve";

    fn options() -> ActivityDefaults {
        ActivityDefaults { queue: Some("undoing"), ..ActivityDefaults::start_to_close(secs(20)) }
    }
}

/// Code without input.
pub(crate) fn code<F, Fut, R>(body: F) -> WorkflowCode
where
    F: Fn(WorkflowContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, WorkflowError>> + Send + 'static,
    R: Serialize,
{
    WorkflowCode::from_fn("test", move |ctx, _| {
        let result = body(ctx);
        async move { Ok(Payload::encode(&result.await?)?) }.boxed()
    })
}

pub(crate) struct Run {
    code: WorkflowCode,
    pub(crate) instance: Instance,
    pub(crate) records: Vec<Record>,
    at_ms: u64,
}

impl Run {
    /// A run that was started and has made its first turn.
    pub(crate) fn start(code: &WorkflowCode) -> (Self, Vec<String>) {
        let mut run = Self::new(code);
        let shown = run.turn([started()]);
        (run, shown)
    }

    /// A run that has recorded nothing.
    pub(crate) fn new(code: &WorkflowCode) -> Self {
        Self { code: code.clone(), instance: instance(code), records: Vec::new(), at_ms: 1_000_000 }
    }

    /// A turn that must succeed; what the code asked for, in short form.
    #[track_caller]
    pub(crate) fn turn(&mut self, events: impl IntoIterator<Item = Event>) -> Vec<String> {
        show(&self.try_turn(events).unwrap_or_else(|stalled| panic!("{:?}: {stalled}", stalled.kind)))
    }

    /// A turn, live and with code that was just replayed: both must answer the same.
    #[track_caller]
    pub(crate) fn try_turn(
        &mut self,
        events: impl IntoIterator<Item = Event>,
    ) -> Result<Vec<Command>, Stalled> {
        let events: Vec<Event> = events.into_iter().collect();
        self.at_ms += 1_000;
        let (at_ms, index) = (self.at_ms, self.records.len() as u64 + 1);
        let mut replayed = self.replayed();
        let live = self.instance.turn(&events, at_ms, index);
        let again = replayed.turn(&events, at_ms, index);
        assert_eq!(live, again, "a replayed run answers otherwise than the live one");
        let commands = live?;
        assert_eq!((self.instance.position(), replayed.position()), (index, index));
        assert_eq!(self.instance.closed(), commands.last().is_some_and(Command::closes));
        let delivered = events.len() as u32;
        self.records.push(record(index, at_ms, events, Some((commands.clone(), delivered))));
        Ok(commands)
    }

    /// Fresh code, replayed up to now.
    #[track_caller]
    pub(crate) fn replayed(&self) -> Instance {
        let mut instance = instance(&self.code);
        for record in &self.records {
            instance.replay(record).unwrap_or_else(|stalled| panic!("{:?}: {stalled}", stalled.kind));
        }
        instance
    }

    /// Replays the records with other code.
    pub(crate) fn replay_with(&self, code: &WorkflowCode) -> Result<(), Stalled> {
        let mut instance = instance(code);
        self.records.iter().try_for_each(|record| instance.replay(record))
    }

    /// A query, asked of the live and of the replayed code.
    #[track_caller]
    pub(crate) fn query<A: Serialize, R>(
        &mut self,
        query: Query<A, R>,
        argument: &A,
    ) -> Result<String, QueryFailed> {
        self.query_raw(query.name(), &Payload::encode(argument).unwrap())
    }

    #[track_caller]
    pub(crate) fn query_raw(&mut self, name: &str, argument: &Payload) -> Result<String, QueryFailed> {
        let name = Name::new(name).unwrap();
        let live = self.instance.query(&name, argument);
        assert_eq!(live, self.replayed().query(&name, argument));
        live.map(|payload| payload.json().to_owned())
    }
}

pub(crate) fn instance(code: &WorkflowCode) -> Instance {
    Instance::new(code.clone(), WorkflowId::new("order 7").unwrap(), RunId::new("run-1").unwrap())
}

pub(crate) fn record(
    index: u64,
    at_ms: u64,
    events: Vec<Event>,
    turn: Option<(Vec<Command>, u32)>,
) -> Record {
    Record {
        v: VERSION,
        run_id: RunId::new("run-1").unwrap(),
        index,
        at_ms,
        through: index,
        events,
        turn: turn.map(|(commands, delivered)| Turn { commands, worker: None, delivered }),
        stall: None,
    }
}

/// The kind and text of the stall that a turn or a replay ended with.
#[track_caller]
pub(crate) fn stall<T: std::fmt::Debug>(result: Result<T, Stalled>) -> (StallKind, String) {
    let stalled = result.expect_err("a stall");
    (stalled.kind, stalled.message)
}

/// Asserts that a text holds all of these.
#[track_caller]
pub(crate) fn assert_holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

pub(crate) fn started() -> Event {
    started_with(&())
}

pub(crate) fn started_with<T: Serialize>(input: &T) -> Event {
    Event::RunStarted(Box::new(RunStarted {
        workflow_type: Name::new("test").unwrap(),
        queue: Name::new("main").unwrap(),
        input: Payload::encode(input).unwrap(),
        request_id: None,
        run_timeout_ms: None,
        execution_timeout_ms: None,
    }))
}

pub(crate) fn completed<T: Serialize>(seq: Seq, result: T) -> Event {
    Event::ActivityCompleted { seq, attempt: 1, result: Payload::encode(&result).unwrap() }
}

pub(crate) fn failed(seq: Seq, error_type: &str) -> Event {
    let failure = Failure::typed(FailureKind::Application, error_type, "it did not work");
    Event::ActivityFailed { seq, attempt: 3, failure }
}

pub(crate) fn was_cancelled(seq: Seq) -> Event {
    Event::ActivityCancelled { seq }
}

pub(crate) fn fired(seq: Seq) -> Event {
    Event::TimerFired { seq }
}

pub(crate) fn compensated(seq: Seq) -> Event {
    Event::CompensationsFinished { seq: Some(seq) }
}

pub(crate) fn signal<T: Serialize>(name: &str, value: T) -> Event {
    let payload = Payload::encode(&value).unwrap();
    Event::SignalReceived { name: Name::new(name).unwrap(), payload, request_id: None }
}

pub(crate) fn cancel() -> Event {
    Event::CancelRequested { reason: "changed my mind".into() }
}

pub(crate) fn timed_out() -> Event {
    Event::RunTimedOut { failure: Failure::new(FailureKind::RunTimeout, "took longer than 1h") }
}

/// Commands in short form: `run 1 double`, `timer 2 1000`, `complete 7`.
pub(crate) fn show(commands: &[Command]) -> Vec<String> {
    commands.iter().map(show_one).collect()
}

fn show_one(command: &Command) -> String {
    match command {
        Command::RunActivity(run) => {
            let undo = run.compensation.as_ref().map(|undo| format!(" undo {}", undo.activity_type));
            format!("run {} {}{}", run.seq, run.activity_type, undo.unwrap_or_default())
        }
        Command::CancelActivity { seq } => format!("cancel {seq}"),
        Command::StartTimer { seq, delay_ms } => format!("timer {seq} {delay_ms}"),
        Command::CancelTimer { seq } => format!("cancel_timer {seq}"),
        Command::RaceWon { seq, winner } => format!("race {seq} {winner}"),
        Command::Pivot { seq } => format!("pivot {seq}"),
        Command::Compensate { seq } => format!("compensate {seq}"),
        Command::CompleteRun { result } => format!("complete {}", result.json()),
        Command::FailRun { failure } => format!("fail {failure}"),
        Command::CancelRun { failure } => format!("cancelled {failure}"),
    }
}
