//! A run as a person sees it: its summary, and what it waits for.

use stepwell_shared::api::{CompensationView, Description, PendingActivity, PendingTimer};
use stepwell_shared::encoding::VERSION;
use stepwell_shared::summary::RunSummary;

use crate::run::Run;
use crate::step::{Step, StepState};
use crate::workflow::Workflow;

impl Workflow {
    /// The summary of the current run, as lists and waiting clients see it.
    #[must_use]
    pub fn summary(&self) -> Option<RunSummary> {
        let run = self.run()?;
        let (closed_at_ms, result, failure) = match &run.ended {
            Some((at_ms, ending)) => (Some(*at_ms), ending.result.clone(), ending.failure.clone()),
            None => (None, None, None),
        };
        Some(RunSummary {
            v: VERSION,
            workflow_id: self.id().clone(),
            run_id: run.run_id.clone(),
            workflow_type: run.started.workflow_type.clone(),
            queue: run.started.queue.clone(),
            status: run.status(),
            started_at_ms: run.started_at_ms,
            closed_at_ms,
            result,
            failure: failure.or_else(|| run.unwinding_failure()),
            stall: run.stall.clone(),
            history_length: run.index,
        })
    }

    /// The current run in detail. The shell adds the workers that it knows.
    #[must_use]
    pub fn describe(&self) -> Option<Description> {
        let run = self.run()?;
        Some(Description {
            summary: self.summary()?,
            input: run.started.input.clone(),
            waiting_for: waiting_for(run),
            pending_activities: run.steps.iter().map(|(id, step)| pending(*id, step)).collect(),
            pending_timers: run
                .timers
                .iter()
                .map(|(seq, due_ms)| PendingTimer { seq: *seq, due_ms: *due_ms })
                .collect(),
            compensations: run
                .compensations
                .0
                .iter()
                .map(|(seq, registered)| CompensationView {
                    seq: *seq,
                    action: registered.action.clone(),
                    compensation: registered.compensation.activity_type.clone(),
                    state: registered.state,
                    failure: registered.failure.clone(),
                })
                .collect(),
            cancel_requested: run.cancel_requested.clone(),
            workers: Vec::new(),
        })
    }

    /// Everything that the records say of the run, as text: the same for a live run and for one that is
    /// rebuilt from its records. Hidden because it is there for tests: what it shows is not visible outside
    /// of this crate, it is not for people, and not stable.
    #[doc(hidden)]
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut run = self.run().cloned();
        if let Some(run) = &mut run {
            // When a cancellation is told again is no part of the history.
            run.repeat_cancels_at_ms = None;
        }
        format!("{run:#?}")
    }
}

/// Most lines of a description that say what a run waits for; a fan-out has thousands of steps.
const MAX_WAITING_LINES: usize = 20;

fn waiting_for(run: &Run) -> Vec<String> {
    if run.closed() {
        return Vec::new();
    }
    let mut lines = Vec::new();
    if let Some(stall) = &run.stall {
        lines.push(format!("{}: {}", stall.kind.name(), stall.message));
    }
    if run.compensations.failed() {
        lines.push("somebody to retry or skip a compensation that failed".into());
    }
    lines.extend(run.steps.iter().take(MAX_WAITING_LINES).map(|(id, step)| {
        let (name, attempt) = (&step.activity_type, step.attempt);
        match step.state {
            StepState::Queued { .. } => {
                format!("activity `{name}` ({id}), attempt {attempt}, queued or running on `{}`", step.queue)
            }
            StepState::Started { .. } => {
                format!("activity `{name}` ({id}), attempt {attempt}, running on `{}`", step.queue)
            }
            StepState::WaitingRetry { .. } => format!("the retry of activity `{name}` ({id})"),
            StepState::WaitingWorker { .. } => {
                format!("a worker of queue `{}` with activity `{name}` ({id})", step.queue)
            }
        }
    }));
    if run.timers.len() == 1 {
        lines.push("a timer".into());
    } else if run.timers.len() > 1 {
        lines.push(format!("{} timers", run.timers.len()));
    }
    if lines.is_empty() {
        lines.push("a signal".into());
    }
    lines
}

fn pending(id: stepwell_shared::ids::StepId, step: &Step) -> PendingActivity {
    let (state, retry_at_ms) = match step.state {
        StepState::Queued { .. } | StepState::Started { .. } if step.cancel_requested => ("cancelling", None),
        StepState::Queued { .. } => ("queued_or_running", None),
        StepState::Started { .. } => ("running", None),
        StepState::WaitingRetry { at_ms } => ("waiting_for_retry", Some(at_ms)),
        StepState::WaitingWorker { at_ms } => ("waiting_for_worker", Some(at_ms)),
    };
    PendingActivity {
        step: id,
        activity_type: step.activity_type.clone(),
        queue: step.queue.clone(),
        state: state.to_owned(),
        attempt: step.attempt,
        retry_at_ms,
        last_failure: step.last_failure.clone(),
    }
}
