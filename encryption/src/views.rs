//! What orchestrators tell of runs. It is for people: what can be decrypted is, the rest stays as it is.

use stepwell_shared::api::Description;
use stepwell_shared::ids::StepId;
use stepwell_shared::summary::RunSummary;

use crate::payloads::Payloads;
use crate::place::Place;

impl Payloads {
    /// Decrypts for people what can be decrypted of a summary.
    pub fn reveal_summary(&self, summary: &mut RunSummary) {
        let RunSummary { workflow_id: id, run_id, result, failure, stall, .. } = summary;
        if let Some(result) = result {
            let _ = self.open(id, Place::WorkflowResult(run_id), result);
        }
        if let Some(failure) = failure {
            let _ = self.open_failure(id, run_id, None, failure);
        }
        if let Some(stall) = stall {
            let _ = self.open_text(id, Place::StallMessage(run_id), &mut stall.message);
        }
    }

    /// Decrypts for people what can be decrypted of a description.
    pub fn reveal_description(&self, description: &mut Description) {
        let Description { summary, input, waiting_for, pending_activities, compensations, .. } = description;
        self.reveal_summary(summary);
        let RunSummary { workflow_id: id, run_id, workflow_type, .. } = summary;
        let _ = self.open(id, Place::WorkflowInput(workflow_type), input);
        for line in waiting_for {
            // One of the lines repeats why the run cannot go on.
            let _ = self.open_text(id, Place::StallMessage(run_id), line);
        }
        for activity in pending_activities {
            if let Some(failure) = &mut activity.last_failure {
                let _ = self.open_failure(id, run_id, Some(activity.step), failure);
            }
        }
        for compensation in compensations {
            if let Some(failure) = &mut compensation.failure {
                let _ = self.open_failure(id, run_id, Some(StepId::Undo(compensation.seq)), failure);
            }
        }
    }
}
