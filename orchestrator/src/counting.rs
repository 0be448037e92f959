//! What is counted when arrivals are taken in and records are stored.

use stepwell_orchestrator_core::{Commit, Effect, Input, Ruling, Workflow};
use stepwell_shared::history::Event;
use stepwell_shared::message::Outcome;

use crate::drive::Taken;
use crate::metric_definitions::Metrics;

/// Counts a stored record.
pub(crate) fn committed(metrics: &Metrics, workflow: &Workflow, commit: &Commit) {
    let workflow_type = workflow.started().map_or("_other", |started| started.workflow_type.as_str());
    for event in &commit.record.events {
        metrics.events.with_label_values(&[event.name()]).inc();
        match event {
            Event::RunStarted(_) => {
                metrics.runs_started.with_label_values(&[metrics.label(workflow_type)]).inc();
            }
            Event::SignalReceived { .. } => metrics.signals.inc(),
            Event::CompensationCompleted { .. } => {
                metrics.compensations.with_label_values(&["completed"]).inc();
            }
            Event::CompensationFailed { .. } => metrics.compensations.with_label_values(&["failed"]).inc(),
            Event::AttemptFailed { step, .. } => {
                if let Some((activity, queue)) = workflow.step_names(*step) {
                    let labels = [metrics.label(queue.as_str()), metrics.label(activity.as_str())];
                    metrics.retries.with_label_values(&labels).inc();
                }
            }
            Event::CancelRequested { .. }
            | Event::RunTerminated { .. }
            | Event::RunTimedOut { .. }
            | Event::AttemptStarted { .. }
            | Event::AttemptRefused { .. }
            | Event::AttemptScheduled { .. }
            | Event::ActivityCompleted { .. }
            | Event::ActivityFailed { .. }
            | Event::ActivityCancelled { .. }
            | Event::TimerFired { .. }
            | Event::CompensationStarted { .. }
            | Event::CompensationResolved { .. }
            | Event::CompensationsFinished { .. } => {}
        }
    }
    if let Some(stall) = &commit.record.stall
        && commit.stalled
    {
        metrics.runs_stalled.with_label_values(&[stall.kind.name()]).inc();
    }
    for effect in &commit.effects {
        if let Effect::Close(summary) = effect {
            let label = metrics.label(summary.workflow_type.as_str());
            metrics.runs_closed.with_label_values(&[label, summary.status.name()]).inc();
            let closed_at_ms = summary.closed_at_ms.unwrap_or(summary.started_at_ms);
            let seconds = closed_at_ms.saturating_sub(summary.started_at_ms) as f64 / 1_000.0;
            metrics.run_seconds.with_label_values(&[label]).observe(seconds);
        }
    }
}

/// Counts an arrival that was dealt with.
pub(crate) fn taken(metrics: &Metrics, taken: &Taken) {
    let Input::Report { outcome, .. } = &taken.delivery.arrival.input else { return };
    let (Ruling::Accepted { .. }, Some((activity, queue))) = (&taken.ruling, &taken.step) else { return };
    let (queue, activity) = (metrics.label(queue.as_str()), metrics.label(activity.as_str()));
    let outcome = match outcome {
        Outcome::Started {} => return,
        Outcome::Completed { .. } => "completed",
        Outcome::Failed { .. } => "failed",
        Outcome::Cancelled {} => "cancelled",
        Outcome::Refused { .. } => "refused",
    };
    metrics.attempts.with_label_values(&[queue, activity, outcome]).inc();
    let timings = taken.delivery.timings.unwrap_or_default();
    if let Some(milliseconds) = timings.schedule_to_start_ms {
        let histogram = metrics.schedule_to_start_seconds.with_label_values(&[queue]);
        histogram.observe(milliseconds as f64 / 1_000.0);
    }
    if let Some(milliseconds) = timings.execution_ms {
        let histogram = metrics.execution_seconds.with_label_values(&[queue, activity]);
        histogram.observe(milliseconds as f64 / 1_000.0);
    }
}

#[cfg(test)]
mod tests {
    use stepwell_orchestrator_core::Arrival;
    use stepwell_shared::history::{RunStarted, StallKind};
    use stepwell_shared::ids::{Name, RunId, WorkflowId};
    use stepwell_shared::payload::Payload;

    use super::*;

    #[test]
    fn a_stall_counts_once_however_often_records_repeat_it() {
        let metrics = Metrics::new().unwrap();
        let mut workflow = Workflow::new(WorkflowId::new("a").unwrap());
        let start = Box::new(RunStarted {
            workflow_type: Name::new("order").unwrap(),
            queue: Name::new("default").unwrap(),
            input: Payload::null(),
            request_id: None,
            run_timeout_ms: None,
            execution_timeout_ms: None,
        });
        let start = Input::Start { start, run_id: RunId::new("run").unwrap() };
        workflow.receive(&Arrival { sequence: Some(1), input: start }, 1);
        workflow.stall(StallKind::NoWorker, "nobody is there".into(), 1);
        let commit = workflow.seal().unwrap();
        committed(&metrics, &workflow, &commit);
        for sequence in 2..5 {
            let input =
                Input::Signal { name: Name::new("go").unwrap(), payload: Payload::null(), request_id: None };
            workflow.receive(&Arrival { sequence: Some(sequence), input }, 1);
            let commit = workflow.seal().unwrap();
            assert!(commit.record.stall.is_some());
            committed(&metrics, &workflow, &commit);
        }
        assert_eq!(metrics.runs_stalled.with_label_values(&["no_worker"]).get(), 1);
        assert_eq!(metrics.signals.get(), 3);
    }
}
