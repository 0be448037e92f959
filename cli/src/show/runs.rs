//! Runs and workers in tables, and a run's standing in a sentence.

use stepwell_shared::announce::Announcement;
use stepwell_shared::ids::Name;
use stepwell_shared::summary::{RunSummary, Status};

use super::VALUE_LIMIT;
use crate::output::Rows;
use crate::text;
use crate::times::Times;

/// A table of runs.
pub(crate) fn runs(runs: &[RunSummary], times: &Times) -> String {
    let mut rows = Rows::new(&["workflow", "type", "status", "queue", "started", "took", "reason"]);
    for run in runs {
        rows.add([
            run.workflow_id.to_string(),
            run.workflow_type.to_string(),
            run.status.name().to_owned(),
            run.queue.to_string(),
            times.moment(run.started_at_ms),
            times.took(run.started_at_ms, run.closed_at_ms),
            text::cut(&reason(run).unwrap_or_default(), VALUE_LIMIT),
        ]);
    }
    rows.text()
}

/// A table of workers.
pub(crate) fn workers(workers: &[Announcement]) -> String {
    let mut rows = Rows::new(&["queue", "worker", "host", "slots", "workflows", "activities"]);
    let names = |names: &[Name]| names.iter().map(Name::as_str).collect::<Vec<_>>().join(" ");
    for worker in workers {
        rows.add([
            worker.queue.to_string(),
            worker.worker.to_string(),
            worker.host.clone(),
            format!("{}/{}", worker.slots_used, worker.slots),
            names(&worker.workflows),
            names(&worker.activities),
        ]);
    }
    rows.text()
}

/// Where a run stands and why, as the end of a sentence: `running, no_worker: …`.
pub(crate) fn standing(run: &RunSummary) -> String {
    match reason(run) {
        Some(reason) => format!("{}: {reason}", run.status.name()),
        None => run.status.name().to_owned(),
    }
}

/// Why a run that is not closed cannot go on, if it cannot.
pub(crate) fn obstacle(run: &RunSummary) -> Option<String> {
    (run.stall.is_some() || run.status == Status::Stuck).then(|| reason(run)).flatten()
}

fn reason(run: &RunSummary) -> Option<String> {
    match (&run.stall, &run.failure) {
        (Some(stall), _) => Some(format!("{}: {}", stall.kind.name(), stall.message)),
        (None, Some(failure)) => Some(failure.to_string()),
        (None, None) => None,
    }
}
