//! One turn: hand over events, poll the code until it has come to rest, collect what it asked for. The
//! same whether live or on replay.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use stepwell_shared::command::Command;
use stepwell_shared::history::Event;
use stepwell_shared::limits::MAX_TURN_COMMANDS;

use crate::WorkflowContext;
use crate::definition::{CodeError, CodeFuture, WorkflowCode};
use crate::error::WorkflowError;
use crate::panics;
use crate::run::{Asked, Phase, Shared, State, too_many_commands};
use crate::stalled::Stalled;
use crate::wake::Driving;

/// Most polls of the code in one turn. Code that wakes itself without end would keep the thread for
/// ever; a fan-out of thousands of activities needs a handful of polls.
const MAX_POLLS: u32 = 100_000;

/// What is handed over.
pub(crate) struct TurnInput<'a> {
    pub(crate) events: &'a [Event],
    pub(crate) at_ms: u64,
    pub(crate) index: u64,
    pub(crate) replaying: bool,
}

/// What the code answered.
pub(crate) struct TurnOutput {
    pub(crate) asked: Vec<Asked>,
    pub(crate) closed: bool,
}

/// Makes one turn. After an error neither `run` nor `future` may be driven again.
pub(crate) fn make_turn(
    code: &WorkflowCode,
    run: &Arc<Shared>,
    future: &mut Option<CodeFuture>,
    input: &TurnInput<'_>,
) -> Result<TurnOutput, Stalled> {
    let _driving = Driving::enter(&run.root);
    if run.root.was_foreign() {
        return Err(woken_from_outside(run));
    }
    let wakers = hand_over(run, input)?;
    panics::catch(|| wakers.into_iter().for_each(Waker::wake)).map_err(|text| panicked(run, &text))?;
    if future.is_none() {
        *future = Some(begin(code, run)?);
    }
    let Some(polled) = future else { return Err(not_started()) };
    match poll_until_rest(run, polled)? {
        Some(result) => close(run, result),
        None => rest(run),
    }
}

fn hand_over(run: &Shared, input: &TurnInput<'_>) -> Result<Vec<Waker>, Stalled> {
    let mut state = run.state();
    if let Some(fault) = state.fault.take() {
        return Err(fault);
    }
    state.now_ms = state.now_ms.max(input.at_ms);
    state.index = input.index;
    state.replaying = input.replaying;
    state.phase = Phase::Running;
    state.asked.clear();
    Ok(state.apply(input.events))
}

fn begin(code: &WorkflowCode, run: &Arc<Shared>) -> Result<CodeFuture, Stalled> {
    let Some(payload) = run.state().started.as_ref().map(|started| started.input.clone()) else {
        return Err(not_started());
    };
    let context = WorkflowContext::new(run.clone());
    panics::catch(|| code.begin(context, payload))
        .map_err(|text| panicked(run, &text))?
        .map_err(|reason| Stalled::invalid(format!(
            "{reason}. Deploy code that accepts this input, or terminate the run and start it again with another one"
        )))
}

/// Polls until nothing moves any more; the result if the code returned.
fn poll_until_rest(
    run: &Arc<Shared>,
    future: &mut CodeFuture,
) -> Result<Option<Result<stepwell_shared::payload::Payload, CodeError>>, Stalled> {
    let waker = Waker::from(run.root.clone());
    let mut cx = Context::from_waker(&waker);
    // What had been achieved when conditions were looked at last.
    let mut looked_at = None;
    for _ in 0..MAX_POLLS {
        run.root.take_woken();
        let polled = panics::catch(|| future.as_mut().poll(&mut cx)).map_err(|text| panicked(run, &text))?;
        let (fault, conditions, progress) = {
            let mut state = run.state();
            (state.fault.take(), state.condition_wakers(), state.progress)
        };
        if let Some(fault) = fault {
            return Err(fault);
        }
        if let Poll::Ready(result) = polled {
            return Ok(Some(result));
        }
        if run.root.take_woken() {
            continue;
        }
        // Combinators may wake themselves for no reason, so a look counts by what came of it.
        if conditions.is_empty() || looked_at == Some(progress) {
            return Ok(None);
        }
        looked_at = Some(progress);
        panics::catch(|| conditions.into_iter().for_each(Waker::wake))
            .map_err(|text| panicked(run, &text))?;
    }
    Err(never_rests(run))
}

