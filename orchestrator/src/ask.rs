//! Asking workflow code: one request to the worker that has the run in its cache, or to any worker of the
//! queue. Decides nothing about the run; a failure to get commands is a stall with its reason.

use std::time::{Duration, Instant};

use stepwell_connection::Connection;
use stepwell_connection::chunked::{self, RequestError};
use stepwell_connection::crash::{self, Boundary};
use stepwell_orchestrator_core::{TurnRequest, Workflow};
use stepwell_shared::command::Command;
use stepwell_shared::encoding::{VERSION, decode, encode};
use stepwell_shared::history::{Record, StallKind};
use stepwell_shared::ids::{Name, WorkerId};
use stepwell_shared::limits::MAX_PACKED_BODY_BYTES;
use stepwell_shared::subject;
use stepwell_shared::task::{Answer, Work, WorkflowTask, WorkflowTaskReply};

use crate::metric_definitions::Metrics;
use crate::token::Tokens;
use crate::workers::Workers;

/// How often a queue is asked again when the worker that took the task is shutting down.
const MAX_BUSY_ANSWERS: u32 = 5;

/// Pause after such an answer: a worker that drains unsubscribes within moments.
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// The worker whose cache has a run.
#[derive(Debug, Clone)]
pub(crate) struct Sticky {
    pub(crate) worker: WorkerId,
    takes_packs: bool,
}

/// Workflow code's answer.
#[derive(Debug)]
pub(crate) enum Asked {
    /// Its commands.
    Commands { commands: Vec<Command>, sticky: Sticky },
    /// It could not answer.
    Stalled { kind: StallKind, message: String },
}

/// Asks workflow code for a turn.
pub(crate) async fn ask_turn(
    connection: &Connection,
    metrics: &Metrics,
    workers: &Workers,
    timeout: Duration,
    task: WorkflowTask,
    queue: &Name,
    sticky: Option<&Sticky>,
) -> Asked {
    let started = Instant::now();
    crash::at(Boundary::BeforeTurn);
    let asked = match ask(connection, workers, timeout, &task, queue, sticky).await {
        Ok(reply) => {
            if reply.replayed {
                metrics.replays.inc();
            }
            match reply.answer {
                Answer::Commands { commands } => {
                    let sticky = Sticky { worker: reply.worker, takes_packs: reply.takes_packs };
                    Asked::Commands { commands, sticky }
                }
                Answer::Stalled { kind, message } => Asked::Stalled { kind, message },
                Answer::QueryResult { .. } | Answer::QueryFailed { .. } | Answer::Busy {} => Asked::Stalled {
                    kind: StallKind::InvalidTurn,
                    message: format!("worker {} answered a turn with something else", reply.worker),
                },
            }
        }
        Err((kind, message)) => Asked::Stalled { kind, message },
    };
    crash::at(Boundary::TurnAnswered);
    metrics.workflow_task_seconds.observe(started.elapsed().as_secs_f64());
    if let Asked::Stalled { kind, .. } = &asked {
        metrics.workflow_task_failures.with_label_values(&[kind.name()]).inc();
    }
    asked
}

/// Sends a workflow task to the sticky worker, then to the queue; the answer is never `Busy`. When the
/// worker that took it has no code for the type, one that is known to have it is asked: the workers of a
/// queue need not have the same code, least of all while they are being replaced.
pub(crate) async fn ask(
    connection: &Connection,
    workers: &Workers,
    timeout: Duration,
    task: &WorkflowTask,
    queue: &Name,
    sticky: Option<&Sticky>,
) -> Result<WorkflowTaskReply, (StallKind, String)> {
    let reply = ask_queue(connection, timeout, task, queue, sticky).await?;
    if !matches!(reply.answer, Answer::Stalled { kind: StallKind::UnknownType, .. }) {
        return Ok(reply);
    }
    let Some(able) = workers.with_code(queue, &task.workflow_type) else { return Ok(reply) };
    let subject = subject::sticky_workflow_task(connection.namespace(), queue, &able);
    match chunked::request(connection, subject, bytes::Bytes::from(encode(task)), timeout).await {
        Ok(answer) => Ok(usable(&answer)?.unwrap_or(reply)),
        Err(_) => Ok(reply),
    }
}

