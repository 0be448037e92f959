//! Every stream, bucket, subject and key name: built and parsed here and nowhere else.
//!
//! An id that a subject token cannot hold is escaped: each byte outside `A-Z a-z 0-9 _ - /` becomes
//! `=XX`, two upper-case hexadecimal digits. There is exactly one spelling of each id; others are
//! refused, because they would be second subjects for the same workflow.

use std::fmt;

use thiserror::Error;

use crate::error_code::ErrorCode;
use crate::ids::{InvalidId, MemberId, Name, Namespace, RunId, Seq, StepId, WorkerId, WorkflowId};
use crate::partition::partition_of_token;
use crate::shard::{Shard, Shards};

/// The streams of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// What arrives for workflows.
    Events,
    /// What was recorded of the runs of a shard's partitions.
    History(Shard),
    /// Activity tasks of a shard.
    Tasks(Shard),
    /// Messages that were set aside.
    Rejected,
}

impl Stream {
    /// The stream's name in `namespace`.
    #[must_use]
    pub fn name(self, namespace: &Namespace) -> String {
        format!("STEPWELL_{namespace}_{self}")
    }
}

/// As it is called in every namespace, such as `TASKS_2`.
impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, shard) = match self {
            Self::Events => ("EVENTS", Shard::FIRST),
            Self::History(shard) => ("HISTORY", *shard),
            Self::Tasks(shard) => ("TASKS", *shard),
            Self::Rejected => ("REJECTED", Shard::FIRST),
        };
        f.write_str(&shard.name(name.to_owned(), '_'))
    }
}

/// The key-value buckets of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bucket {
    /// Workflow id to the summary of its current run.
    State,
    /// When each sleeping run is to be woken.
    Timers,
    /// Request ids of starts that were taken in.
    Idempotency,
    /// Leases and checkpoints of orchestrators, and the namespace's settings.
    Owners,
    /// Heartbeat details of running activities.
    Heartbeats,
}

impl Bucket {
    /// The name of the stream behind the bucket.
    #[must_use]
    pub fn stream_name(self, namespace: &Namespace) -> String {
        format!("KV_{}", self.name(namespace))
    }

    /// The bucket's name in `namespace`.
    #[must_use]
    pub fn name(self, namespace: &Namespace) -> String {
        let suffix = match self {
            Self::State => "state",
            Self::Timers => "timers",
            Self::Idempotency => "idempotency",
            Self::Owners => "owners",
            Self::Heartbeats => "heartbeats",
        };
        format!("STEPWELL_{namespace}_{suffix}")
    }

    /// The subject of `key` in this bucket, for a plain publish.
    #[must_use]
    pub fn subject(self, namespace: &Namespace, key: &str) -> String {
        format!("$KV.{}.{key}", self.name(namespace))
    }
}

/// What an event's subject says, besides the workflow id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventAddress {
    /// Start a run of this type.
    Start {
        /// The workflow type.
        workflow_type: Name,
    },
    /// A signal.
    Signal {
        /// Its name.
        name: Name,
    },
    /// A request to cancel.
    Cancel,
    /// A request to terminate.
    Terminate,
    /// How an attempt of an activity ended.
    Report {
        /// The run.
        run_id: RunId,
        /// The step.
        step: StepId,
    },
    /// Several reports, on this workflow and on others of its partition; see [`crate::packed_report`].
    Reports,
    /// What to do about a compensation that failed for good.
    Compensation {
        /// The activity that it should have undone.
        seq: Seq,
    },
}

/// Why a subject is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cannot read the subject {subject:?}: {reason}")]
pub struct MalformedSubject {
    /// The subject.
    pub subject: String,
    /// What is wrong with it.
    pub reason: String,
    /// `malformed_subject` or `invalid_id`.
    pub code: ErrorCode,
}

/// Where a client publishes an event.
#[must_use]
pub fn event(namespace: &Namespace, id: &WorkflowId, address: &EventAddress) -> String {
    let prefix = format!("stepwell.{namespace}.workflow.{}", escape(id.as_str()));
    match address {
        EventAddress::Start { workflow_type } => format!("{prefix}.start.{workflow_type}"),
        EventAddress::Signal { name } => format!("{prefix}.signal.{name}"),
        EventAddress::Cancel => format!("{prefix}.cancel"),
        EventAddress::Terminate => format!("{prefix}.terminate"),
        EventAddress::Report { run_id, step } => format!("{prefix}.activity.{run_id}.{step}"),
        EventAddress::Reports => format!("{prefix}.activity.-.pack"),
        EventAddress::Compensation { seq } => format!("{prefix}.compensation.{seq}"),
    }
}

