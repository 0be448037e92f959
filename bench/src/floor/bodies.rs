//! The bodies of the floor's messages: real ones of a workflow with payloads of 200 bytes, encoded once.

use anyhow::Result;
use bytes::Bytes;
use stepwell_bench_measure::payload::text;
use stepwell_shared::command::{Command, RunActivity};
use stepwell_shared::encoding::{VERSION, encode};
use stepwell_shared::history::{Event, Record, RunStarted, Turn};
use stepwell_shared::ids::{Name, StepId, WorkerId};
use stepwell_shared::message::{Outcome, ReportMessage};
use stepwell_shared::options::ActivityOptions;
use stepwell_shared::payload::Payload;
use stepwell_shared::subject;
use stepwell_shared::summary::{RunSummary, Status};
use stepwell_shared::task::{ActivityTask, Answer, Work, WorkflowTask, WorkflowTaskReply};

use super::address::Flow;
use crate::payload::Plan;

/// A time of today's length.
const NOW_MS: u64 = 1_800_000_000_000;

/// A stream sequence of a usual length.
const SEQUENCE: u64 = 123_456;

/// The partitions of a namespace when nothing is said.
pub(super) const PARTITIONS: u32 = stepwell_shared::limits::DEFAULT_PARTITIONS;

/// The bodies of one workflow.
#[derive(Debug, Clone)]
pub(super) struct Bodies {
    pub(super) task: Bytes,
    pub(super) report: Bytes,
    pub(super) first_workflow_task: Bytes,
    pub(super) workflow_task: Bytes,
    /// The answer to every workflow task; the real one to the last is some bytes shorter.
    pub(super) reply: Bytes,
    pub(super) first_record: Bytes,
    pub(super) record: Bytes,
    pub(super) last_record: Bytes,
    pub(super) summary: Bytes,
    pub(super) last_summary: Bytes,
}

impl Bodies {
    pub(super) fn new() -> Result<Self> {
        let flow = Flow::ANY;
        let (name, worker) = (Name::new("bench_steps")?, WorkerId::new(flow.run_id().as_str())?);
        let (queue, payload) = (super::queue(), Payload::encode(&text())?);
        let completed = Event::ActivityCompleted { seq: 4, attempt: 1, result: payload.clone() };
        let options = ActivityOptions { start_to_close_ms: Some(30_000), ..ActivityOptions::default() };
        let run_activity = Command::RunActivity(RunActivity {
            seq: 5,
            activity_type: name.clone(),
            queue: queue.clone(),
            input: payload.clone(),
            options,
            compensation: None,
        });
        let task = ActivityTask {
            v: VERSION,
            workflow_id: flow.workflow_id(),
            workflow_type: name.clone(),
            run_id: flow.run_id(),
            step: StepId::Action(5),
            attempt: 1,
            activity_type: name.clone(),
            input: payload.clone(),
            idempotency_key: format!("{}/5", flow.run_id()),
            token: "0".repeat(32),
            partition: Some(7),
            scheduled_at_ms: NOW_MS,
            schedule_to_start_ms: None,
            expires_at_ms: None,
            start_to_close_ms: Some(30_000),
            heartbeat_timeout_ms: None,
            maximum_attempts: None,
            heartbeat: None,
            last_failure: None,
        };
        let report = ReportMessage {
            v: VERSION,
            attempt: 1,
            token: "0".repeat(32),
            outcome: Outcome::Completed { result: payload.clone() },
            worker: Some(worker.clone()),
            schedule_to_start_ms: Some(1),
            execution_ms: Some(0),
        };
        let namespace = stepwell_shared::ids::Namespace::new("floor")?;
        let started = Event::RunStarted(Box::new(RunStarted {
            workflow_type: name.clone(),
            queue: queue.clone(),
            input: Payload::encode(&Plan::activities(10))?,
            request_id: None,
            run_timeout_ms: None,
            execution_timeout_ms: None,
        }));
        let workflow_task = WorkflowTask {
            records: Vec::new(),
            v: VERSION,
            workflow_id: flow.workflow_id(),
            run_id: flow.run_id(),
            workflow_type: name.clone(),
            history_subject: subject::history(&namespace, &flow.workflow_id(), PARTITIONS),
            first_sequence: SEQUENCE,
            after: 4,
            mark: Some("0".repeat(16)),
            next_mark: Some("0".repeat(16)),
            replay_token: Some("0".repeat(32)),
            work: Work::Turn { at_ms: NOW_MS, events: vec![completed.clone()], index: 5 },
        };
        let first_workflow_task = WorkflowTask {
            records: Vec::new(),
            after: 0,
            work: Work::Turn { at_ms: NOW_MS, events: vec![started.clone()], index: 1 },
            ..workflow_task.clone()
        };
        let reply = WorkflowTaskReply {
            v: VERSION,
            worker: worker.clone(),
            answer: Answer::Commands { commands: vec![run_activity.clone()] },
            replayed: false,
            takes_packs: true,
        };
        let record = |index: u64, event: Event, command: Command| Record {
            v: VERSION,
            run_id: flow.run_id(),
            index,
            at_ms: NOW_MS,
            through: SEQUENCE,
            events: vec![event],
            turn: Some(Turn { commands: vec![command], worker: Some(worker.clone()), delivered: 1 }),
            stall: None,
        };
        let complete = Command::CompleteRun { result: payload.clone() };
        let summary = RunSummary {
            v: VERSION,
            workflow_id: flow.workflow_id(),
            run_id: flow.run_id(),
            workflow_type: name,
            queue,
            status: Status::Running,
            started_at_ms: NOW_MS,
            closed_at_ms: None,
            result: None,
            failure: None,
            stall: None,
            history_length: 1,
        };
        let last_summary = RunSummary {
            status: Status::Completed,
            closed_at_ms: Some(NOW_MS),
            result: Some(payload),
            history_length: 11,
            ..summary.clone()
        };
        Ok(Self {
            task: encode(&task).into(),
            report: encode(&report).into(),
            first_workflow_task: encode(&first_workflow_task).into(),
            workflow_task: encode(&workflow_task).into(),
            reply: encode(&reply).into(),
            first_record: encode(&record(1, started, run_activity.clone())).into(),
            record: encode(&record(5, completed.clone(), run_activity)).into(),
            last_record: encode(&record(11, completed, complete)).into(),
            summary: encode(&summary).into(),
            last_summary: encode(&last_summary).into(),
        })
    }
}
