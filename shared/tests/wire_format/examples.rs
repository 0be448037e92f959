//! One value of everything that crosses the wire, with every optional field filled in.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use stepwell_shared::announce::Announcement;
use stepwell_shared::api::{
    ApiAnswer, ApiError, AttemptAnswer, AttemptRequest, CompensationRequest, CompensationState,
    CompensationView, Description, HistoryAnswer, ListAnswer, ListRequest, PendingActivity, PendingTimer,
    QueryAnswer, QueryRequest, Receipt, RejectedAnswer, ReplayAnswer, ReplayRequest, Reported, RunRequest,
    SignalRequest, StartRequest, StopRequest, Verdict, WorkersAnswer,
};
use stepwell_shared::command::{Command, Compensation, RunActivity};
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::history::{Event, Record, RunStarted, Stall, StallKind, Turn};
use stepwell_shared::ids::{Name, RunId, StepId, WorkerId, WorkflowId};
use stepwell_shared::message::{
    CompensationAction, CompensationMessage, Outcome, ReportMessage, SignalMessage, StartMessage, StopMessage,
};
use stepwell_shared::options::ActivityOptions;
use stepwell_shared::payload::Payload;
use stepwell_shared::rejection::Rejection;
use stepwell_shared::retry::RetryPolicy;
use stepwell_shared::summary::{RunSummary, Status};
use stepwell_shared::task::{
    ActivityTask, Answer, CancelActivity, HeldTasks, RollCall, UndoInput, Work, WorkflowTask,
    WorkflowTaskReply,
};

/// The time at which everything happens, in milliseconds since 1970.
const NOW: u64 = 1_788_000_000_000;

/// Values of one type.
pub(crate) struct Example {
    pub(crate) name: &'static str,
    /// As compact JSON, with the fields in the types' order.
    pub(crate) values: Vec<String>,
    /// Reads JSON as the type and writes it again.
    pub(crate) round_trip: fn(&str) -> Result<Value, String>,
}

impl Example {
    fn one<T: Serialize + DeserializeOwned>(name: &'static str, value: &T) -> Self {
        Self::many(name, std::slice::from_ref(value))
    }

    fn many<T: Serialize + DeserializeOwned>(name: &'static str, values: &[T]) -> Self {
        let values = values.iter().map(|value| serde_json::to_string(value).unwrap()).collect();
        Self { name, values, round_trip: round_trip::<T> }
    }

    /// What has to be described: the fields of an object, or the variants of an enum that is written as
    /// `{"variant": …}`.
    pub(crate) fn keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        for value in &self.values {
            let Value::Object(object) = serde_json::from_str(value).unwrap() else { continue };
            keys.extend(object.into_iter().map(|(key, _)| key));
        }
        keys
    }
}

fn round_trip<T: Serialize + DeserializeOwned>(json: &str) -> Result<Value, String> {
    let value: T = serde_json::from_str(json).map_err(|error| error.to_string())?;
    serde_json::to_value(&value).map_err(|error| error.to_string())
}

/// All of them.
pub(crate) fn all() -> Vec<Example> {
    [messages(), tasks(), history(), workers(), buckets(), api()].into_iter().flatten().collect()
}

/// The names of everything that is an enum of plain words.
pub(crate) fn names() -> Vec<String> {
    let kinds = FAILURE_KINDS.iter().map(word);
    let statuses = Status::ALL.iter().map(word);
    let states = COMPENSATION_STATES.iter().map(word);
    codes_and_stalls().into_iter().chain(kinds).chain(statuses).chain(states).collect()
}

/// The names of error codes and kinds of stall.
pub(crate) fn codes_and_stalls() -> Vec<String> {
    let codes = ERROR_CODES.iter().map(word);
    codes.chain(STALL_KINDS.iter().map(word)).collect()
}

fn word<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()
}

const ERROR_CODES: [ErrorCode; 17] = [
    ErrorCode::MalformedSubject,
    ErrorCode::MalformedBody,
    ErrorCode::UnknownVersion,
    ErrorCode::InvalidId,
    ErrorCode::PayloadTooLarge,
    ErrorCode::InvalidOptions,
    ErrorCode::AlreadyOpen,
    ErrorCode::NotFound,
    ErrorCode::AlreadyClosed,
    ErrorCode::AttemptOver,
    ErrorCode::UnknownStep,
    ErrorCode::WrongToken,
    ErrorCode::NotStuck,
    ErrorCode::StorageFull,
    ErrorCode::Unavailable,
    ErrorCode::QueryFailed,
    ErrorCode::Internal,
];

