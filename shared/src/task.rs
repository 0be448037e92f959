//! Work for a worker: activity tasks, which lie on the TASKS stream, and workflow tasks and queries,
//! which are core NATS requests with an answer.

use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::history::{Event, Record, StallKind};
use crate::ids::{Name, RunId, StepId, WorkerId, WorkflowId};
use crate::payload::Payload;

/// One attempt of an activity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActivityTask {
    /// Format version.
    pub v: u32,
    /// The workflow that asked for it.
    pub workflow_id: WorkflowId,
    /// The workflow's type.
    pub workflow_type: Name,
    /// The run that asked for it.
    pub run_id: RunId,
    /// Which step of the run.
    pub step: StepId,
    /// From 1.
    pub attempt: u32,
    /// The activity type.
    #[serde(rename = "type")]
    pub activity_type: Name,
    /// The input.
    pub input: Payload,
    /// The same for every attempt of this step, and for no other step of any run.
    pub idempotency_key: String,
    /// To be returned unchanged with the report.
    pub token: String,
    /// The partition of the workflow. Reports on tasks of one partition may go together in a pack, see
    /// [`crate::packed_report`]; without it they may not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    /// When it was published, in milliseconds since 1970 by the orchestrator's clock.
    pub scheduled_at_ms: u64,
    /// Present when the wait for a worker is limited: report `started` when the attempt begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_to_start_ms: Option<u64>,
    /// From this time on nobody waits for the activity, in milliseconds since 1970 by the orchestrator's
    /// clock: acknowledge the task and do not begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
    /// Longest time for this attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_to_close_ms: Option<u64>,
    /// Longest gap between two heartbeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_timeout_ms: Option<u64>,
    /// `1`: this attempt must not be made if it may have been made before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_attempts: Option<u32>,
    /// The last heartbeat details of the attempt before.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::payload::present")]
    pub heartbeat: Option<Payload>,
    /// Why the attempt before failed, for a person: `Type: message`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
}

/// A question to all workers of a queue, on `…roll-call.<queue>`: which tasks do you hold?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RollCall {
    /// Format version.
    pub v: u32,
    /// Who asks.
    pub worker: WorkerId,
}

/// An answer to a [`RollCall`]; a worker that holds nothing gives none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldTasks {
    /// Format version.
    pub v: u32,
    /// Who answers.
    pub worker: WorkerId,
    /// Sequence numbers on TASKS of the tasks that it holds.
    pub tasks: Vec<u64>,
}

/// The input of a compensation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound(deserialize = "I: Deserialize<'de>, O: Deserialize<'de>"))]
pub struct UndoInput<I = Payload, O = Payload> {
    /// What the action was given.
    pub input: I,
    /// What the action returned; `None` when it failed, was cancelled, or its outcome is unknown, and when input
    /// and output together are above 768 KiB.
    #[serde(
        default = "Option::default",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::payload::present"
    )]
    pub output: Option<O>,
    /// The action's idempotency key, to find what it did.
    pub idempotency_key: String,
}

/// A request to run workflow code, on `…workflow-task.<queue>` or `…workflow-task.<queue>.<worker>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkflowTask {
    /// Format version.
    pub v: u32,
    /// The workflow.
    pub workflow_id: WorkflowId,
    /// The run.
    pub run_id: RunId,
    /// Its type.
    #[serde(rename = "type")]
    pub workflow_type: Name,
    /// Where the workflow's history lies: its subject on the HISTORY stream.
    pub history_subject: String,
    /// Stream sequence of the run's first record; 0 when nothing is recorded yet.
    pub first_sequence: u64,
    /// Index of the last record whose turn the code has answered; 0 for a new run. A worker whose cached
    /// run stands elsewhere drops it and replays the records up to this one.
    pub after: u64,
    /// Which of the turns that may have been made for that record is the recorded one: a cached run may be
    /// used only if it was left with this mark. Opaque.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
    /// The mark with which the run is left when this turn is made. Opaque.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_mark: Option<String>,
    /// With it the run's records may be asked for, by `api.replay`. Opaque.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_token: Option<String>,
    /// All records of the run up to `after`, when the orchestrator has just read them and they are few: a worker that
    /// does not have the run need not ask for them. Otherwise none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<Record>,
    /// What to do.
    pub work: Work,
}

impl WorkflowTask {
    /// The records, if they are all that are needed to bring a run to `after`.
    #[must_use]
    pub fn all_records(&self) -> Option<&[Record]> {
        let in_order = self
            .records
            .iter()
            .zip(1..)
            .all(|(record, index)| record.index == index && record.run_id == self.run_id);
        (in_order && !self.records.is_empty() && self.records.len() as u64 == self.after)
            .then_some(&self.records)
    }
}

/// What a workflow task wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Hand these events to the code and answer with its commands.
    Turn {
        /// The time that the code sees, in milliseconds since 1970.
        at_ms: u64,
        /// The oldest events that wake code and that it has not seen yet. The first turn of a run begins
        /// with `run_started`.
        events: Vec<Event>,
        /// How many records the run will have with this turn, for `history_length`.
        index: u64,
    },
    /// Answer a question about the state as it is, changing nothing.
    Query {
        /// The query's name.
        name: Name,
        /// Its argument.
        argument: Payload,
    },
}

/// The answer to a [`WorkflowTask`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkflowTaskReply {
    /// Format version.
    pub v: u32,
    /// Who answers; further tasks of the run are sent there first.
    pub worker: WorkerId,
    /// The answer.
    pub answer: Answer,
    /// Whether the history had to be replayed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    /// Whether the worker takes several tasks in one message, see [`crate::pack`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub takes_packs: bool,
}

/// What workflow code, or the worker in its place, answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The code's commands, in order.
    Commands {
        /// The commands.
        commands: Vec<Command>,
    },
    /// The query's answer.
    QueryResult {
        /// The value.
        result: Payload,
    },
    /// The query cannot be answered; the text says why and what queries there are.
    QueryFailed {
        /// For a person.
        message: String,
    },
    /// The code could not answer.
    Stalled {
        /// The kind of reason.
        kind: StallKind,
        /// For a person: what was found and what to do.
        message: String,
    },
    /// The worker is shutting down or full; ask another one.
    Busy {},
}

/// Body of `…cancel-activity.<queue>`: whoever runs this step is to stop it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelActivity {
    /// Format version.
    pub v: u32,
    /// The run.
    pub run_id: RunId,
    /// The step.
    pub step: StepId,
}