/// The subject pattern on which the EVENTS stream listens.
#[must_use]
pub fn event_source(namespace: &Namespace) -> String {
    format!("stepwell.{namespace}.workflow.*.>")
}

/// The subject under which the EVENTS stream stores what it receives: with the partition in it.
#[must_use]
pub fn event_destination(namespace: &Namespace, partitions: u32) -> String {
    format!("stepwell.{namespace}.event.{{{{partition({partitions},1)}}}}.{{{{wildcard(1)}}}}.>")
}

/// The pattern of all stored reports on a step, in whatever partition they lie.
#[must_use]
pub fn stored_reports(namespace: &Namespace, id: &WorkflowId, run_id: &RunId, step: StepId) -> String {
    format!("stepwell.{namespace}.event.*.{}.activity.{run_id}.{step}", escape(id.as_str()))
}

/// The end of the subject of a report on a step, published or stored: from the workflow id on.
#[must_use]
pub fn report_end(id: &WorkflowId, run_id: &RunId, step: StepId) -> String {
    format!("{}.activity.{run_id}.{step}", escape(id.as_str()))
}

/// The subject of a stored event whose subject ends like this from the workflow id on.
#[must_use]
pub fn stored_event(namespace: &Namespace, partition: u32, end: &str) -> String {
    format!("stepwell.{namespace}.event.{partition}.{end}")
}

/// The pattern of all stored packs of reports of a partition.
#[must_use]
pub fn stored_report_packs(namespace: &Namespace, partition: u32) -> String {
    format!("stepwell.{namespace}.event.{partition}.*.activity.-.pack")
}

/// Reads the subject of a stored event.
///
/// # Errors
/// [`MalformedSubject`] says which token is wrong.
pub fn parse_stored_event(subject: &str) -> Result<(WorkflowId, EventAddress), MalformedSubject> {
    let malformed = |reason: &str| MalformedSubject {
        subject: subject.to_owned(),
        reason: reason.to_owned(),
        code: ErrorCode::MalformedSubject,
    };
    let invalid = |error: InvalidId| MalformedSubject {
        subject: subject.to_owned(),
        reason: error.to_string(),
        code: ErrorCode::InvalidId,
    };
    let tokens: Vec<&str> = subject.split('.').collect();
    let ["stepwell", _, "event", _, id, rest @ ..] = tokens.as_slice() else {
        return Err(malformed("it is not stepwell.<namespace>.event.<partition>.<id>.…"));
    };
    let id = unescape(id).ok_or_else(|| {
        malformed("the workflow id is not escaped as it must be: bytes outside A-Z a-z 0-9 _ - / are =XX")
    })?;
    let id = WorkflowId::new(id).map_err(invalid)?;
    let address = match rest {
        ["start", name] => EventAddress::Start { workflow_type: Name::new(name).map_err(invalid)? },
        ["signal", name] => EventAddress::Signal { name: Name::new(name).map_err(invalid)? },
        ["cancel"] => EventAddress::Cancel,
        ["terminate"] => EventAddress::Terminate,
        ["activity", "-", "pack"] => EventAddress::Reports,
        ["activity", run_id, step] => EventAddress::Report {
            run_id: RunId::new(run_id).map_err(invalid)?,
            step: step.parse().map_err(invalid)?,
        },
        ["compensation", seq] => match seq.parse() {
            Ok(StepId::Action(seq)) => EventAddress::Compensation { seq },
            Ok(StepId::Undo(_)) | Err(_) => {
                return Err(malformed(
                    "after compensation comes the activity's number, from 1, without zeros before it",
                ));
            }
        },
        _ => {
            return Err(malformed(
                "after the id comes start.<type>, signal.<name>, cancel, terminate, \
                 activity.<run>.<step> or compensation.<seq>; a dot in an id is written =2E",
            ));
        }
    };
    Ok((id, address))
}

