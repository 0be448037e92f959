//! The bodies of messages on the EVENTS stream. Workflow id, type, signal name, run and step are in the
//! subject ([`crate::subject`]); every body is a JSON object with a version `v`.

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::ids::{Name, WorkerId};
use crate::payload::Payload;

/// Body of `…workflow.<id>.start.<type>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartMessage {
    /// Format version.
    pub v: u32,
    /// The queue whose workers run the code; `default` when absent.
    #[serde(default = "default_queue")]
    pub queue: Name,
    /// The input; `null` when absent.
    #[serde(default)]
    pub input: Payload,
    /// Repeats with the same id are answered with the run that the first one started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Longest time for one run, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_timeout_ms: Option<u64>,
    /// Longest time for the execution over all its runs, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_timeout_ms: Option<u64>,
}

/// Body of `…workflow.<id>.signal.<name>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignalMessage {
    /// Format version.
    pub v: u32,
    /// What the signal carries; `null` when absent.
    #[serde(default)]
    pub payload: Payload,
    /// Repeats with the same id are taken in once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Body of `…workflow.<id>.cancel` and `…workflow.<id>.terminate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopMessage {
    /// Format version.
    pub v: u32,
    /// Why, for a person.
    #[serde(default)]
    pub reason: String,
}

/// Body of `…workflow.<id>.compensation.<seq>`: what to do about a compensation that failed for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompensationMessage {
    /// Format version.
    pub v: u32,
    /// What to do.
    pub action: CompensationAction,
    /// Who or why, for a person.
    #[serde(default)]
    pub reason: String,
}

/// What to do about a compensation that failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompensationAction {
    /// Run it again, with a fresh set of attempts.
    Retry,
    /// Somebody undid the step by hand; go on with the next one.
    Skip,
}

/// Body of `…workflow.<id>.activity.<run>.<step>`: how one attempt ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportMessage {
    /// Format version.
    pub v: u32,
    /// Which attempt, from 1, as the task said.
    pub attempt: u32,
    /// The task's token, unchanged. It proves that the sender held the task.
    pub token: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Who ran it, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerId>,
    /// From the task's publication to the start of the attempt, as the worker saw it, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_to_start_ms: Option<u64>,
    /// How long the attempt ran, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_ms: Option<u64>,
}

/// How one attempt of an activity ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It has begun. Reported only when the task has `schedule_to_start_ms` or a `maximum_attempts` of 1,
    /// before the attempt runs.
    Started {},
    /// It returned.
    Completed {
        /// What it returned; `null` when absent.
        #[serde(default)]
        result: Payload,
    },
    /// It failed. The orchestrator decides whether another attempt follows.
    Failed {
        /// Why.
        failure: Failure,
        /// The last heartbeat details, for the next attempt.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            deserialize_with = "crate::payload::present"
        )]
        heartbeat: Option<Payload>,
    },
    /// It stopped because it was told to.
    Cancelled {},
    /// The worker has no code for this activity type, or cannot decrypt the task; the attempt was not made.
    Refused {
        /// What the worker has instead, or which key it lacks, for a person.
        reason: String,
    },
}

fn default_queue() -> Name {
    Name::new("default").expect("a valid name")
}
