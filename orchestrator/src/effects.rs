//! Carrying out what a stored record wants. Every effect is published before anything else happens to the
//! run, and repeated until it is confirmed; only then do the events behind it count as done.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures_util::future::try_join_all;
use stepwell_connection::crash::{self, Boundary};
use stepwell_connection::provision::ensure_queue;
use stepwell_connection::{Ack, PendingAck, PublishError};
use stepwell_orchestrator_core::{Dispatch, Effect, Workflow};
use stepwell_shared::encoding::{VERSION, encode};
use stepwell_shared::headers::{EXPECTED_LAST_SUBJECT_SEQUENCE, MESSAGE_ID, REPEATED};
use stepwell_shared::ids::{Name, RunId, StepId, WorkflowId};
use stepwell_shared::subject::{self, Bucket};
use stepwell_shared::summary::RunSummary;
use stepwell_shared::task::{ActivityTask, CancelActivity};

use crate::idempotency;
use crate::shell::Shell;
use crate::state_bucket::{self, Standing};
use crate::timers::TimerWrite;

/// Pause before an effect that was not confirmed is published again.
const PAUSE: Duration = Duration::from_millis(200);

/// Most queues whose consumers are known to exist. Beyond it they are asked for again, which changes nothing.
const MAX_KNOWN_QUEUES: usize = 10_000;

/// A message that must reach a stream, and its acknowledgement.
pub(crate) struct Sent {
    message: Outgoing,
    ack: Result<PendingAck, PublishError>,
}

/// What to do when the acknowledgement does not come, and when it does.
#[derive(Clone)]
pub(crate) struct Outgoing {
    subject: String,
    message_id: Option<String>,
    /// The sequence that the subject's last message must have.
    expected_last: Option<u64>,
    headers: Vec<(&'static str, &'static str)>,
    body: Bytes,
    /// The summary in the body, if it is one: it must not replace a newer one when it is repeated, and
    /// whoever waits for the run's end is told when it is stored.
    summary: Option<Box<RunSummary>>,
    /// The run whose entry in `timers` this is: when it is repeated, what was said last counts.
    timer_of: Option<WorkflowId>,
}

/// Where a process can die that sends a message.
struct Boundaries {
    before: Boundary,
    sent: Boundary,
    stored: Boundary,
}

impl Outgoing {
    /// As it is sent when it may have been stored before. A task may have been done since, and a server that was killed
    /// does not recognise it any more.
    fn repeated(mut self) -> Self {
        if self.message_id.is_some() && self.headers.is_empty() {
            self.headers.push((REPEATED, "1"));
        }
        self
    }

    fn boundaries(&self) -> Boundaries {
        let (before, sent, stored) = match (&self.summary, &self.timer_of, &self.message_id) {
            (Some(summary), ..) if summary.status.closed() => {
                (Boundary::BeforeClosing, Boundary::ClosingSent, Boundary::ClosingStored)
            }
            (Some(_), ..) => (Boundary::BeforeSummary, Boundary::SummarySent, Boundary::SummaryStored),
            (None, Some(_), _) if self.body.is_empty() => {
                (Boundary::BeforeTimerRemoval, Boundary::TimerRemovalSent, Boundary::TimerRemovalStored)
            }
            (None, Some(_), _) => (Boundary::BeforeTimer, Boundary::TimerSent, Boundary::TimerStored),
            (None, None, Some(_)) => (Boundary::BeforeTask, Boundary::TaskSent, Boundary::TaskStored),
            (None, None, None) => {
                (Boundary::BeforeRequestId, Boundary::RequestIdSent, Boundary::RequestIdStored)
            }
        };
        Boundaries { before, sent, stored }
    }
}

/// The name under which an attempt is published, and recognised if it is published twice.
pub(crate) fn attempt_id(run_id: &RunId, step: StepId, attempt: u32) -> String {
    format!("{run_id}/{step}/{attempt}")
}

/// An effect as the message that carries it out.
pub(crate) enum Wanted {
    /// For a stream, to be confirmed.
    Message(Outgoing),
    /// The same, for a queue whose consumer must exist.
    Task(Outgoing, Name),
    /// Told again until the step ends, so that it need not be confirmed.
    Cancellation { subject: String, body: Bytes },
}

/// Makes messages of the effects of a record. Sends nothing, so that it can be done while the record is
/// being stored.
pub(crate) fn prepare(shell: &Shell, workflow: &Workflow, effects: &[Effect]) -> Vec<Wanted> {
    let Some(run_id) = workflow.run_id() else { return Vec::new() };
    let message = |effect: &Effect| match effect {
        Effect::Dispatch(dispatch) => {
            Wanted::Task(task_message(shell, workflow, run_id, dispatch), dispatch.queue.clone())
        }
        Effect::CancelActivity { queue, step } => Wanted::Cancellation {
            subject: subject::cancel_activity(shell.connection.namespace(), queue),
            body: encode(&CancelActivity { v: VERSION, run_id: run_id.clone(), step: *step }).into(),
        },
        Effect::WriteSummary(summary) | Effect::Close(summary) => {
            Wanted::Message(summary_message(shell, summary))
        }
    };
    effects.iter().map(message).collect()
}