/// The partition of a workflow id.
#[must_use]
pub fn partition(id: &WorkflowId, partitions: u32) -> u32 {
    partition_of_token(&escape(id.as_str()), partitions)
}

/// Where the history of a workflow id lies.
#[must_use]
pub fn history(namespace: &Namespace, id: &WorkflowId, partitions: u32) -> String {
    let token = escape(id.as_str());
    let partition = partition_of_token(&token, partitions);
    format!("stepwell.{namespace}.history.{partition}.{token}")
}

/// The partition in the subject of a history; `None` when it is not one.
#[must_use]
pub fn partition_of_history(subject: &str) -> Option<u32> {
    subject.split('.').nth(3)?.parse().ok()
}

/// The pattern of all histories.
#[must_use]
pub fn all_histories(namespace: &Namespace) -> String {
    format!("stepwell.{namespace}.history.>")
}

/// The patterns of the histories that lie in a shard.
#[must_use]
pub fn histories(namespace: &Namespace, shard: Shard, shards: Shards, partitions: u32) -> Vec<String> {
    if shards == Shards::ONE {
        return vec![all_histories(namespace)];
    }
    let there = (0..partitions).filter(|partition| shards.of_partition(*partition) == shard);
    there.map(|partition| format!("stepwell.{namespace}.history.{partition}.>")).collect()
}

/// Where activity tasks of a queue lie in a shard. The queue's durable consumer there bears the queue's name.
#[must_use]
pub fn task(namespace: &Namespace, queue: &Name, shard: Shard) -> String {
    shard.name(format!("stepwell.{namespace}.task.{queue}"), '.')
}

/// The queue of a task's subject.
#[must_use]
pub fn queue_of_task(subject: &str) -> Option<&str> {
    subject.split('.').nth(3)
}

/// The pattern of all activity tasks of a shard.
#[must_use]
pub fn all_tasks(namespace: &Namespace, shard: Shard) -> String {
    shard.name(format!("stepwell.{namespace}.task.*"), '.')
}

/// Where any worker of a queue takes workflow tasks.
#[must_use]
pub fn workflow_task(namespace: &Namespace, queue: &Name) -> String {
    format!("stepwell.{namespace}.workflow-task.{queue}")
}

/// Where one worker takes workflow tasks for the runs that it has in its cache.
#[must_use]
pub fn sticky_workflow_task(namespace: &Namespace, queue: &Name, worker: &WorkerId) -> String {
    format!("stepwell.{namespace}.workflow-task.{queue}.{worker}")
}

/// Where running activities of a queue are told to stop; body [`crate::task::CancelActivity`].
#[must_use]
pub fn cancel_activity(namespace: &Namespace, queue: &Name) -> String {
    format!("stepwell.{namespace}.cancel-activity.{queue}")
}

/// Where workers of a queue ask each other what they hold of a shard; body [`crate::task::RollCall`].
#[must_use]
pub fn roll_call(namespace: &Namespace, queue: &Name, shard: Shard) -> String {
    shard.name(format!("stepwell.{namespace}.roll-call.{queue}"), '.')
}

/// Where workers make themselves known.
#[must_use]
pub fn announce(namespace: &Namespace) -> String {
    format!("stepwell.{namespace}.worker.announce")
}

/// Where it is said that a run closed; the body is its [`crate::summary::RunSummary`].
#[must_use]
pub fn closed(namespace: &Namespace, id: &WorkflowId) -> String {
    format!("stepwell.{namespace}.closed.{}", escape(id.as_str()))
}

/// Where the API answers.
#[must_use]
pub fn api(namespace: &Namespace, verb: &str) -> String {
    format!("stepwell.{namespace}.api.{verb}")
}

/// Where a message that was set aside is stored.
#[must_use]
pub fn rejected(namespace: &Namespace, code: ErrorCode) -> String {
    format!("stepwell.{namespace}.rejected.{}", code.name())
}

/// The pattern of all messages that were set aside.
#[must_use]
pub fn all_rejected(namespace: &Namespace) -> String {
    format!("stepwell.{namespace}.rejected.*")
}

/// The key of a workflow id in the `state` bucket.
#[must_use]
pub fn state_key(id: &WorkflowId) -> String {
    escape(id.as_str())
}