const STALL_KINDS: [StallKind; 8] = [
    StallKind::NoWorker,
    StallKind::UnknownType,
    StallKind::Nondeterminism,
    StallKind::ForeignWait,
    StallKind::Panic,
    StallKind::InvalidTurn,
    StallKind::TaskTimeout,
    StallKind::UnreadablePayload,
];

const FAILURE_KINDS: [FailureKind; 11] = [
    FailureKind::Application,
    FailureKind::Panic,
    FailureKind::StartToClose,
    FailureKind::Heartbeat,
    FailureKind::ScheduleToStart,
    FailureKind::ScheduleToClose,
    FailureKind::Lost,
    FailureKind::Cancelled,
    FailureKind::RunTimeout,
    FailureKind::Terminated,
    FailureKind::Payload,
];

const COMPENSATION_STATES: [CompensationState; 6] = [
    CompensationState::Registered,
    CompensationState::Running,
    CompensationState::Completed,
    CompensationState::Failed,
    CompensationState::Skipped,
    CompensationState::Released,
];

/// The lists above by hand are complete as long as these compile and agree.
#[test]
fn the_lists_are_complete() {
    let code = |code: &ErrorCode| match code {
        ErrorCode::MalformedSubject => 0,
        ErrorCode::MalformedBody => 1,
        ErrorCode::UnknownVersion => 2,
        ErrorCode::InvalidId => 3,
        ErrorCode::PayloadTooLarge => 4,
        ErrorCode::InvalidOptions => 5,
        ErrorCode::AlreadyOpen => 6,
        ErrorCode::NotFound => 7,
        ErrorCode::AlreadyClosed => 8,
        ErrorCode::AttemptOver => 9,
        ErrorCode::UnknownStep => 10,
        ErrorCode::WrongToken => 11,
        ErrorCode::NotStuck => 12,
        ErrorCode::StorageFull => 13,
        ErrorCode::Unavailable => 14,
        ErrorCode::QueryFailed => 15,
        ErrorCode::Internal => 16,
    };
    assert!(ERROR_CODES.iter().map(code).eq(0..ERROR_CODES.len()));
    assert!(ERROR_CODES.iter().all(|code| word(code) == code.name()));
    let stall = |kind: &StallKind| match kind {
        StallKind::NoWorker => 0,
        StallKind::UnknownType => 1,
        StallKind::Nondeterminism => 2,
        StallKind::ForeignWait => 3,
        StallKind::Panic => 4,
        StallKind::InvalidTurn => 5,
        StallKind::TaskTimeout => 6,
        StallKind::UnreadablePayload => 7,
    };
    assert!(STALL_KINDS.iter().map(stall).eq(0..STALL_KINDS.len()));
    assert!(STALL_KINDS.iter().all(|kind| word(kind) == kind.name()));
    let failure = |kind: &FailureKind| match kind {
        FailureKind::Application => 0,
        FailureKind::Panic => 1,
        FailureKind::StartToClose => 2,
        FailureKind::Heartbeat => 3,
        FailureKind::ScheduleToStart => 4,
        FailureKind::ScheduleToClose => 5,
        FailureKind::Lost => 6,
        FailureKind::Cancelled => 7,
        FailureKind::RunTimeout => 8,
        FailureKind::Terminated => 9,
        FailureKind::Payload => 10,
    };
    assert!(FAILURE_KINDS.iter().map(failure).eq(0..FAILURE_KINDS.len()));
    let state = |state: &CompensationState| match state {
        CompensationState::Registered => 0,
        CompensationState::Running => 1,
        CompensationState::Completed => 2,
        CompensationState::Failed => 3,
        CompensationState::Skipped => 4,
        CompensationState::Released => 5,
    };
    assert!(COMPENSATION_STATES.iter().map(state).eq(0..COMPENSATION_STATES.len()));
}