/// The same for what may have been published before.
pub(crate) fn prepare_again(shell: &Shell, workflow: &Workflow, effects: &[Effect]) -> Vec<Wanted> {
    let again = |wanted| match wanted {
        Wanted::Task(message, queue) => Wanted::Task(message.repeated(), queue),
        other @ (Wanted::Message(_) | Wanted::Cancellation { .. }) => other,
    };
    prepare(shell, workflow, effects).into_iter().map(again).collect()
}

/// Publishes what a stored record wants, in order. Nothing is awaited but room in the connection's buffer.
pub(crate) async fn carry_out(shell: &Shell, wanted: Vec<Wanted>) -> Vec<Sent> {
    let mut sent = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        match wanted {
            Wanted::Message(message) => sent.push(send(shell, message).await),
            Wanted::Task(message, queue) => {
                ensure_consumer(shell, &queue).await;
                sent.push(send(shell, message).await);
            }
            Wanted::Cancellation { subject, body } => {
                crash::at(Boundary::BeforeCancellation);
                let _ = shell.connection.client().publish(subject, body).await;
                crash::at(Boundary::CancellationSent);
            }
        }
    }
    sent
}

/// Remembers the request id of a run's start, if it has one that is to be remembered.
pub(crate) async fn remember_start(shell: &Shell, workflow: &Workflow) -> Option<Sent> {
    let key = idempotency::key(workflow.id(), workflow.started()?.request_id.as_deref())?;
    let message = Outgoing {
        subject: Bucket::Idempotency.subject(shell.connection.namespace(), &key),
        message_id: None,
        expected_last: None,
        headers: Vec::new(),
        body: workflow.run_id()?.to_string().into(),
        summary: None,
        timer_of: None,
    };
    Some(send(shell, message).await)
}

/// Publishes a change of a run's wake time. `change` says what it is while no other one can be on its way
/// to the connection.
pub(crate) async fn write_timer(
    shell: &Shell,
    id: &WorkflowId,
    change: impl FnOnce() -> Option<TimerWrite>,
) -> Option<Sent> {
    let _in_order = shell.timer_writes.lock().await;
    let message = timer_message(shell, id, change()?);
    Some(send(shell, message).await)
}

fn timer_message(shell: &Shell, id: &WorkflowId, write: TimerWrite) -> Outgoing {
    let key = subject::timer_key(id, shell.partitions);
    let (headers, body) = match write {
        TimerWrite::Put(entry) => (Vec::new(), encode(&entry)),
        // A purge marker that takes the earlier values with it and goes away by itself.
        TimerWrite::Remove => {
            (vec![("KV-Operation", "PURGE"), ("Nats-Rollup", "sub"), ("Nats-TTL", "60s")], Vec::new())
        }
    };
    Outgoing {
        subject: Bucket::Timers.subject(shell.connection.namespace(), &key),
        message_id: None,
        expected_last: None,
        headers,
        body: body.into(),
        summary: None,
        timer_of: Some(id.clone()),
    }
}