/// The key of a workflow id in the `timers` bucket.
#[must_use]
pub fn timer_key(id: &WorkflowId, partitions: u32) -> String {
    let token = escape(id.as_str());
    format!("{}.{token}", partition_of_token(&token, partitions))
}

/// The partition and the workflow id of a key of the `timers` bucket.
#[must_use]
pub fn parse_timer_key(key: &str) -> Option<(u32, WorkflowId)> {
    let (partition, token) = key.split_once('.')?;
    Some((partition.parse().ok()?, WorkflowId::new(unescape(token)?).ok()?))
}

/// The key of a start request in the `idempotency` bucket.
#[must_use]
pub fn start_request_key(id: &WorkflowId, request_id: &str) -> String {
    format!("start.{}.{}", escape(id.as_str()), escape(request_id))
}

/// The key of a step's heartbeat details in the `heartbeats` bucket. The queue comes first, so that a worker may
/// be allowed its queue's and no others.
#[must_use]
pub fn heartbeat_key(queue: &Name, run_id: &RunId, step: StepId) -> String {
    format!("{queue}.{run_id}.{step}")
}

/// The key of an orchestrator in the `owners` bucket; body [`crate::ownership::Member`].
#[must_use]
pub fn member_key(id: &MemberId) -> String {
    format!("member.{id}")
}

/// The key of a partition's lease in the `owners` bucket; body [`crate::ownership::Lease`].
#[must_use]
pub fn lease_key(partition: u32) -> String {
    format!("lease.{partition}")
}

/// The key of a partition's checkpoint in the `owners` bucket; body [`crate::ownership::Checkpoint`].
#[must_use]
pub fn checkpoint_key(partition: u32) -> String {
    format!("checkpoint.{partition}")
}

/// The key in the `owners` bucket with which somebody holds all orchestrators; body [`crate::ownership::Hold`].
pub const HOLD_KEY: &str = "hold";

/// The key in the `owners` bucket that says that all streams and buckets of the namespace were created.
pub const PROVISIONED_KEY: &str = "provisioned";

/// What a key of the `owners` bucket is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnersKey {
    /// An orchestrator.
    Member(MemberId),
    /// The lease of a partition.
    Lease(u32),
    /// The request that nobody works.
    Hold,
}

/// Reads a key of the `owners` bucket; `None` for what has nothing to do with who owns what.
#[must_use]
pub fn parse_owners_key(key: &str) -> Option<OwnersKey> {
    match key.split_once('.') {
        Some(("member", id)) => MemberId::new(id).ok().map(OwnersKey::Member),
        Some(("lease", partition)) => partition.parse().ok().map(OwnersKey::Lease),
        Some(_) => None,
        None => (key == HOLD_KEY).then_some(OwnersKey::Hold),
    }
}

/// Where orchestrators tell each other that a lease has become free; without a body.
#[must_use]
pub fn owners_changed(namespace: &Namespace) -> String {
    format!("stepwell.{namespace}.owners.changed")
}

/// The pattern of all stored events of a partition.
#[must_use]
pub fn partition_events(namespace: &Namespace, partition: u32) -> String {
    format!("stepwell.{namespace}.event.{partition}.>")
}

/// The pattern of all stored events.
#[must_use]
pub fn all_partitions_events(namespace: &Namespace) -> String {
    format!("stepwell.{namespace}.event.>")
}

/// The keys of a partition in the `timers` bucket, as a pattern.
#[must_use]
pub fn partition_timers(partition: u32) -> String {
    format!("{partition}.>")
}

/// Writes any text as one subject token.
#[must_use]
pub fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    if text.bytes().all(plain) {
        return text.to_owned();
    }
    let mut token = String::with_capacity(text.len());
    for byte in text.bytes() {
        if plain(byte) {
            token.push(char::from(byte));
        } else {
            let _ = write!(token, "={byte:02X}");
        }
    }
    token
}

/// Reads a token written by [`escape`]; `None` when it is not the one spelling of a text.
#[must_use]
pub fn unescape(token: &str) -> Option<String> {
    if token.bytes().all(plain) {
        return Some(token.to_owned());
    }
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'=' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = tail.get(2..)?;
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    (escape(&text) == token).then_some(text)
}

fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/')
}
