//! Which events follow from what arrived. Reads the run, changes nothing.

use stepwell_shared::api::CompensationState;
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::failure::{Failure, FailureKind, recorded_text};
use stepwell_shared::history::{Event, RunStarted};
use stepwell_shared::ids::{Name, RunId, Seq, StepId};
use stepwell_shared::limits::{
    MAX_PAYLOAD_BYTES, MAX_RECORD_EVENT_BYTES, MAX_REQUEST_ID_BYTES, MAX_TURN_EVENTS,
};
use stepwell_shared::message::{CompensationAction, Outcome};
use stepwell_shared::options::check_duration;
use stepwell_shared::payload::Payload;
use stepwell_shared::retry::NextAttempt;
use stepwell_shared::rng::seed_from;

use crate::alarms::Alarm;
use crate::input::Ruling;
use crate::run::Run;
use crate::size;
use crate::step::{Step, StepState};

/// Whether a start request may become a run of its own. `Err` is the ruling when it may not.
pub(crate) fn start(current: Option<&Run>, start: &RunStarted) -> Result<(), Ruling> {
    check_request_id(start.request_id.as_deref())?;
    check_payload("the input", &start.input)?;
    for (what, value) in
        [("run_timeout", start.run_timeout_ms), ("execution_timeout", start.execution_timeout_ms)]
    {
        check_duration(what, value)
            .map_err(|error| rejected(ErrorCode::InvalidOptions, error.to_string()))?;
    }
    let Some(run) = current else { return Ok(()) };
    if start.request_id.is_some() && start.request_id == run.started.request_id {
        return Err(Ruling::Duplicate { run_id: run.run_id.clone() });
    }
    if run.closed() {
        return Ok(());
    }
    Err(Ruling::Rejected {
        code: ErrorCode::AlreadyOpen,
        message: format!(
            "the workflow id has an open run, {}; wait for it, cancel it, or use another id",
            run.run_id
        ),
        run_id: Some(run.run_id.clone()),
    })
}

pub(crate) fn signal(
    current: Option<&Run>,
    name: &Name,
    payload: &Payload,
    request_id: Option<&str>,
) -> Result<Event, Ruling> {
    check_request_id(request_id)?;
    check_payload("the signal's payload", payload)?;
    // Asked before whether the run is open: a repeat may come after the run closed.
    if let Some(run) = current
        && request_id.is_some_and(|request_id| run.remembers(request_id))
    {
        return Err(Ruling::Duplicate { run_id: run.run_id.clone() });
    }
    let run = open(current)?;
    code_is_there(run)?;
    Ok(Event::SignalReceived {
        name: name.clone(),
        payload: payload.clone(),
        request_id: request_id.map(str::to_owned),
    })
}

pub(crate) fn cancel(current: Option<&Run>, reason: &str) -> Result<Event, Ruling> {
    let run = open(current)?;
    if run.cancel_requested.is_some() {
        return Err(Ruling::Duplicate { run_id: run.run_id.clone() });
    }
    code_is_there(run)?;
    Ok(Event::CancelRequested { reason: recorded_text(reason) })
}

pub(crate) fn terminate(current: Option<&Run>, reason: &str) -> Result<Event, Ruling> {
    open(current)?;
    Ok(Event::RunTerminated { reason: recorded_text(reason) })
}

pub(crate) fn resolve(
    current: Option<&Run>,
    seq: Seq,
    action: CompensationAction,
    reason: &str,
) -> Result<Event, Ruling> {
    let run = open(current)?;
    let failed = run.compensations.0.get(&seq).is_some_and(|it| it.state == CompensationState::Failed);
    if !failed {
        let message = format!("step {seq} has no compensation that failed for good and waits for a decision");
        return Err(rejected(ErrorCode::NotStuck, message));
    }
    Ok(Event::CompensationResolved { seq, action, reason: recorded_text(reason) })
}

