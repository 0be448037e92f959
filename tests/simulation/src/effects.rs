//! Messages that carry out what a record wants.

use stepwell_orchestrator_core::{Dispatch, Effect, Workflow};
use stepwell_shared::encoding::{VERSION, encode};
use stepwell_shared::ids::{RunId, StepId, WorkflowId};
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::{self, Bucket};
use stepwell_shared::summary::RunSummary;
use stepwell_shared::task::{ActivityTask, CancelActivity};

use super::engine::Engine;
use super::events::token;
use super::knobs::Sabotage;
use super::timers::TimerWrite;
use super::wire::{Kind, What};
use super::world::World;
use crate::backend::Message;

/// A message that must reach a stream.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) message: Message,
    pub(crate) summary: Option<Box<RunSummary>>,
    /// The run whose entry in `timers` this is: when it is repeated, what was said last counts.
    pub(crate) timer_of: Option<WorkflowId>,
}

impl Outgoing {
    fn plain(message: Message) -> Self {
        Self { message, summary: None, timer_of: None }
    }
}

impl Engine {
    /// Does what a stored record wants.
    pub(crate) fn carry_out(&mut self, world: &mut World, group: u64, workflow: &Workflow, effect: Effect) {
        let Some(run_id) = workflow.run_id() else { return };
        match effect {
            Effect::Dispatch(dispatch) => {
                let message = task_message(world, workflow, run_id, *dispatch);
                self.send(world, group, Outgoing::plain(message));
            }
            Effect::CancelActivity { step, .. } => {
                let body = encode(&CancelActivity { v: VERSION, run_id: run_id.clone(), step });
                world.tell_all(Kind::Worker, &What::CancelActivity(body));
            }
            Effect::WriteSummary(summary) | Effect::Close(summary) => {
                let key = subject::state_key(&summary.workflow_id);
                let message = Message::new(Bucket::State.subject(&world.namespace, &key), encode(&summary));
                self.send(world, group, Outgoing { message, summary: Some(summary), timer_of: None });
            }
        }
    }
}

/// The name under which an attempt is published.
pub(crate) fn attempt_id(run_id: &RunId, step: StepId, attempt: u32) -> String {
    format!("{run_id}/{step}/{attempt}")
}

fn task_message(world: &World, workflow: &Workflow, run_id: &RunId, dispatch: Dispatch) -> Message {
    let step = dispatch.step;
    let workflow_type = workflow.started().map(|started| started.workflow_type.clone());
    let task = ActivityTask {
        v: VERSION,
        workflow_id: workflow.id().clone(),
        workflow_type: workflow_type.unwrap_or_else(super::queue),
        run_id: run_id.clone(),
        step,
        attempt: dispatch.attempt,
        activity_type: dispatch.activity_type,
        input: dispatch.input,
        idempotency_key: format!("{run_id}/{step}"),
        token: token(run_id.as_str(), &step.to_string(), dispatch.attempt),
        partition: None,
        scheduled_at_ms: dispatch.scheduled_at_ms,
        schedule_to_start_ms: dispatch.schedule_to_start_ms,
        expires_at_ms: dispatch.expires_at_ms,
        start_to_close_ms: dispatch.start_to_close_ms,
        heartbeat_timeout_ms: dispatch.heartbeat_timeout_ms,
        maximum_attempts: dispatch.maximum_attempts,
        heartbeat: dispatch.heartbeat,
        last_failure: dispatch.last_failure.map(|failure| failure.to_string()),
    };
    let message = Message::new(subject::task(&world.namespace, &dispatch.queue, Shard::FIRST), encode(&task));
    if world.sabotage == Sabotage::NoTaskIds {
        return message;
    }
    message.with_id(attempt_id(run_id, step, dispatch.attempt))
}

pub(crate) fn timer_message(world: &World, id: &WorkflowId, write: &TimerWrite) -> Outgoing {
    let key = subject::timer_key(id, world.partitions);
    let subject = Bucket::Timers.subject(&world.namespace, &key);
    let message = match write {
        TimerWrite::Put(entry) => Message::new(subject, encode(entry)),
        TimerWrite::Remove => Message::new(subject, Vec::new())
            .with_header("KV-Operation", "PURGE")
            .with_header("Nats-Rollup", "sub")
            .with_header("Nats-TTL", "60s"),
    };
    Outgoing { message, summary: None, timer_of: Some(id.clone()) }
}