/// The code waits: for something that an event can bring about, or it would wait for ever.
fn rest(run: &Shared) -> Result<TurnOutput, Stalled> {
    if run.root.was_foreign() {
        return Err(woken_from_outside(run));
    }
    let mut state = run.state();
    if !state.waits() {
        let found = "it came to rest, and nothing that it awaits is an activity, timer, signal or condition.";
        return Err(Stalled::foreign_wait(found, state.last_call));
    }
    state.phase = Phase::Idle;
    let asked = bounded(std::mem::take(&mut state.asked))?;
    Ok(TurnOutput { asked, closed: false })
}

/// The code returned.
fn close(
    run: &Shared,
    result: Result<stepwell_shared::payload::Payload, CodeError>,
) -> Result<TurnOutput, Stalled> {
    let mut state = run.state();
    state.phase = Phase::Over;
    let command = closing_command(&state, result)?;
    let mut asked = std::mem::take(&mut state.asked);
    // What the code dropped on its way out is cancelled by the end of the run itself.
    while asked.last().is_some_and(|last| is_cancellation(&last.command)) {
        asked.pop();
    }
    asked.push(Asked { command, at: None });
    Ok(TurnOutput { asked: bounded(asked)?, closed: true })
}

fn closing_command(
    state: &State,
    result: Result<stepwell_shared::payload::Payload, CodeError>,
) -> Result<Command, Stalled> {
    match (result, &state.cancel) {
        (Ok(result), _) => Ok(Command::CompleteRun { result }),
        (Err(CodeError::Returned(WorkflowError::Cancelled)), Some(failure)) => {
            Ok(Command::CancelRun { failure: failure.clone() })
        }
        (Err(CodeError::Returned(error)), _) => Ok(Command::FailRun { failure: error.into_failure() }),
        (Err(CodeError::Unusable(reason)), _) => Err(Stalled::invalid(reason)),
    }
}

fn is_cancellation(command: &Command) -> bool {
    match command {
        Command::CancelActivity { .. } | Command::CancelTimer { .. } => true,
        Command::RunActivity(_)
        | Command::StartTimer { .. }
        | Command::RaceWon { .. }
        | Command::Pivot { .. }
        | Command::Compensate { .. }
        | Command::CompleteRun { .. }
        | Command::FailRun { .. }
        | Command::CancelRun { .. } => false,
    }
}

fn bounded(asked: Vec<Asked>) -> Result<Vec<Asked>, Stalled> {
    if asked.len() > MAX_TURN_COMMANDS {
        let at = asked.iter().rev().find_map(|asked| asked.at);
        return Err(too_many_commands(at));
    }
    Ok(asked)
}

fn panicked(run: &Shared, text: &str) -> Stalled {
    let last_call = run.state().last_call;
    if panics::misses_runtime(text) {
        let found = format!("it asked for a runtime that workflow code does not run on ({text}).");
        return Stalled::foreign_wait(&found, last_call);
    }
    Stalled::panic(text, last_call)
}

fn woken_from_outside(run: &Shared) -> Stalled {
    let found =
        "something other than a recorded event woke it, such as a timer, a channel or a task of a runtime.";
    Stalled::foreign_wait(found, run.state().last_call)
}

fn never_rests(run: &Shared) -> Stalled {
    let place = run
        .state()
        .last_call
        .map(|call| format!(" The last Stepwell call was ctx.{} at {}.", call.what, call.at));
    Stalled::invalid(format!(
        "workflow code was polled {MAX_POLLS} times in one turn and did not come to rest: it wakes itself \
         without end.{} Look for a loop that yields instead of waiting for something",
        place.unwrap_or_default()
    ))
}

fn not_started() -> Stalled {
    Stalled::invalid("the first turn of a run must hand over run_started, and it was not among the events")
}
