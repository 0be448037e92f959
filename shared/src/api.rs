//! Requests and answers of the API on core NATS, `stepwell.<ns>.api.<verb>`, and the verdict that
//! senders of events may ask for.
//!
//! Every answer is either the verb's own body or an [`ApiError`], told apart by the `error` field.

use serde::{Deserialize, Serialize};

use crate::announce::Announcement;
use crate::error_code::ErrorCode;
use crate::failure::Failure;
use crate::history::Record;
use crate::ids::{Name, RunId, Seq, StepId, WorkerId, WorkflowId};
use crate::message::CompensationAction;
use crate::payload::Payload;
use crate::rejection::Rejection;
use crate::summary::{RunSummary, Status};

/// What became of an event, sent to its `Stepwell-Answer-To` subject after it was committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is in the history of this run.
    Accepted {
        /// The run that took it in.
        run_id: RunId,
    },
    /// It had been taken in before, by this run; nothing changed.
    Duplicate {
        /// The run that took it in.
        run_id: RunId,
    },
    /// It was set aside.
    Rejected(ApiError),
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} [{code}]")]
pub struct ApiError {
    /// The kind of reason.
    pub code: ErrorCode,
    /// What was found and what to do.
    pub message: String,
    /// The run that stands in the way: the open one with `already_open`, the closed one with
    /// `already_closed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
}

/// An answer of the API: the verb's body, or `{"error": …}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiAnswer<T> {
    /// The verb's body.
    Ok(T),
    /// Why there is none.
    Error(ApiError),
}

/// Body of `api.start`. The id and type stand here instead of in the subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartRequest {
    /// The workflow id.
    pub id: String,
    /// The workflow type.
    #[serde(rename = "type")]
    pub workflow_type: String,
    /// The queue; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The input; `null` when absent.
    #[serde(default)]
    pub input: Payload,
    /// See [`crate::message::StartMessage::request_id`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Longest time for one run, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_timeout_ms: Option<u64>,
    /// Longest time for the execution, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_timeout_ms: Option<u64>,
}

/// Body of `api.signal`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignalRequest {
    /// The workflow id.
    pub id: String,
    /// The signal's name.
    pub name: String,
    /// What it carries; `null` when absent.
    #[serde(default)]
    pub payload: Payload,
    /// See [`crate::message::SignalMessage::request_id`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Body of `api.cancel` and `api.terminate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRequest {
    /// The workflow id.
    pub id: String,
    /// Why, for a person.
    #[serde(default)]
    pub reason: String,
}

/// Body of `api.compensation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompensationRequest {
    /// The workflow id.
    pub id: String,
    /// The activity whose compensation failed.
    pub seq: Seq,
    /// What to do.
    pub action: CompensationAction,
    /// Who or why, for a person.
    #[serde(default)]
    pub reason: String,
}

/// Answer of `api.start`, `api.signal`, `api.cancel`, `api.terminate` and `api.compensation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The run that took it in.
    pub run_id: RunId,
    /// Whether it had been taken in before.
    pub duplicate: bool,
}

/// Body of `api.query`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueryRequest {
    /// The workflow id.
    pub id: String,
    /// The query's name.
    pub name: String,
    /// Its argument; `null` when absent.
    #[serde(default)]
    pub argument: Payload,
}

/// Answer of `api.query`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueryAnswer {
    /// The value.
    pub result: Payload,
}

/// Body of `api.result`, `api.describe` and `api.history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequest {
    /// The workflow id.
    pub id: String,
    /// Only this run; the latest when absent. With `history`: only records of this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// `result`: how long to wait for the run to close, in milliseconds; 0 answers at once. At most
    /// 60 000.
    #[serde(default)]
    pub wait_ms: u64,
    /// `history`: only records with a higher index.
    #[serde(default)]
    pub after: u64,
    /// `history`: how many records at most; 0 for as many as fit into one message.
    #[serde(default)]
    pub limit: usize,
}

/// Answer of `api.result`: the summary, closed or not.
pub type ResultAnswer = RunSummary;

/// Answer of `api.history`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryAnswer {
    /// The records, oldest first.
    pub records: Vec<Record>,
    /// Whether more follow; ask again with `after` set to the last index.
    pub more: bool,
}

/// Answer of `api.describe`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The summary.
    pub summary: RunSummary,
    /// The input.
    pub input: Payload,
    /// What the run waits for, one line for a person.
    pub waiting_for: Vec<String>,
    /// Activities that are not finished.
    pub pending_activities: Vec<PendingActivity>,
    /// Timers that have not fired.
    pub pending_timers: Vec<PendingTimer>,
    /// Compensations that are registered, and what became of them, in start order of their actions.
    pub compensations: Vec<CompensationView>,
    /// Whether a cancellation was asked for.
    pub cancel_requested: Option<String>,
    /// Workers of the run's queue that are known now.
    pub workers: Vec<Announcement>,
}