/// What follows from a worker's report on an attempt.
pub(crate) fn report(
    current: Option<&Run>,
    run_id: &RunId,
    step_id: StepId,
    attempt: u32,
    outcome: &Outcome,
    at_ms: u64,
) -> Result<Event, Ruling> {
    let Some(run) = current.filter(|run| run.run_id == *run_id) else {
        let message = format!("run {run_id} is not the current run of this workflow");
        return Err(no_news(outcome).unwrap_or_else(|| rejected(ErrorCode::UnknownStep, message)));
    };
    let Some(step) = run.steps.get(&step_id) else {
        if step_id.seq() > run.last_seq {
            let message = format!("run {run_id} has no step {step_id}");
            return Err(rejected(ErrorCode::UnknownStep, message));
        }
        return Err(over(outcome, format!("step {step_id} is over")));
    };
    if step.attempt != attempt {
        return Err(over(outcome, format!("step {step_id} is at attempt {}, not {attempt}", step.attempt)));
    }
    if !step.in_flight() {
        return Err(over(outcome, format!("step {step_id} waits and attempt {attempt} is not made yet")));
    }
    match outcome {
        Outcome::Started {} => match step.state {
            StepState::Queued { .. } if step.options.schedule_to_start_ms.is_some() => {
                Ok(Event::AttemptStarted { step: step_id, attempt })
            }
            StepState::Queued { .. }
            | StepState::Started { .. }
            | StepState::WaitingRetry { .. }
            | StepState::WaitingWorker { .. } => Err(Ruling::Ignored),
        },
        Outcome::Completed { result } => Ok(match step_id {
            StepId::Action(seq) if result.size() > MAX_PAYLOAD_BYTES => {
                let size = result.size();
                let message = format!("the result has {size} bytes; at most {MAX_PAYLOAD_BYTES} are allowed");
                let failure = Failure::new(FailureKind::Payload, message);
                Event::ActivityFailed { seq, attempt, failure }
            }
            StepId::Action(seq) => Event::ActivityCompleted { seq, attempt, result: result.clone() },
            // What a compensation returns is not recorded, whatever its size.
            StepId::Undo(seq) => Event::CompensationCompleted { seq },
        }),
        Outcome::Failed { failure, heartbeat } => {
            let (failure, heartbeat) = as_recorded(failure, heartbeat.as_ref());
            Ok(failed(run, step_id, step, failure, heartbeat, at_ms))
        }
        Outcome::Cancelled {} => match step_id {
            StepId::Action(seq) if step.cancel_requested => Ok(Event::ActivityCancelled { seq }),
            StepId::Action(_) | StepId::Undo(_) => {
                let message = "the activity ended as cancelled though nobody asked for it";
                Ok(finally(step_id, attempt, Failure::new(FailureKind::Cancelled, message)))
            }
        },
        Outcome::Refused { reason } => {
            Ok(Event::AttemptRefused { step: step_id, attempt, reason: recorded_text(reason) })
        }
    }
}

/// What follows from the time being `now_ms`, oldest first, as much as one record takes; at least one.
pub(crate) fn alarms(run: &Run, now_ms: u64) -> Vec<Event> {
    let events = run.alarms.due(now_ms).take(MAX_TURN_EVENTS).filter_map(|alarm| alarm_event(run, alarm));
    let mut bytes = 0;
    // A timeout says why the attempt before it failed, which may be large.
    let fits = |event: &Event| {
        let full = bytes >= MAX_RECORD_EVENT_BYTES;
        bytes += size::of_event(event);
        !full
    };
    events.take_while(fits).collect()
}

/// What follows from a worker appearing: the steps that waited for its code.
pub(crate) fn worker_appeared(run: &Run, queue: &Name, activities: &[Name]) -> Vec<Event> {
    let waits = |step: &Step| match step.state {
        StepState::WaitingWorker { .. } => step.queue == *queue && activities.contains(&step.activity_type),
        StepState::Queued { .. } | StepState::Started { .. } | StepState::WaitingRetry { .. } => false,
    };
    let waiting = run.steps.iter().filter(|(_, step)| waits(step));
    waiting.map(|(id, step)| Event::AttemptScheduled { step: *id, attempt: step.attempt }).collect()
}

