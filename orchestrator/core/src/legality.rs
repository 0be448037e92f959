//! Which event may follow in which state: one table, asked when events are staged and again when they are
//! read back. Stored records may lie; what is illegal is a typed error, never a panic.

use stepwell_shared::api::CompensationState;
use stepwell_shared::history::Event;
use stepwell_shared::ids::{Seq, StepId};

use crate::run::Run;
use crate::step::StepState;

/// `Err` says in a few words why `event` cannot follow.
pub(crate) fn check(run: &Run, event: &Event) -> Result<(), String> {
    if run.closed() {
        return Err(format!("{} after the run closed", event.name()));
    }
    match event {
        Event::RunStarted(_) => Err("the run has started already".into()),
        Event::SignalReceived { .. } | Event::CancelRequested { .. } => code_is_there(run, event),
        Event::RunTimedOut { .. } if run.timed_out => Err("the run has timed out already".into()),
        Event::RunTimedOut { .. } => code_is_there(run, event),
        Event::RunTerminated { .. } => Ok(()),
        Event::AttemptStarted { step, attempt } => match state(run, *step, *attempt)? {
            StepState::Queued { .. } => Ok(()),
            StepState::Started { .. } | StepState::WaitingRetry { .. } | StepState::WaitingWorker { .. } => {
                Err(format!("step {step} is not on its queue"))
            }
        },
        Event::AttemptFailed { step, attempt, .. } | Event::AttemptRefused { step, attempt, .. } => {
            match state(run, *step, *attempt)? {
                StepState::Queued { .. } | StepState::Started { .. } => Ok(()),
                StepState::WaitingRetry { .. } | StepState::WaitingWorker { .. } => {
                    Err(format!("no attempt of step {step} is in flight"))
                }
            }
        }
        Event::AttemptScheduled { step, attempt } => match state(run, *step, *attempt)? {
            StepState::WaitingRetry { .. } | StepState::WaitingWorker { .. } => Ok(()),
            StepState::Queued { .. } | StepState::Started { .. } => {
                Err(format!("step {step} is on its queue already"))
            }
        },
        Event::ActivityCompleted { seq, attempt, .. } => match state(run, StepId::Action(*seq), *attempt)? {
            StepState::Queued { .. } | StepState::Started { .. } => Ok(()),
            StepState::WaitingRetry { .. } | StepState::WaitingWorker { .. } => {
                Err(format!("no attempt of step {seq} is in flight"))
            }
        },
        Event::ActivityFailed { seq, attempt, .. } => state(run, StepId::Action(*seq), *attempt).map(|_| ()),
        Event::ActivityCancelled { seq } => match run.steps.get(&StepId::Action(*seq)) {
            Some(step) if step.cancel_requested => Ok(()),
            Some(_) => Err(format!("nobody asked to cancel step {seq}")),
            None => Err(format!("step {seq} is not pending")),
        },
        Event::TimerFired { seq } => match run.timers.get(seq) {
            Some(due_ms) if *due_ms <= run.at_ms => Ok(()),
            Some(_) => Err(format!("timer {seq} is not due")),
            None => Err(format!("timer {seq} is not pending")),
        },
        Event::CompensationStarted { seq } => {
            let next = run.unwinding.as_ref().and_then(|unwinding| run.compensations.next(unwinding.below));
            if next == Some(*seq) { Ok(()) } else { Err(format!("it is not the turn of compensation {seq}")) }
        }
        Event::CompensationCompleted { seq } | Event::CompensationFailed { seq, .. } => {
            compensation_is(run, *seq, CompensationState::Running)
        }
        Event::CompensationResolved { seq, .. } => compensation_is(run, *seq, CompensationState::Failed),
        Event::CompensationsFinished { .. } => match &run.unwinding {
            Some(unwinding) if !run.compensations.unfinished(unwinding.below) => Ok(()),
            Some(_) => Err("there is more to undo".into()),
            None => Err("nothing is being undone".into()),
        },
    }
}

fn code_is_there(run: &Run, event: &Event) -> Result<(), String> {
    if run.code_returned() { Err(format!("{} after the code returned", event.name())) } else { Ok(()) }
}

fn state(run: &Run, step: StepId, attempt: u32) -> Result<StepState, String> {
    match run.steps.get(&step) {
        None => Err(format!("step {step} is not pending")),
        Some(pending) if pending.attempt != attempt => {
            Err(format!("step {step} is at attempt {}, not {attempt}", pending.attempt))
        }
        Some(pending) => Ok(pending.state),
    }
}

fn compensation_is(run: &Run, seq: Seq, wanted: CompensationState) -> Result<(), String> {
    match run.compensations.0.get(&seq) {
        None => Err(format!("step {seq} has no compensation")),
        Some(registered) if registered.state == wanted => Ok(()),
        Some(registered) => Err(format!("compensation {seq} is {:?}", registered.state)),
    }
}