/// An activity that is not finished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PendingActivity {
    /// Which step.
    pub step: StepId,
    /// The activity type.
    #[serde(rename = "type")]
    pub activity_type: Name,
    /// Its queue.
    pub queue: Name,
    /// What it is doing: `queued_or_running`, `running` (known only with a `schedule_to_start`),
    /// `waiting_for_retry`, `waiting_for_worker`, `cancelling`.
    pub state: String,
    /// The current or next attempt.
    pub attempt: u32,
    /// When the next attempt may start, if it waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at_ms: Option<u64>,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
}

/// A timer that has not fired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingTimer {
    /// Which timer.
    pub seq: Seq,
    /// When it is due, in milliseconds since 1970.
    pub due_ms: u64,
}

/// A compensation that is registered, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompensationView {
    /// The action.
    pub seq: Seq,
    /// The action's type.
    pub action: Name,
    /// The compensation's type.
    pub compensation: Name,
    /// Where it stands.
    pub state: CompensationState,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// Where a compensation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompensationState {
    /// Registered; nothing has to be undone so far.
    Registered,
    /// Its turn has come.
    Running,
    /// It did its work.
    Completed,
    /// It failed for good and waits for somebody.
    Failed,
    /// Somebody said that it is not needed.
    Skipped,
    /// A pivot was passed; it will not run.
    Released,
}

/// Body of `api.list`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ListRequest {
    /// Only these statuses; all when empty.
    pub status: Vec<Status>,
    /// Only this type.
    #[serde(rename = "type")]
    pub workflow_type: Option<String>,
    /// Only ids that begin with this.
    pub id_prefix: Option<String>,
    /// Only runs that cannot go on (stalled or stuck).
    pub stuck: bool,
    /// How many at most; 0 for 100. Newest first.
    pub limit: usize,
}

/// Answer of `api.list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListAnswer {
    /// The runs, newest first. Results are left out.
    pub runs: Vec<RunSummary>,
    /// How many matched in all.
    pub total: usize,
}

/// Answer of `api.rejected`: the newest messages that were set aside, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedAnswer {
    /// The messages.
    pub rejected: Vec<Rejection>,
}

/// Answer of `api.workers`: the workers that are known now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkersAnswer {
    /// The workers.
    pub workers: Vec<Announcement>,
}

/// Body of `api.replay`, which workers ask: what was recorded of a run of which they got a workflow task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayRequest {
    /// The workflow id.
    pub id: String,
    /// The run.
    pub run_id: String,
    /// [`crate::task::WorkflowTask::replay_token`] of a workflow task of this run.
    pub token: String,
    /// Stream sequence to read from: the task's `first_sequence`, then what the answer before said.
    #[serde(default)]
    pub from_sequence: u64,
}

/// Answer of `api.replay`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplayAnswer {
    /// Records of the run, oldest first.
    pub records: Vec<Record>,
    /// Where to go on reading; absent when there is no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_sequence: Option<u64>,
}

/// Body of `api.attempt`, which workers ask about a task that they were given: what became of the attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRequest {
    /// The workflow id.
    pub id: String,
    /// The run.
    pub run_id: String,
    /// The step.
    pub step: StepId,
    /// The attempt.
    pub attempt: u32,
    /// The task's token.
    pub token: String,
    /// Whether only the run is asked about: reports are not looked for then, which is much less work. An orchestrator
    /// that does not know this looks for them all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub run_only: bool,
}

/// Answer of `api.attempt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptAnswer {
    /// What was reported of the attempt.
    pub reported: Reported,
    /// Whether the run is closed, also when another run of the id took its place or it is forgotten.
    pub run_closed: bool,
}

/// What was reported of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reported {
    /// Nothing that is still known.
    Nothing {},
    /// That it has begun.
    Begun {
        /// Where, as the report says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<WorkerId>,
    },
    /// That it has ended.
    Ended {},
}

/// The workflow id of a request body, checked.
///
/// # Errors
/// `invalid_id` with what is wrong with it.
pub fn checked_workflow_id(id: &str) -> Result<WorkflowId, ApiError> {
    WorkflowId::new(id).map_err(|error| ApiError {
        code: ErrorCode::InvalidId,
        message: error.to_string(),
        run_id: None,
    })
}
