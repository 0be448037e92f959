//! The bodies of the floor's messages: real ones of one step with payloads of 200 bytes, encoded once.

use anyhow::Result;
use bytes::Bytes;
use stepwell_shared::command::{Command, RunActivity};
use stepwell_shared::encoding::{VERSION, encode};
use stepwell_shared::history::{Event, Record, Turn};
use stepwell_shared::ids::{Name, StepId, WorkerId};
use stepwell_shared::message::{Outcome, ReportMessage};
use stepwell_shared::options::ActivityOptions;
use stepwell_shared::payload::Payload;
use stepwell_shared::subject;
use stepwell_shared::task::{ActivityTask, Answer, Work, WorkflowTask, WorkflowTaskReply};

use super::lane::{run_id, workflow_id};
use crate::payload::text;

/// A time of today's length.
const NOW_MS: u64 = 1_800_000_000_000;

/// A stream sequence of a usual length.
const SEQUENCE: u64 = 123_456;

/// The partitions of a namespace when nothing is said.
const PARTITIONS: u32 = stepwell_shared::limits::DEFAULT_PARTITIONS;

/// The bodies of one step.
#[derive(Debug, Clone)]
pub(crate) struct Bodies {
    pub(crate) task: Bytes,
    pub(crate) report: Bytes,
    pub(crate) workflow_task: Bytes,
    pub(crate) reply: Bytes,
    pub(crate) record: Bytes,
}

impl Bodies {
    pub(crate) fn new() -> Result<Self> {
        let (name, worker) = (Name::new("bench_steps")?, WorkerId::new(run_id(1).as_str())?);
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
            workflow_id: workflow_id(1),
            workflow_type: name.clone(),
            run_id: run_id(1),
            step: StepId::Action(5),
            attempt: 1,
            activity_type: name.clone(),
            input: payload.clone(),
            idempotency_key: format!("{}/5", run_id(1)),
            token: "0".repeat(32),
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
            outcome: Outcome::Completed { result: payload },
            worker: Some(worker.clone()),
            schedule_to_start_ms: Some(1),
            execution_ms: Some(0),
        };
        let namespace = stepwell_shared::ids::Namespace::new("floor")?;
        let workflow_task = WorkflowTask {
            v: VERSION,
            workflow_id: workflow_id(1),
            run_id: run_id(1),
            workflow_type: name,
            history_subject: subject::history(&namespace, &workflow_id(1), PARTITIONS),
            first_sequence: SEQUENCE,
            after: 4,
            mark: Some("0".repeat(16)),
            next_mark: Some("0".repeat(16)),
            work: Work::Turn { at_ms: NOW_MS, events: vec![completed.clone()], index: 5 },
        };
        let reply = WorkflowTaskReply {
            v: VERSION,
            worker: worker.clone(),
            answer: Answer::Commands { commands: vec![run_activity.clone()] },
            replayed: false,
        };
        let record = Record {
            v: VERSION,
            run_id: run_id(1),
            index: 5,
            at_ms: NOW_MS,
            through: SEQUENCE,
            events: vec![completed],
            turn: Some(Turn { commands: vec![run_activity], worker: Some(worker), delivered: 1 }),
            stall: None,
        };
        Ok(Self {
            task: encode(&task).into(),
            report: encode(&report).into(),
            workflow_task: encode(&workflow_task).into(),
            reply: encode(&reply).into(),
            record: encode(&record).into(),
        })
    }
}