/// What follows without anything arriving.
pub(crate) fn next_consequence(run: &Run) -> Option<Event> {
    if run.closed() {
        return None;
    }
    // A step that was asked to end and that nobody holds has ended.
    for id in &run.cancelling {
        if let StepId::Action(seq) = id
            && run.steps.get(id).is_some_and(|step| !step.in_flight())
        {
            return Some(Event::ActivityCancelled { seq: *seq });
        }
    }
    let unwinding = run.unwinding.as_ref()?;
    let settling = run.steps.keys().any(|id| match id {
        StepId::Action(seq) => *seq < unwinding.below && run.compensations.0.contains_key(seq),
        StepId::Undo(_) => true,
    });
    if settling {
        return None;
    }
    if let Some(seq) = run.compensations.next(unwinding.below) {
        return Some(Event::CompensationStarted { seq });
    }
    if run.compensations.unfinished(unwinding.below) {
        return None;
    }
    Some(Event::CompensationsFinished { seq: unwinding.told() })
}

fn failed(
    run: &Run,
    id: StepId,
    step: &Step,
    failure: Failure,
    heartbeat: Option<Payload>,
    at_ms: u64,
) -> Event {
    if let StepId::Action(seq) = id
        && step.cancel_requested
    {
        // Asked to end, it ended; another attempt would undo the cancellation.
        return Event::ActivityFailed { seq, attempt: step.attempt, failure };
    }
    let seed = seed_from(run.idempotency_key(id).as_bytes());
    let at_ms = at_ms.max(run.at_ms);
    match step.options.retry.next(step.policy_attempt(), &failure, seed) {
        NextAttempt::Never => finally(id, step.attempt, failure),
        NextAttempt::After(delay_ms) => {
            let retry_at_ms = at_ms.saturating_add(delay_ms);
            if step.close_deadline().is_some_and(|deadline| retry_at_ms >= deadline) {
                return finally(id, step.attempt, failure);
            }
            let heartbeat = heartbeat.or_else(|| step.heartbeat.clone());
            Event::AttemptFailed { step: id, attempt: step.attempt, failure, retry_at_ms, heartbeat }
        }
    }
}

/// A failure and heartbeat details that are no larger than they may be. Details that are, are left out, and
/// the failure says so: what else it tells still counts.
fn as_recorded(failure: &Failure, heartbeat: Option<&Payload>) -> (Failure, Option<Payload>) {
    let failure = failure.clone().bounded();
    match heartbeat.map(Payload::size) {
        Some(size) if size > MAX_PAYLOAD_BYTES => {
            let remark = format!(
                "heartbeat details of {size} bytes were left out; at most {MAX_PAYLOAD_BYTES} are kept"
            );
            (failure.noting(&remark), None)
        }
        Some(_) | None => (failure, heartbeat.cloned()),
    }
}

fn finally(id: StepId, attempt: u32, failure: Failure) -> Event {
    match id {
        StepId::Action(seq) => Event::ActivityFailed { seq, attempt, failure },
        StepId::Undo(seq) => Event::CompensationFailed { seq, failure },
    }
}