/// The examples of enums hold every variant.
#[test]
fn every_variant_has_an_example() {
    let event = |event: &Event| match event {
        Event::RunStarted(_) => 0,
        Event::SignalReceived { .. } => 1,
        Event::CancelRequested { .. } => 2,
        Event::RunTerminated { .. } => 3,
        Event::RunTimedOut { .. } => 4,
        Event::AttemptFailed { .. } => 5,
        Event::AttemptStarted { .. } => 6,
        Event::AttemptRefused { .. } => 7,
        Event::AttemptScheduled { .. } => 8,
        Event::ActivityCompleted { .. } => 9,
        Event::ActivityFailed { .. } => 10,
        Event::ActivityCancelled { .. } => 11,
        Event::TimerFired { .. } => 12,
        Event::CompensationStarted { .. } => 13,
        Event::CompensationCompleted { .. } => 14,
        Event::CompensationFailed { .. } => 15,
        Event::CompensationResolved { .. } => 16,
        Event::CompensationsFinished { .. } => 17,
    };
    assert!(events().iter().map(event).eq(0..18));
    let command = |command: &Command| match command {
        Command::RunActivity(_) => 0,
        Command::CancelActivity { .. } => 1,
        Command::StartTimer { .. } => 2,
        Command::CancelTimer { .. } => 3,
        Command::RaceWon { .. } => 4,
        Command::Pivot { .. } => 5,
        Command::Compensate { .. } => 6,
        Command::CompleteRun { .. } => 7,
        Command::FailRun { .. } => 8,
        Command::CancelRun { .. } => 9,
    };
    assert!(commands().iter().map(command).eq(0..10));
    let outcome = |outcome: &Outcome| match outcome {
        Outcome::Started {} => 0,
        Outcome::Completed { .. } => 1,
        Outcome::Failed { .. } => 2,
        Outcome::Cancelled {} => 3,
        Outcome::Refused { .. } => 4,
    };
    assert!(outcomes().iter().map(outcome).eq(0..5));
    let answer = |answer: &Answer| match answer {
        Answer::Commands { .. } => 0,
        Answer::QueryResult { .. } => 1,
        Answer::QueryFailed { .. } => 2,
        Answer::Stalled { .. } => 3,
        Answer::Busy {} => 4,
    };
    assert!(answers().iter().map(answer).eq(0..5));
}