async fn ask_queue(
    connection: &Connection,
    timeout: Duration,
    task: &WorkflowTask,
    queue: &Name,
    sticky: Option<&Sticky>,
) -> Result<WorkflowTaskReply, (StallKind, String)> {
    let namespace = connection.namespace();
    let body = bytes::Bytes::from(encode(task));
    if let Some(Sticky { worker, takes_packs }) = sticky {
        let subject = subject::sticky_workflow_task(namespace, queue, worker);
        let answer = if *takes_packs {
            chunked::request_packed(connection, subject, body.clone(), timeout).await
        } else {
            chunked::request(connection, subject, body.clone(), timeout).await
        };
        if let Ok(answer) = answer
            && let Some(reply) = usable(&answer)?
        {
            return Ok(reply);
        }
    }
    let mut busy = 0;
    loop {
        let subject = subject::workflow_task(namespace, queue);
        let answer = chunked::request(connection, subject, body.clone(), timeout).await;
        let answer = answer.map_err(|error| match error {
            RequestError::NoResponders => {
                (StallKind::NoWorker, format!("no worker listens on queue `{queue}`; start one"))
            }
            RequestError::TimedOut { .. } => (
                StallKind::TaskTimeout,
                format!("no worker of queue `{queue}` answered a workflow task within {timeout:?}"),
            ),
            RequestError::NotSent { reason } => (StallKind::TaskTimeout, reason),
        })?;
        if let Some(reply) = usable(&answer)? {
            return Ok(reply);
        }
        busy += 1;
        if busy == MAX_BUSY_ANSWERS {
            let message = format!("the workers of queue `{queue}` are shutting down; start one");
            return Err((StallKind::NoWorker, message));
        }
        tokio::time::sleep(BUSY_PAUSE).await;
    }
}

/// Most bytes of records that are handed over with a task: the task should still fit into a pack.
const MAX_HANDED_BYTES: usize = MAX_PACKED_BODY_BYTES * 3 / 4;

/// The task for a turn. `records`: what has just been read of the run. If that is all of it, and not much, it goes with
/// the task.
pub(crate) fn turn_task(
    workflow: &Workflow,
    request: TurnRequest,
    history_subject: &str,
    first_sequence: u64,
    tokens: &Tokens,
    mut records: Vec<Record>,
) -> Option<WorkflowTask> {
    records.retain(|record| record.index <= request.after);
    let complete = records.len() as u64 == request.after;
    if !complete || (!records.is_empty() && encode(&records).len() > MAX_HANDED_BYTES) {
        records.clear();
    }
    Some(WorkflowTask {
        v: VERSION,
        workflow_id: workflow.id().clone(),
        run_id: workflow.run_id()?.clone(),
        workflow_type: request.workflow_type,
        history_subject: history_subject.to_owned(),
        first_sequence,
        after: request.after,
        mark: Some(request.mark),
        next_mark: Some(request.next_mark),
        replay_token: workflow.run_id().map(|run_id| tokens.replay_token(run_id)),
        records,
        work: Work::Turn { at_ms: request.at_ms, events: request.events, index: request.index },
    })
}

/// The reply, unless it is `Busy`.
fn usable(answer: &[u8]) -> Result<Option<WorkflowTaskReply>, (StallKind, String)> {
    let reply: WorkflowTaskReply = decode(answer)
        .map_err(|error| (StallKind::InvalidTurn, format!("a worker's answer cannot be read: {error}")))?;
    Ok(match reply.answer {
        Answer::Busy {} => None,
        Answer::Commands { .. }
        | Answer::QueryResult { .. }
        | Answer::QueryFailed { .. }
        | Answer::Stalled { .. } => Some(reply),
    })
}
