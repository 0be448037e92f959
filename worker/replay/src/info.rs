//! What a run may know of itself.

use std::time::SystemTime;

use stepwell_shared::ids::{Name, RunId, WorkflowId};

/// Facts about a run, from [`WorkflowContext::info`](crate::WorkflowContext::info).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInfo {
    /// The user's own name for the workflow.
    pub workflow_id: WorkflowId,
    /// This execution of it.
    pub run_id: RunId,
    /// The workflow type.
    pub workflow_type: Name,
    /// The queue whose workers run the code.
    pub queue: Name,
    /// Which execution of the workflow this is, from 1. Always 1 today: workflows are not executed again by themselves.
    pub attempt: u32,
    /// How many records the history has, the current one included.
    pub history_length: u64,
    /// When the code began to run.
    pub started_at: SystemTime,
}