/// Returns when every message is stored; those that are not confirmed are sent again, in order. False when
/// this process may not act any more; a successor finds out what is missing.
pub(crate) async fn confirm(shell: &Shell, sent: Vec<Sent>) -> bool {
    let mut all = true;
    for Sent { message, ack } in sent {
        let outcome = match ack {
            Ok(pending) => pending.await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome
            && !Box::pin(repeat(shell, &message, error)).await
        {
            all = false;
            continue;
        }
        crash::at(message.boundaries().stored);
        if let Some(summary) = &message.summary
            && summary.status.closed()
        {
            let subject = subject::closed(shell.connection.namespace(), &summary.workflow_id);
            crash::at(Boundary::BeforeNotice);
            let _ = shell.connection.client().publish(subject, message.body.clone()).await;
            crash::at(Boundary::NoticeSent);
        }
    }
    all
}

async fn repeat(shell: &Shell, message: &Outgoing, mut error: PublishError) -> bool {
    loop {
        if !shell.validity.holds() {
            return false;
        }
        shell.metrics.effect_retries.inc();
        tracing::warn!(subject = message.subject, %error, "an effect was not confirmed; sending it again");
        tokio::time::sleep(PAUSE).await;
        let mut message = message.clone().repeated();
        if let Some(summary) = &message.summary {
            match state_bucket::standing(&shell.connection, summary).await {
                Ok(Standing::AsNew) => return true,
                // Another one may be written between the look and this.
                Ok(Standing::Older { revision }) => message.expected_last = Some(revision),
                Err(unread) => {
                    tracing::warn!(%unread, "the state bucket cannot be read; trying again");
                    continue;
                }
            }
        }
        let sent = match message.timer_of.clone() {
            Some(id) => write_timer(shell, &id, || Some(shell.timers.stored(&id))).await,
            None => Some(send(shell, message).await),
        };
        let Some(sent) = sent else { return true };
        let again = match sent.ack {
            Ok(pending) => pending.await,
            Err(error) => Err(error),
        };
        match again {
            Ok(Ack { .. }) => return true,
            Err(next) => error = next,
        }
    }
}

async fn send(shell: &Shell, message: Outgoing) -> Sent {
    if !shell.validity.holds() {
        return Sent { message, ack: Err(PublishError::Closed) };
    }
    let mut headers = None;
    if message.message_id.is_some() || message.expected_last.is_some() || !message.headers.is_empty() {
        let mut map = HeaderMap::new();
        if let Some(sequence) = message.expected_last {
            map.insert(EXPECTED_LAST_SUBJECT_SEQUENCE, sequence.to_string());
        }
        for (name, value) in &message.headers {
            map.insert(*name, *value);
        }
        if let Some(id) = &message.message_id {
            map.insert(MESSAGE_ID, id.as_str());
        }
        headers = Some(map);
    }
    let publisher = shell.connection.publisher();
    crash::at(message.boundaries().before);
    let ack = publisher.publish(message.subject.clone(), headers, message.body.clone()).await;
    crash::at(message.boundaries().sent);
    Sent { message, ack }
}

fn task_message(shell: &Shell, workflow: &Workflow, run_id: &RunId, dispatch: &Dispatch) -> Outgoing {
    let workflow_type = workflow.started().map(|started| started.workflow_type.clone());
    let task = ActivityTask {
        v: VERSION,
        workflow_id: workflow.id().clone(),
        workflow_type: workflow_type.unwrap_or_else(|| dispatch.activity_type.clone()),
        run_id: run_id.clone(),
        step: dispatch.step,
        attempt: dispatch.attempt,
        activity_type: dispatch.activity_type.clone(),
        input: dispatch.input.clone(),
        idempotency_key: format!("{run_id}/{}", dispatch.step),
        token: shell.tokens.token(run_id, dispatch.step, dispatch.attempt),
        partition: Some(shell.partition),
        scheduled_at_ms: dispatch.scheduled_at_ms,
        schedule_to_start_ms: dispatch.schedule_to_start_ms,
        expires_at_ms: dispatch.expires_at_ms,
        start_to_close_ms: dispatch.start_to_close_ms,
        heartbeat_timeout_ms: dispatch.heartbeat_timeout_ms,
        maximum_attempts: dispatch.maximum_attempts,
        heartbeat: dispatch.heartbeat.clone(),
        last_failure: dispatch.last_failure.as_ref().map(ToString::to_string),
    };
    let message_id = attempt_id(run_id, task.step, task.attempt);
    let shard = shell.ground.settings.shards.of_task(&message_id);
    Outgoing {
        subject: subject::task(shell.connection.namespace(), &dispatch.queue, shard),
        message_id: Some(message_id),
        expected_last: None,
        headers: Vec::new(),
        body: encode(&task).into(),
        summary: None,
        timer_of: None,
    }
}

fn summary_message(shell: &Shell, summary: &RunSummary) -> Outgoing {
    let key = subject::state_key(&summary.workflow_id);
    Outgoing {
        subject: Bucket::State.subject(shell.connection.namespace(), &key),
        message_id: None,
        expected_last: None,
        headers: Vec::new(),
        body: encode(summary).into(),
        summary: Some(Box::new(summary.clone())),
        timer_of: None,
    }
}

/// Makes sure that the queue's consumers exist, one in each shard; asks for it once per queue and process. A queue that cannot be made
/// now is made by its first worker; the task waits on the stream.
async fn ensure_consumer(shell: &Shell, queue: &Name) {
    let known = |shell: &Shell| {
        shell.queues.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains(queue)
    };
    if known(shell) {
        return;
    }
    let shards = shell.ground.settings.shards.all();
    let all = try_join_all(shards.map(|shard| ensure_queue(&shell.connection, queue, shard)));
    // Rare, and large: in a box, so that not every drive has room for it.
    match Box::pin(all).await {
        Ok(_) => {
            let mut queues = shell.queues.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if queues.len() >= MAX_KNOWN_QUEUES {
                queues.clear();
            }
            queues.insert(queue.clone());
        }
        Err(error) => tracing::warn!(%queue, %error, "the queue's consumer could not be made"),
    }
}
