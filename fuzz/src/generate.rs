//! Events, commands and reports drawn from the input: any shape that can be recorded or sent, sensible
//! or not.

use stepwell_shared::command::{Command, Compensation, RunActivity};
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::history::{Event, RunStarted, Stall, StallKind};
use stepwell_shared::ids::{Name, RunId, Seq, StepId};
use stepwell_shared::message::{CompensationAction, Outcome};
use stepwell_shared::options::ActivityOptions;
use stepwell_shared::payload::Payload;
use stepwell_shared::retry::RetryPolicy;

use crate::dice::Dice;

const NAMES: [&str; 4] = ["charge", "refund", "left", "right"];

const FAILURES: [FailureKind; 11] = [
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

const STALLS: [StallKind; 7] = [
    StallKind::NoWorker,
    StallKind::UnknownType,
    StallKind::Nondeterminism,
    StallKind::ForeignWait,
    StallKind::Panic,
    StallKind::InvalidTurn,
    StallKind::TaskTimeout,
];

pub(crate) fn name(dice: &mut Dice<'_>) -> Name {
    Name::new(NAMES[usize::from(dice.below(4))]).expect("a valid name")
}

pub(crate) fn run_id(dice: &mut Dice<'_>) -> RunId {
    let text = if dice.seldom(16) { "run-2" } else { "run-1" };
    RunId::new(text).expect("a valid id")
}

pub(crate) fn payload(dice: &mut Dice<'_>) -> Payload {
    let text = match dice.below(5) {
        0 => "null".to_owned(),
        1 => dice.number().to_string(),
        2 => "\"text\"".to_owned(),
        3 => "[1e300,{\"a\":null}]".to_owned(),
        _ => format!("\"{}\"", "x".repeat(usize::from(dice.byte()) * 16)),
    };
    Payload::from_json(text).expect("JSON")
}

pub(crate) fn step(dice: &mut Dice<'_>) -> StepId {
    // There is no step 0, and no text of one can be read.
    let seq = dice.seq().max(1);
    if dice.flag() { StepId::Undo(seq) } else { StepId::Action(seq) }
}

pub(crate) fn failure(dice: &mut Dice<'_>) -> Failure {
    let kind = FAILURES[usize::from(dice.below(11))];
    let mut failure = Failure::new(kind, "drawn");
    failure.non_retryable = dice.seldom(4);
    failure.next_retry_delay_ms = dice.seldom(4).then(|| dice.number());
    failure.details = dice.seldom(4).then(|| payload(dice));
    if dice.seldom(8) {
        failure.cause = Some(Box::new(Failure::new(FailureKind::Application, "below")));
    }
    failure
}

pub(crate) fn started(dice: &mut Dice<'_>) -> RunStarted {
    RunStarted {
        workflow_type: name(dice),
        queue: name(dice),
        input: payload(dice),
        request_id: request_id(dice),
        run_timeout_ms: dice.optional(Dice::number),
        execution_timeout_ms: dice.optional(Dice::number),
    }
}

pub(crate) fn request_id(dice: &mut Dice<'_>) -> Option<String> {
    dice.optional(|dice| format!("r-{}", dice.below(3)))
}

pub(crate) fn stall(dice: &mut Dice<'_>) -> Stall {
    Stall {
        kind: stall_kind(dice),
        message: "drawn".into(),
        retry_at_ms: dice.number(),
        failures: dice.number().try_into().unwrap_or(u32::MAX),
    }
}

pub(crate) fn stall_kind(dice: &mut Dice<'_>) -> StallKind {
    STALLS[usize::from(dice.below(7))]
}

pub(crate) fn action(dice: &mut Dice<'_>) -> CompensationAction {
    if dice.flag() { CompensationAction::Retry } else { CompensationAction::Skip }
}

pub(crate) fn outcome(dice: &mut Dice<'_>) -> Outcome {
    match dice.below(8) {
        0..=2 => Outcome::Completed { result: payload(dice) },
        3..=4 => Outcome::Failed { failure: failure(dice), heartbeat: dice.optional(payload) },
        5 => Outcome::Cancelled {},
        6 => Outcome::Started {},
        _ => Outcome::Refused { reason: "no code".into() },
    }
}

/// An attempt's number, mostly the first.
pub(crate) fn attempt(dice: &mut Dice<'_>) -> u32 {
    if dice.seldom(4) { dice.seq() } else { 1 }
}

/// What may be recorded as having happened.
pub(crate) fn event(dice: &mut Dice<'_>) -> Event {
    let reason = || "drawn".to_owned();
    let some_attempt = attempt(dice);
    match dice.below(18) {
        0 => Event::RunStarted(Box::new(started(dice))),
        1 => Event::SignalReceived { name: name(dice), payload: payload(dice), request_id: request_id(dice) },
        2 => Event::CancelRequested { reason: reason() },
        3 => Event::RunTerminated { reason: reason() },
        4 => Event::RunTimedOut { failure: failure(dice) },
        5 => Event::AttemptFailed {
            step: step(dice),
            attempt: some_attempt,
            failure: failure(dice),
            retry_at_ms: dice.number(),
            heartbeat: dice.optional(payload),
        },
        6 => Event::AttemptStarted { step: step(dice), attempt: some_attempt },
        7 => Event::AttemptRefused { step: step(dice), attempt: some_attempt, reason: reason() },
        8 => Event::AttemptScheduled { step: step(dice), attempt: some_attempt },
        9 | 10 => Event::ActivityCompleted { seq: dice.seq(), attempt: some_attempt, result: payload(dice) },
        11 => Event::ActivityFailed { seq: dice.seq(), attempt: some_attempt, failure: failure(dice) },
        12 => Event::ActivityCancelled { seq: dice.seq() },
        13 => Event::TimerFired { seq: dice.seq() },
        14 => Event::CompensationStarted { seq: dice.seq() },
        15 => Event::CompensationCompleted { seq: dice.seq() },
        16 if dice.flag() => Event::CompensationFailed { seq: dice.seq(), failure: failure(dice) },
        16 => Event::CompensationResolved { seq: dice.seq(), action: action(dice), reason: reason() },
        _ => Event::CompensationsFinished { seq: dice.optional(Dice::seq) },
    }
}

pub(crate) fn options(dice: &mut Dice<'_>) -> ActivityOptions {
    let mut options = ActivityOptions { start_to_close_ms: Some(1_000), ..ActivityOptions::default() };
    if dice.seldom(3) {
        options.schedule_to_start_ms = dice.optional(Dice::number);
        options.schedule_to_close_ms = dice.optional(Dice::number);
        options.heartbeat_timeout_ms = dice.optional(Dice::number);
        options.retry = retry(dice);
    }
    options
}

pub(crate) fn retry(dice: &mut Dice<'_>) -> RetryPolicy {
    RetryPolicy {
        initial_interval_ms: dice.number(),
        backoff_coefficient: [2.0, 1.0, 0.0, -1.0, 1e300, 1.000_000_1][usize::from(dice.below(6))],
        maximum_interval_ms: dice.optional(Dice::number),
        maximum_attempts: dice.optional(Dice::seq),
        non_retryable: dice.optional(|_| "ApplicationError".to_owned()).into_iter().collect(),
        jitter: [0.2, 0.0, 1.0, -1.0, 1e300][usize::from(dice.below(5))],
    }
}

/// What code may ask for. `next` is the number that is next, and is mostly used.
pub(crate) fn command(dice: &mut Dice<'_>, next: &mut Seq) -> Command {
    let kind = dice.below(13);
    let new = match kind {
        0..=6 if dice.seldom(24) => dice.seq(),
        0..=6 => {
            let seq = *next;
            *next = next.saturating_add(1);
            seq
        }
        _ => 0,
    };
    match kind {
        0..=2 => Command::RunActivity(RunActivity {
            seq: new,
            activity_type: name(dice),
            queue: name(dice),
            input: payload(dice),
            options: options(dice),
            compensation: dice.optional(|dice| {
                Box::new(Compensation {
                    activity_type: name(dice),
                    queue: name(dice),
                    options: options(dice),
                })
            }),
        }),
        3 => Command::StartTimer { seq: new, delay_ms: dice.number() },
        4 => Command::RaceWon { seq: new, winner: dice.seq() },
        5 => Command::Pivot { seq: new },
        6 => Command::Compensate { seq: new },
        7 | 8 => Command::CancelActivity { seq: dice.seq() },
        9 => Command::CancelTimer { seq: dice.seq() },
        10 => Command::CompleteRun { result: payload(dice) },
        11 => Command::FailRun { failure: failure(dice) },
        _ => Command::CancelRun { failure: failure(dice) },
    }
}