fn messages() -> Vec<Example> {
    vec![
        Example::one(
            "StartMessage",
            &StartMessage {
                v: 1,
                queue: name("orders"),
                input: json(r#"{"article":"lamp","cents":4990}"#),
                request_id: Some("web-5f2c".into()),
                run_timeout_ms: Some(86_400_000),
                execution_timeout_ms: Some(604_800_000),
            },
        ),
        Example::one(
            "SignalMessage",
            &SignalMessage { v: 1, payload: json("true"), request_id: Some("mail-118".into()) },
        ),
        Example::one("StopMessage", &StopMessage { v: 1, reason: "ordered twice".into() }),
        Example::one(
            "CompensationMessage",
            &CompensationMessage {
                v: 1,
                action: CompensationAction::Skip,
                reason: "refunded by hand".into(),
            },
        ),
        Example::one("ReportMessage", &report(Outcome::Completed { result: json(r#""ch_81""#) })),
        Example::many("Outcome", &outcomes()),
        Example::one("Failure", &declined()),
        Example::many(
            "Verdict",
            &[
                Verdict::Accepted { run_id: run() },
                Verdict::Duplicate { run_id: run() },
                Verdict::Rejected(already_open()),
            ],
        ),
        Example::one("Rejection", &rejection()),
    ]
}

fn tasks() -> Vec<Example> {
    vec![
        Example::one(
            "ActivityTask",
            &ActivityTask {
                v: 1,
                workflow_id: workflow(),
                workflow_type: name("order_saga"),
                run_id: run(),
                step: StepId::Action(1),
                attempt: 2,
                activity_type: name("charge_card"),
                input: json(r#"{"order":"order 7","cents":4990}"#),
                idempotency_key: format!("{RUN}/1"),
                token: TOKEN.into(),
                partition: Some(11),
                scheduled_at_ms: NOW,
                schedule_to_start_ms: Some(60_000),
                expires_at_ms: Some(1_788_000_060_950),
                start_to_close_ms: Some(10_000),
                heartbeat_timeout_ms: Some(5_000),
                maximum_attempts: Some(5),
                heartbeat: Some(json(r#"{"page":3}"#)),
                last_failure: Some("Timeout: the bank did not answer".into()),
            },
        ),
        Example::one(
            "UndoInput",
            &UndoInput {
                input: json(r#"{"order":"order 7","cents":4990}"#),
                output: Some(json(r#""ch_81""#)),
                idempotency_key: format!("{RUN}/1"),
            },
        ),
        Example::one("CancelActivity", &CancelActivity { v: 1, run_id: run(), step: StepId::Action(1) }),
        Example::one("RollCall", &RollCall { v: 1, worker: worker() }),
        Example::one("HeldTasks", &HeldTasks { v: 1, worker: worker(), tasks: vec![4_711, 4_720] }),
        Example::one(
            "WorkflowTask",
            &workflow_task(Work::Turn { at_ms: NOW + 950, events: vec![completed()], index: 2 }),
        ),
        Example::many(
            "Work",
            &[
                Work::Turn { at_ms: NOW + 950, events: vec![completed()], index: 2 },
                Work::Query { name: name("stage"), argument: json("null") },
            ],
        ),
        Example::one(
            "WorkflowTaskReply",
            &WorkflowTaskReply {
                v: 1,
                worker: worker(),
                answer: Answer::Commands {
                    commands: vec![Command::CompleteRun { result: json(r#""ch_81""#) }],
                },
                replayed: true,
                takes_packs: true,
            },
        ),
        Example::many("Answer", &answers()),
    ]
}

fn history() -> Vec<Example> {
    vec![
        Example::one(
            "Record",
            &Record {
                v: 1,
                run_id: run(),
                index: 1,
                at_ms: NOW,
                through: 41,
                events: vec![Event::RunStarted(Box::new(run_started()))],
                turn: Some(Turn {
                    commands: vec![Command::RunActivity(run_activity())],
                    worker: Some(worker()),
                    delivered: 1,
                }),
                stall: None,
            },
        ),
        Example::one(
            "Turn",
            &Turn {
                commands: vec![Command::StartTimer { seq: 2, delay_ms: 60_000 }],
                worker: Some(worker()),
                delivered: 1,
            },
        ),
        Example::one("Stall", &stall()),
        Example::many("Event", &events()),
        Example::one("RunStarted", &run_started()),
        Example::many("Command", &commands()),
        Example::one("RunActivity", &run_activity()),
        Example::one("Compensation", &compensation()),
        Example::one("ActivityOptions", &full_options()),
        Example::one("RetryPolicy", &full_options().retry),
    ]
}

fn workers() -> Vec<Example> {
    vec![Example::one("Announcement", &announcement())]
}

fn buckets() -> Vec<Example> {
    vec![Example::one("RunSummary", &summary())]
}

fn api() -> Vec<Example> {
    vec![
        Example::many(
            "ApiAnswer",
            &[ApiAnswer::Ok(Receipt { run_id: run(), duplicate: false }), ApiAnswer::Error(already_open())],
        ),
        Example::one("ApiError", &already_open()),
        Example::one(
            "StartRequest",
            &StartRequest {
                id: "order 7".into(),
                workflow_type: "order_saga".into(),
                queue: Some("orders".into()),
                input: json(r#"{"article":"lamp","cents":4990}"#),
                request_id: Some("web-5f2c".into()),
                run_timeout_ms: Some(86_400_000),
                execution_timeout_ms: Some(604_800_000),
            },
        ),
        Example::one(
            "SignalRequest",
            &SignalRequest {
                id: "order 7".into(),
                name: "approve".into(),
                payload: json("true"),
                request_id: Some("mail-118".into()),
            },
        ),
        Example::one("StopRequest", &StopRequest { id: "order 7".into(), reason: "ordered twice".into() }),
        Example::one(
            "CompensationRequest",
            &CompensationRequest {
                id: "order 7".into(),
                seq: 1,
                action: CompensationAction::Retry,
                reason: "the bank is back".into(),
            },
        ),
        Example::one("Receipt", &Receipt { run_id: run(), duplicate: false }),
        Example::one(
            "QueryRequest",
            &QueryRequest { id: "order 7".into(), name: "stage".into(), argument: json("null") },
        ),
        Example::one("QueryAnswer", &QueryAnswer { result: json(r#""awaiting approval""#) }),
        Example::one(
            "RunRequest",
            &RunRequest {
                id: "order 7".into(),
                run_id: Some(RUN.into()),
                wait_ms: 30_000,
                after: 0,
                limit: 100,
            },
        ),
        Example::one("HistoryAnswer", &HistoryAnswer { records: vec![timer_record()], more: false }),
        Example::one(
            "ListRequest",
            &ListRequest {
                status: vec![Status::Running, Status::Stuck],
                workflow_type: Some("order_saga".into()),
                id_prefix: Some("order ".into()),
                stuck: true,
                limit: 20,
            },
        ),
        Example::one("ListAnswer", &ListAnswer { runs: vec![running()], total: 1 }),
        Example::one("Description", &description()),
        Example::one("PendingActivity", &pending_activity()),
        Example::one("PendingTimer", &PendingTimer { seq: 3, due_ms: NOW + 60_000 }),
        Example::one("CompensationView", &compensation_view()),
        Example::one("RejectedAnswer", &RejectedAnswer { rejected: vec![rejection()] }),
        Example::one("WorkersAnswer", &WorkersAnswer { workers: vec![announcement()] }),
        Example::one(
            "ReplayRequest",
            &ReplayRequest {
                id: "order 7".into(),
                run_id: RUN.into(),
                token: "5be1c2f09ad8764e0c1a7733f4d2b986".into(),
                from_sequence: 1_207,
            },
        ),
        Example::one(
            "ReplayAnswer",
            &ReplayAnswer { records: vec![timer_record()], next_sequence: Some(1_984) },
        ),
        Example::one(
            "AttemptRequest",
            &AttemptRequest {
                id: "order 7".into(),
                run_id: RUN.into(),
                step: StepId::Action(1),
                attempt: 2,
                token: "9f1c0b7a2d3e4f5061728394a5b6c7d8".into(),
                run_only: true,
            },
        ),
        Example::one("AttemptAnswer", &AttemptAnswer { reported: Reported::Nothing {}, run_closed: false }),
        Example::many(
            "Reported",
            &[
                Reported::Nothing {},
                Reported::Begun { worker: Some(announcement().worker) },
                Reported::Ended {},
            ],
        ),
    ]
}

fn outcomes() -> Vec<Outcome> {
    vec![
        Outcome::Started {},
        Outcome::Completed { result: json(r#""ch_81""#) },
        Outcome::Failed { failure: declined(), heartbeat: Some(json(r#"{"page":3}"#)) },
        Outcome::Cancelled {},
        Outcome::Refused { reason: "this worker has reserve_stock, ship".into() },
    ]
}

fn answers() -> Vec<Answer> {
    vec![
        Answer::Commands { commands: vec![Command::StartTimer { seq: 2, delay_ms: 60_000 }] },
        Answer::QueryResult { result: json(r#""awaiting approval""#) },
        Answer::QueryFailed { message: "query `stagee`: there is no such query; there are `stage`".into() },
        Answer::Stalled {
            kind: StallKind::UnknownType,
            message: "this worker has no code for `order_saga`; it has `refund_saga`".into(),
        },
        Answer::Busy {},
    ]
}

fn events() -> Vec<Event> {
    vec![
        Event::RunStarted(Box::new(run_started())),
        Event::SignalReceived {
            name: name("approve"),
            payload: json("true"),
            request_id: Some("mail-118".into()),
        },
        Event::CancelRequested { reason: "ordered twice".into() },
        Event::RunTerminated { reason: "test data".into() },
        Event::RunTimedOut {
            failure: Failure::new(
                FailureKind::RunTimeout,
                "the run took longer than its run_timeout of 86400000 ms",
            ),
        },
        Event::AttemptFailed {
            step: StepId::Action(1),
            attempt: 1,
            failure: Failure::typed(FailureKind::Application, "Timeout", "the bank did not answer"),
            retry_at_ms: NOW + 1_000,
            heartbeat: Some(json(r#"{"page":3}"#)),
        },
        Event::AttemptStarted { step: StepId::Action(1), attempt: 2 },
        Event::AttemptRefused {
            step: StepId::Action(1),
            attempt: 2,
            reason: "this worker has reserve_stock, ship".into(),
        },
        Event::AttemptScheduled { step: StepId::Action(1), attempt: 3 },
        completed(),
        Event::ActivityFailed { seq: 1, attempt: 3, failure: declined() },
        Event::ActivityCancelled { seq: 1 },
        Event::TimerFired { seq: 2 },
        Event::CompensationStarted { seq: 1 },
        Event::CompensationCompleted { seq: 1 },
        Event::CompensationFailed {
            seq: 1,
            failure: Failure::typed(FailureKind::Application, "BankClosed", "no refunds on Sundays"),
        },
        Event::CompensationResolved {
            seq: 1,
            action: CompensationAction::Skip,
            reason: "refunded by hand".into(),
        },
        Event::CompensationsFinished { seq: Some(4) },
    ]
}

fn commands() -> Vec<Command> {
    vec![
        Command::RunActivity(run_activity()),
        Command::CancelActivity { seq: 1 },
        Command::StartTimer { seq: 2, delay_ms: 60_000 },
        Command::CancelTimer { seq: 2 },
        Command::RaceWon { seq: 3, winner: 0 },
        Command::Pivot { seq: 4 },
        Command::Compensate { seq: 5 },
        Command::CompleteRun { result: json(r#""ch_81""#) },
        Command::FailRun { failure: declined() },
        Command::CancelRun { failure: Failure::new(FailureKind::Cancelled, "ordered twice") },
    ]
}

fn report(outcome: Outcome) -> ReportMessage {
    ReportMessage {
        v: 1,
        attempt: 2,
        token: TOKEN.into(),
        outcome,
        worker: Some(worker()),
        schedule_to_start_ms: Some(12),
        execution_ms: Some(840),
    }
}

fn declined() -> Failure {
    Failure {
        kind: FailureKind::Application,
        error_type: "CardDeclined".into(),
        message: "the bank said no".into(),
        non_retryable: true,
        next_retry_delay_ms: Some(30_000),
        details: Some(json(r#"{"code":51}"#)),
        cause: Some(Box::new(Failure::new(FailureKind::Application, "HTTP status 402"))),
    }
}

fn run_started() -> RunStarted {
    RunStarted {
        workflow_type: name("order_saga"),
        queue: name("orders"),
        input: json(r#"{"article":"lamp","cents":4990}"#),
        request_id: Some("web-5f2c".into()),
        run_timeout_ms: Some(86_400_000),
        execution_timeout_ms: Some(604_800_000),
    }
}

fn run_activity() -> RunActivity {
    RunActivity {
        seq: 1,
        activity_type: name("charge_card"),
        queue: name("payments"),
        input: json(r#"{"order":"order 7","cents":4990}"#),
        options: ActivityOptions { start_to_close_ms: Some(10_000), ..ActivityOptions::default() },
        compensation: Some(Box::new(compensation())),
    }
}

fn compensation() -> Compensation {
    Compensation {
        activity_type: name("refund_card"),
        queue: name("payments"),
        options: ActivityOptions { start_to_close_ms: Some(10_000), ..ActivityOptions::default() },
    }
}

fn full_options() -> ActivityOptions {
    ActivityOptions {
        start_to_close_ms: Some(10_000),
        schedule_to_start_ms: Some(60_000),
        schedule_to_close_ms: Some(600_000),
        heartbeat_timeout_ms: Some(5_000),
        retry: RetryPolicy {
            initial_interval_ms: 1_000,
            backoff_coefficient: 2.0,
            maximum_interval_ms: Some(60_000),
            maximum_attempts: Some(5),
            non_retryable: vec!["CardDeclined".into()],
            jitter: 0.2,
        },
    }
}

fn completed() -> Event {
    Event::ActivityCompleted { seq: 1, attempt: 2, result: json(r#""ch_81""#) }
}

fn stall() -> Stall {
    Stall {
        kind: StallKind::NoWorker,
        message: "no worker listens on queue `orders`; start one".into(),
        retry_at_ms: NOW + 2_000,
        failures: 1,
    }
}

fn timer_record() -> Record {
    Record {
        v: 1,
        run_id: run(),
        index: 3,
        at_ms: NOW + 60_950,
        through: 44,
        events: vec![Event::TimerFired { seq: 2 }],
        turn: None,
        stall: Some(stall()),
    }
}

fn workflow_task(work: Work) -> WorkflowTask {
    WorkflowTask {
        records: Vec::new(),
        v: 1,
        workflow_id: workflow(),
        run_id: run(),
        workflow_type: name("order_saga"),
        history_subject: "stepwell.default.history.1.order=207".into(),
        first_sequence: 1_207,
        after: 1,
        mark: Some("5f0c2a9b3d440e6f".into()),
        next_mark: Some("c81d04e7a2b95b13".into()),
        replay_token: Some("5be1c2f09ad8764e0c1a7733f4d2b986".into()),
        work,
    }
}

fn announcement() -> Announcement {
    Announcement {
        v: 1,
        worker: worker(),
        queue: name("orders"),
        workflows: vec![name("order_saga")],
        activities: vec![name("charge_card"), name("refund_card")],
        slots: 8,
        slots_used: 1,
        host: "shop-1/4711".into(),
        leaving: false,
    }
}

fn running() -> RunSummary {
    RunSummary {
        v: 1,
        workflow_id: workflow(),
        run_id: run(),
        workflow_type: name("order_saga"),
        queue: name("orders"),
        status: Status::Running,
        started_at_ms: NOW,
        closed_at_ms: None,
        result: None,
        failure: None,
        stall: Some(stall()),
        history_length: 3,
    }
}

/// No real run has all of it at once; this shows where everything stands.
fn summary() -> RunSummary {
    RunSummary {
        status: Status::Completed,
        closed_at_ms: Some(NOW + 61_000),
        result: Some(json(r#""ch_81""#)),
        failure: Some(declined()),
        history_length: 4,
        ..running()
    }
}

fn pending_activity() -> PendingActivity {
    PendingActivity {
        step: StepId::Undo(1),
        activity_type: name("refund_card"),
        queue: name("payments"),
        state: "waiting_for_retry".into(),
        attempt: 2,
        retry_at_ms: Some(NOW + 62_000),
        last_failure: Some(Failure::typed(FailureKind::Application, "Timeout", "the bank did not answer")),
    }
}

fn compensation_view() -> CompensationView {
    CompensationView {
        seq: 1,
        action: name("charge_card"),
        compensation: name("refund_card"),
        state: CompensationState::Failed,
        failure: Some(Failure::typed(FailureKind::Application, "BankClosed", "no refunds on Sundays")),
    }
}

fn description() -> Description {
    Description {
        summary: running(),
        input: json(r#"{"article":"lamp","cents":4990}"#),
        waiting_for: vec!["no_worker: no worker listens on queue `orders`; start one".into()],
        pending_activities: vec![PendingActivity {
            step: StepId::Action(1),
            activity_type: name("charge_card"),
            queue: name("payments"),
            state: "queued_or_running".into(),
            attempt: 1,
            retry_at_ms: None,
            last_failure: None,
        }],
        pending_timers: vec![PendingTimer { seq: 3, due_ms: NOW + 60_000 }],
        compensations: vec![CompensationView {
            seq: 1,
            action: name("charge_card"),
            compensation: name("refund_card"),
            state: CompensationState::Registered,
            failure: None,
        }],
        cancel_requested: None,
        workers: vec![announcement()],
    }
}

fn already_open() -> ApiError {
    ApiError {
        code: ErrorCode::AlreadyOpen,
        message: format!("the workflow id has an open run, {RUN}; wait for it, cancel it, or use another id"),
        run_id: Some(run()),
    }
}

fn rejection() -> Rejection {
    Rejection {
        v: 1,
        code: ErrorCode::NotFound,
        message: "there is no workflow with this id".into(),
        subject: "stepwell.default.event.12.order=208.signal.approve".into(),
        sequence: 45,
        at_ms: NOW,
        size: 24,
        preview: r#"{"v":1,"payload":"true"}"#.into(),
    }
}

const RUN: &str = "01a04d1a-d864-7c3e-9f51-2b6d1e0a4c77";
const TOKEN: &str = "7d1f0c9a5be2443c8a64f1d20b9e6f35";

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn run() -> RunId {
    RunId::new(RUN).unwrap()
}

fn workflow() -> WorkflowId {
    WorkflowId::new("order 7").unwrap()
}

fn worker() -> WorkerId {
    WorkerId::new("01a04d1a-52ab-7d90-8c11-6f0e2a9b3d44").unwrap()
}

fn json(text: &str) -> Payload {
    Payload::from_json(text.to_owned()).unwrap()
}
