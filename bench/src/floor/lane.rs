//! A lane stands for one workflow in flight: an endless sequence of steps under ids of the usual length.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use stepwell_shared::ids::{RunId, StepId, WorkflowId};

/// Most lanes at once.
pub(crate) const MAX_LANES: usize = 4_096;

const RUN_PREFIX: &str = "01900000-0000-7000-8000-";

/// One lane.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    step: AtomicU32,
    /// Sequence of its last record.
    pub(crate) last_sequence: AtomicU64,
}

impl Lane {
    /// The next step's number.
    pub(crate) fn next_step(&self) -> u32 {
        self.step.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// The workflow id of a lane.
pub(crate) fn workflow_id(lane: usize) -> WorkflowId {
    WorkflowId::new(format!("steps-0-{lane:06}")).expect("a valid id")
}

/// The run id of a lane.
pub(crate) fn run_id(lane: usize) -> RunId {
    RunId::new(format!("{RUN_PREFIX}{lane:012}")).expect("a valid id")
}

/// The id under which a task is published.
pub(crate) fn attempt_id(lane: usize, step: u32) -> String {
    format!("{RUN_PREFIX}{lane:012}/{step}/1")
}

/// Reads what [`attempt_id`] wrote.
pub(crate) fn parse_attempt_id(id: &str) -> Option<(usize, StepId)> {
    let mut parts = id.strip_prefix(RUN_PREFIX)?.split('/');
    Some((parts.next()?.parse().ok()?, StepId::Action(parts.next()?.parse().ok()?)))
}

/// The lane of a stored event: its subject's fifth token ends with the number.
pub(crate) fn lane_of_event(subject: &str) -> Option<usize> {
    subject.split('.').nth(4)?.rsplit_once('-')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_found_again() {
        assert_eq!(parse_attempt_id(&attempt_id(17, 4)), Some((17, StepId::Action(4))));
        let subject = format!("stepwell.floor.event.3.{}.activity.{}.4", workflow_id(17), run_id(17));
        assert_eq!(lane_of_event(&subject), Some(17));
        assert_eq!(lane_of_event("stepwell.floor"), None);
    }
}
