//! One event or one command in a few words.

use std::collections::HashMap;

use stepwell_shared::command::Command;
use stepwell_shared::failure::Failure;
use stepwell_shared::history::Event;
use stepwell_shared::ids::{Name, Seq};
use stepwell_shared::message::CompensationAction;
use stepwell_shared::payload::Payload;

use super::VALUE_LIMIT;
use crate::text;
use crate::times::span;

type Steps = HashMap<Seq, Name>;

/// What an event says besides its name.
pub(super) fn event(event: &Event, steps: &Steps) -> String {
    match event {
        Event::RunStarted(start) => {
            format!("{} on queue {}, input {}", start.workflow_type, start.queue, value(&start.input))
        }
        Event::SignalReceived { name, payload, .. } => format!("{name} {}", value(payload)),
        Event::CancelRequested { reason } | Event::RunTerminated { reason } => cut(reason),
        Event::RunTimedOut { failure } => failed(failure),
        Event::AttemptFailed { step, attempt, failure, .. } => {
            format!("{} attempt {attempt}: {}", step_name(*step, steps), failed(failure))
        }
        Event::AttemptRefused { step, attempt, reason } => {
            format!("{} attempt {attempt}: {}", step_name(*step, steps), cut(reason))
        }
        Event::AttemptScheduled { step, attempt } | Event::AttemptStarted { step, attempt } => {
            format!("{} attempt {attempt}", step_name(*step, steps))
        }
        Event::ActivityCompleted { seq, attempt, result } => {
            format!("{}{} = {}", name(*seq, steps), after(*attempt), value(result))
        }
        Event::ActivityFailed { seq, attempt, failure } => {
            format!("{}{}: {}", name(*seq, steps), after(*attempt), failed(failure))
        }
        Event::ActivityCancelled { seq }
        | Event::CompensationStarted { seq }
        | Event::CompensationCompleted { seq } => name(*seq, steps),
        Event::TimerFired { seq } => seq.to_string(),
        Event::CompensationFailed { seq, failure } => format!("{}: {}", name(*seq, steps), failed(failure)),
        Event::CompensationResolved { seq, action, reason } => {
            let action = match action {
                CompensationAction::Retry => "retry",
                CompensationAction::Skip => "skip",
            };
            format!("{}: {action} {}", name(*seq, steps), cut(reason)).trim_end().to_owned()
        }
        Event::CompensationsFinished { seq } => seq.map(|seq| seq.to_string()).unwrap_or_default(),
    }
}

/// A command's name, and what it says besides.
pub(super) fn command(command: &Command, steps: &Steps) -> (&'static str, String) {
    match command {
        Command::RunActivity(run) => {
            let undo = run.compensation.as_ref();
            let undo = undo.map(|undo| format!(", undone by {}", undo.activity_type)).unwrap_or_default();
            let detail =
                format!("{} on queue {}{undo}, input {}", name(run.seq, steps), run.queue, value(&run.input));
            ("run_activity", detail)
        }
        Command::CancelActivity { seq } => ("cancel_activity", name(*seq, steps)),
        Command::StartTimer { seq, delay_ms } => ("start_timer", format!("{seq}: {}", span(*delay_ms))),
        Command::CancelTimer { seq } => ("cancel_timer", seq.to_string()),
        Command::RaceWon { seq, winner } => ("race_won", format!("{seq}: branch {winner}")),
        Command::Pivot { seq } => ("pivot", seq.to_string()),
        Command::Compensate { seq } => ("compensate", seq.to_string()),
        Command::CompleteRun { result } => ("complete_run", value(result)),
        Command::FailRun { failure } => ("fail_run", failed(failure)),
        Command::CancelRun { failure } => ("cancel_run", failed(failure)),
    }
}

fn name(seq: Seq, steps: &Steps) -> String {
    match steps.get(&seq) {
        Some(name) => format!("{seq} {name}"),
        None => seq.to_string(),
    }
}

fn step_name(step: stepwell_shared::ids::StepId, steps: &Steps) -> String {
    match steps.get(&step.seq()) {
        Some(name) => format!("{step} {name}"),
        None => step.to_string(),
    }
}

fn after(attempt: u32) -> String {
    if attempt > 1 { format!(" at attempt {attempt}") } else { String::new() }
}

fn value(payload: &Payload) -> String {
    cut(payload.json())
}

fn failed(failure: &Failure) -> String {
    cut(&failure.to_string())
}

fn cut(long: &str) -> String {
    text::cut(long, VALUE_LIMIT)
}