fn alarm_event(run: &Run, alarm: Alarm) -> Option<Event> {
    match alarm {
        Alarm::Timer(seq) => Some(Event::TimerFired { seq }),
        Alarm::Retry(id) => {
            let step = run.steps.get(&id)?;
            Some(Event::AttemptScheduled { step: id, attempt: step.attempt })
        }
        Alarm::ScheduleToStart(id) => {
            let limit = run.steps.get(&id)?.options.schedule_to_start_ms.unwrap_or_default();
            let message = format!("no worker began the activity within {limit} ms");
            timed_out(run, id, FailureKind::ScheduleToStart, message)
        }
        Alarm::ScheduleToClose(id) => {
            let limit = run.steps.get(&id)?.options.schedule_to_close_ms.unwrap_or_default();
            let message = format!("the activity with all its attempts took longer than {limit} ms");
            timed_out(run, id, FailureKind::ScheduleToClose, message)
        }
        Alarm::RunTimeout => run_timed_out("run_timeout", run.started.run_timeout_ms),
        Alarm::ExecutionTimeout => run_timed_out("execution_timeout", run.started.execution_timeout_ms),
        Alarm::Stall => None,
    }
}

fn timed_out(run: &Run, id: StepId, kind: FailureKind, message: String) -> Option<Event> {
    let step = run.steps.get(&id)?;
    let mut failure = Failure::new(kind, message);
    failure.cause = step.last_failure.clone().map(Box::new);
    Some(finally(id, step.attempt, failure.bounded()))
}

fn run_timed_out(what: &str, limit_ms: Option<u64>) -> Option<Event> {
    let limit_ms = limit_ms?;
    let message = format!("the run took longer than its {what} of {limit_ms} ms");
    Some(Event::RunTimedOut { failure: Failure::new(FailureKind::RunTimeout, message) })
}

fn open(current: Option<&Run>) -> Result<&Run, Ruling> {
    let run = current
        .ok_or_else(|| rejected(ErrorCode::NotFound, "there is no workflow with this id".to_owned()))?;
    if run.closed() {
        return Err(Ruling::Rejected {
            code: ErrorCode::AlreadyClosed,
            message: format!("run {} is closed ({})", run.run_id, run.status().name()),
            run_id: Some(run.run_id.clone()),
        });
    }
    Ok(run)
}

fn code_is_there(run: &Run) -> Result<(), Ruling> {
    if !run.code_returned() {
        return Ok(());
    }
    Err(Ruling::Rejected {
        code: ErrorCode::AlreadyClosed,
        message: format!(
            "the code of run {} has returned and its compensations are running; nothing can reach it",
            run.run_id
        ),
        run_id: Some(run.run_id.clone()),
    })
}

fn check_request_id(request_id: Option<&str>) -> Result<(), Ruling> {
    let Some(request_id) = request_id else { return Ok(()) };
    if request_id.is_empty() || request_id.len() > MAX_REQUEST_ID_BYTES {
        let message = format!(
            "the request id has {} bytes; it must have 1 to {MAX_REQUEST_ID_BYTES}",
            request_id.len()
        );
        return Err(rejected(ErrorCode::InvalidId, message));
    }
    Ok(())
}

fn check_payload(what: &str, payload: &Payload) -> Result<(), Ruling> {
    if payload.size() <= MAX_PAYLOAD_BYTES {
        return Ok(());
    }
    let message = format!(
        "{what} has {} bytes; at most {MAX_PAYLOAD_BYTES} are allowed: store it elsewhere and pass where",
        payload.size()
    );
    Err(rejected(ErrorCode::PayloadTooLarge, message))
}

fn rejected(code: ErrorCode, message: String) -> Ruling {
    Ruling::Rejected { code, message, run_id: None }
}

/// A report on what is over.
fn over(outcome: &Outcome, message: String) -> Ruling {
    let message = format!("{message}; the report changes nothing");
    no_news(outcome).unwrap_or_else(|| rejected(ErrorCode::AttemptOver, message))
}

/// That a cancelled attempt stopped, or that one began, is no news when it is over; anything else is set
/// aside.
fn no_news(outcome: &Outcome) -> Option<Ruling> {
    match outcome {
        Outcome::Cancelled {} | Outcome::Started {} => Some(Ruling::Ignored),
        Outcome::Completed { .. } | Outcome::Failed { .. } | Outcome::Refused { .. } => None,
    }
}
