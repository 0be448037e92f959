//! The summary of a workflow id's current run: the value in the `state` bucket.

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::history::Stall;
use crate::ids::{Name, RunId, WorkflowId};
use crate::payload::Payload;

/// What a list or a waiting client needs to know of a run, without reading its history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Format version.
    pub v: u32,
    /// The workflow.
    pub workflow_id: WorkflowId,
    /// Its latest run.
    pub run_id: RunId,
    /// The workflow type.
    #[serde(rename = "type")]
    pub workflow_type: Name,
    /// The queue whose workers run the code.
    pub queue: Name,
    /// Where it stands.
    pub status: Status,
    /// When it started, in milliseconds since 1970.
    pub started_at_ms: u64,
    /// When it closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at_ms: Option<u64>,
    /// What it returned, if it completed.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::payload::present")]
    pub result: Option<Payload>,
    /// Why it ended otherwise, or why it is rolling back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Why it cannot go on, if it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall: Option<Stall>,
    /// Records in its history when this was written.
    pub history_length: u64,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The code runs or waits.
    Running,
    /// The code is done with it and compensations run.
    Compensating,
    /// A compensation failed for good; somebody must retry or skip it.
    Stuck,
    /// The code returned a result.
    Completed,
    /// The code returned an error and nothing had to be undone.
    Failed,
    /// The run was cancelled and nothing had to be undone.
    Cancelled,
    /// The run was ended without asking the code.
    Terminated,
    /// The run reached its timeout and nothing had to be undone.
    TimedOut,
    /// The run failed, was cancelled or timed out, and what it had done was undone.
    Compensated,
}

impl Status {
    /// All of them, in the order of the life of a run.
    pub const ALL: [Self; 9] = [
        Self::Running,
        Self::Compensating,
        Self::Stuck,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Terminated,
        Self::TimedOut,
        Self::Compensated,
    ];

    /// Whether nothing more happens to the run.
    #[must_use]
    pub fn closed(self) -> bool {
        match self {
            Self::Running | Self::Compensating | Self::Stuck => false,
            Self::Completed
            | Self::Failed
            | Self::Cancelled
            | Self::Terminated
            | Self::TimedOut
            | Self::Compensated => true,
        }
    }

    /// The name used in JSON, tables and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Compensating => "compensating",
            Self::Stuck => "stuck",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Terminated => "terminated",
            Self::TimedOut => "timed_out",
            Self::Compensated => "compensated",
        }
    }
}
