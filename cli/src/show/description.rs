//! A run in full: what it is, what it waits for, what is pending, what was undone.

use stepwell_shared::api::{CompensationState, Description};
use stepwell_shared::failure::Failure;

use super::{VALUE_LIMIT, workers};
use crate::output::Rows;
use crate::text;
use crate::times::{Times, span};

/// The run as text of several parts.
pub(crate) fn description(description: &Description, times: &Times) -> String {
    let mut parts = vec![facts(description, times)];
    let mut part = |title: &str, rows: &Rows| {
        if !rows.is_empty() {
            parts.push(format!("{title}\n{}", indented(&rows.text())));
        }
    };
    part("Activities", &activities(description, times));
    part("Timers", &timers(description, times));
    part("Compensations", &compensations(description));
    if description.workers.is_empty() {
        if !description.summary.status.closed() {
            parts.push(format!("No worker of queue {} is known", description.summary.queue));
        }
    } else {
        parts.push(format!("Workers of the queue\n{}", indented(&workers(&description.workers))));
    }
    parts.join("\n\n")
}

fn facts(description: &Description, times: &Times) -> String {
    let run = &description.summary;
    let mut lines = Vec::new();
    let mut fact = |name: &str, value: &str| lines.push(format!("{name:<14}{}", hanging(value)));
    fact("workflow", run.workflow_id.as_str());
    fact("run", run.run_id.as_str());
    fact("type", run.workflow_type.as_str());
    fact("queue", run.queue.as_str());
    fact("status", run.status.name());
    if let Some(stall) = &run.stall {
        let asked = if stall.failures == 1 { "once".into() } else { format!("{} times", stall.failures) };
        let retry = times.moment(stall.retry_at_ms);
        fact("cannot go on", &format!("{}: {}", stall.kind.name(), stall.message));
        fact("", &format!("asked in vain {asked}; asked again {retry}, or when the reason goes away"));
    }
    if let Some(failure) = &run.failure {
        fact("failure", &failure_chain(failure));
    }
    if let Some(reason) = &description.cancel_requested {
        fact("cancel asked", if reason.is_empty() { "yes" } else { reason });
    }
    let stalled = run.stall.as_ref().map(|stall| format!("{}: {}", stall.kind.name(), stall.message));
    let waiting = description.waiting_for.iter().filter(|line| stalled.as_ref() != Some(*line));
    for (number, line) in waiting.enumerate() {
        fact(if number == 0 { "waits for" } else { "" }, line);
    }
    fact("started", &times.moment(run.started_at_ms));
    if let Some(closed) = run.closed_at_ms {
        let took = span(closed.saturating_sub(run.started_at_ms));
        fact("closed", &format!("{}, after {took}", times.moment(closed)));
    }
    fact("history", &text::count(run.history_length, "record"));
    fact("input", &text::cut(description.input.json(), VALUE_LIMIT));
    if let Some(result) = &run.result {
        fact("result", &text::cut(result.json(), VALUE_LIMIT));
    }
    lines.join("\n")
}

fn activities(description: &Description, times: &Times) -> Rows {
    let mut rows = Rows::new(&["step", "type", "queue", "state", "attempt", "next try", "last failure"]);
    for activity in &description.pending_activities {
        rows.add([
            activity.step.to_string(),
            activity.activity_type.to_string(),
            activity.queue.to_string(),
            activity.state.clone(),
            activity.attempt.to_string(),
            activity.retry_at_ms.map(|at| times.moment(at)).unwrap_or_default(),
            cut_failure(activity.last_failure.as_ref()),
        ]);
    }
    rows
}

fn timers(description: &Description, times: &Times) -> Rows {
    let mut rows = Rows::new(&["timer", "due"]);
    for timer in &description.pending_timers {
        rows.add([timer.seq.to_string(), times.moment(timer.due_ms)]);
    }
    rows
}

fn compensations(description: &Description) -> Rows {
    let mut rows = Rows::new(&["step", "undoes", "by", "state", "failure"]);
    for one in &description.compensations {
        let state = match one.state {
            CompensationState::Registered => "registered",
            CompensationState::Running => "running",
            CompensationState::Completed => "completed",
            CompensationState::Failed => "failed; retry or skip it",
            CompensationState::Skipped => "skipped",
            CompensationState::Released => "released by a pivot",
        };
        rows.add([
            one.seq.to_string(),
            one.action.to_string(),
            one.compensation.to_string(),
            state.to_owned(),
            cut_failure(one.failure.as_ref()),
        ]);
    }
    rows
}

fn cut_failure(failure: Option<&Failure>) -> String {
    failure.map(|failure| text::cut(&failure.to_string(), VALUE_LIMIT)).unwrap_or_default()
}

fn failure_chain(failure: &Failure) -> String {
    let causes = std::iter::successors(Some(failure), |failure| failure.cause.as_deref());
    causes.map(Failure::to_string).collect::<Vec<_>>().join("\ncaused by ")
}

/// Further lines begin below the first one's text.
fn hanging(value: &str) -> String {
    text::lines(value).trim_end().replace('\n', "\n              ")
}

fn indented(table: &str) -> String {
    table.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
