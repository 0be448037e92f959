//! Requests that change nothing.

use std::time::Duration;

use futures_util::StreamExt as _;
use stepwell_connection::history::read_history;
use stepwell_connection::page::read_page;
use stepwell_connection::{JetStreamError, leader};
use stepwell_shared::api::{
    ApiError, Description, HistoryAnswer, ListAnswer, ListRequest, QueryAnswer, QueryRequest, RejectedAnswer,
    ResultAnswer, RunRequest, WorkersAnswer, checked_workflow_id,
};
use stepwell_shared::encoding::{VERSION, decode, encode};
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::ids::{Name, WorkflowId};
use stepwell_shared::limits::MAX_MESSAGE_BYTES;
use stepwell_shared::subject::{self, Bucket, Stream};
use stepwell_shared::summary::RunSummary;
use stepwell_shared::task::{Answer, Work, WorkflowTask};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::events::parse;
use super::{Api, MAX_WAITS, api_error};
use crate::ask::ask;
use crate::dispatcher::{Peeked, Request};
use crate::event_log::{self, LoadError};
use crate::janitor::stuck_reason;
use crate::state_bucket::{self, Pace};

/// Longest wait of `api.result`.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// How often a waiting `api.result` looks again, in case it missed that the run closed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How many runs `api.list` shows when the request does not say.
const DEFAULT_LIST: usize = 100;

/// Most runs in one answer of `api.list`.
const MAX_LIST: usize = 10_000;

/// Most messages in one answer of `api.rejected`.
const MAX_REJECTED: usize = 200;

pub(super) async fn query(api: &Api, body: &[u8]) -> Result<QueryAnswer, ApiError> {
    let request: QueryRequest = parse(body)?;
    let id = checked_workflow_id(&request.id)?;
    let name = Name::new(&request.name)
        .map_err(|error| api_error(ErrorCode::InvalidId, format!("query name: {error}")))?;
    let run = find(api, &id).await?;
    let replay_token = Some(api.tokens.replay_token(&run.run_id));
    let task = WorkflowTask {
        records: Vec::new(),
        v: VERSION,
        workflow_id: id,
        run_id: run.run_id,
        workflow_type: run.workflow_type,
        history_subject: run.history_subject,
        first_sequence: run.first_sequence,
        after: run.turn_index,
        mark: Some(run.turn_mark),
        next_mark: None,
        replay_token,
        work: Work::Query { name, argument: request.argument },
    };
    let (connection, workers) = (&api.connection, &api.workers);
    let asked = ask(connection, workers, api.query_timeout, &task, &run.queue, run.sticky.as_ref());
    let reply = asked.await.map_err(|(_, message)| api_error(ErrorCode::Unavailable, message))?;
    match reply.answer {
        Answer::QueryResult { result } => Ok(QueryAnswer { result }),
        Answer::QueryFailed { message } => Err(api_error(ErrorCode::QueryFailed, message)),
        Answer::Stalled { kind, message } => {
            Err(api_error(ErrorCode::QueryFailed, format!("{}: {message}", kind.name())))
        }
        Answer::Commands { .. } | Answer::Busy {} => {
            Err(api_error(ErrorCode::QueryFailed, "the worker answered a query with something else"))
        }
    }
}

/// Gives its place among the requests that are worked on away before it begins to wait.
pub(super) async fn result(
    api: &Api,
    body: &[u8],
    place: OwnedSemaphorePermit,
) -> Result<ResultAnswer, ApiError> {
    let request: RunRequest = parse(body)?;
    let id = checked_workflow_id(&request.id)?;
    let wait = Duration::from_millis(request.wait_ms).min(MAX_WAIT);
    let until = tokio::time::Instant::now() + wait;
    let subject = subject::closed(api.connection.namespace(), &id);
    // Before the first look, so that a close between the look and the wait is not missed.
    let mut closed = api
        .connection
        .client()
        .subscribe(subject)
        .await
        .map_err(|error| api_error(ErrorCode::Unavailable, error.to_string()))?;
    let run_id = request.run_id.as_deref();
    let first = summary(api, &id, run_id).await?;
    if first.status.closed() || wait.is_zero() {
        return Ok(first);
    }
    let Ok(_waiting) = api.waits.try_acquire() else {
        let message = format!(
            "{MAX_WAITS} requests wait for runs to close already; ask again in a while, or with wait_ms 0"
        );
        return Err(api_error(ErrorCode::Unavailable, message));
    };
    drop(place);
    loop {
        let look_again = until.min(tokio::time::Instant::now() + LOOK_AGAIN);
        let _ = tokio::time::timeout_at(look_again, closed.next()).await;
        let seen = summary(api, &id, run_id).await?;
        if seen.status.closed() || tokio::time::Instant::now() >= until {
            return Ok(seen);
        }
    }
}

pub(super) async fn describe(api: &Api, body: &[u8]) -> Result<Description, ApiError> {
    let request: RunRequest = parse(body)?;
    let id = checked_workflow_id(&request.id)?;
    let loaded = load(api, &id).await?;
    let mut description = loaded.workflow.describe().ok_or_else(|| not_found(&id))?;
    if request.run_id.as_deref().is_some_and(|run_id| run_id != description.summary.run_id.as_str()) {
        return Err(not_the_latest(&id, &description.summary));
    }
    description.workers = api.workers.list(Some(&description.summary.queue));
    Ok(description)
}

pub(super) async fn history(api: &Api, body: &[u8]) -> Result<HistoryAnswer, ApiError> {
    let request: RunRequest = parse(body)?;
    let id = checked_workflow_id(&request.id)?;
    let subject = subject::history(api.connection.namespace(), &id, api.partitions);
    let history = read_history(&api.connection, &subject, 0)
        .await
        .map_err(|error| api_error(ErrorCode::Unavailable, error.to_string()))?;
    let latest = history.records.last().ok_or_else(|| not_found(&id))?.record.run_id.clone();
    let wanted = request.run_id.unwrap_or_else(|| latest.to_string());
    let records = history.records.into_iter().map(|stored| stored.record);
    let mut records =
        records.filter(|record| record.run_id.as_str() == wanted && record.index > request.after).peekable();
    if records.peek().is_none() && request.after == 0 {
        let message = format!("workflow `{id}` has no run {wanted}; its latest is {latest}");
        return Err(api_error(ErrorCode::NotFound, message));
    }
    let limit = if request.limit == 0 { usize::MAX } else { request.limit };
    let (mut taken, mut bytes) = (Vec::new(), 0);
    while let Some(record) = records.peek() {
        bytes += encode(record).len();
        if taken.len() == limit || (bytes > MAX_MESSAGE_BYTES && !taken.is_empty()) {
            break;
        }
        taken.extend(records.next());
    }
    Ok(HistoryAnswer { records: taken, more: records.peek().is_some() })
}

pub(super) async fn list(api: &Api, body: &[u8]) -> Result<ListAnswer, ApiError> {
    let request: ListRequest = parse(body)?;
    let limit = if request.limit == 0 { DEFAULT_LIST } else { request.limit.min(MAX_LIST) };
    // The newest runs are kept while the bucket is read, so that memory does not grow with it.
    let mut newest = std::collections::BTreeMap::new();
    let mut total = 0;
    state_bucket::for_each(&api.connection, Bucket::State, ">", Pace::Urgent, |_, value| {
        let Ok(mut summary) = decode::<RunSummary>(value) else { return };
        if !matches(&request, &summary) {
            return;
        }
        total += 1;
        summary.result = None;
        newest.insert((summary.started_at_ms, summary.workflow_id.clone()), summary);
        if newest.len() > limit {
            newest.pop_first();
        }
    })
    .await
    .map_err(unavailable)?;
    Ok(ListAnswer { runs: newest.into_values().rev().collect(), total })
}

pub(super) async fn rejected(api: &Api) -> Result<RejectedAnswer, ApiError> {
    let connection = &api.connection;
    let subject = subject::all_rejected(connection.namespace());
    let rejected = Stream::Rejected.name(connection.namespace());
    let last = leader::state(connection, &rejected).await.map_err(unavailable)?.last_sequence;
    let from = last.saturating_sub(MAX_REJECTED as u64) + 1;
    let page = read_page(connection, Stream::Rejected, &subject, from).await.map_err(unavailable)?;
    let rejected = page.messages.iter().rev().take(MAX_REJECTED);
    Ok(RejectedAnswer { rejected: rejected.filter_map(|message| decode(&message.body).ok()).collect() })
}

pub(super) fn workers(api: &Api) -> Result<WorkersAnswer, ApiError> {
    Ok(WorkersAnswer { workers: api.workers.list(None) })
}

fn matches(request: &ListRequest, summary: &RunSummary) -> bool {
    let status = request.status.is_empty() || request.status.contains(&summary.status);
    let workflow_type =
        request.workflow_type.as_deref().is_none_or(|wanted| wanted == summary.workflow_type.as_str());
    let prefix =
        request.id_prefix.as_deref().is_none_or(|prefix| summary.workflow_id.as_str().starts_with(prefix));
    let stuck = !request.stuck || (!summary.status.closed() && stuck_reason(summary).is_some());
    status && workflow_type && prefix && stuck
}

/// The summary of a workflow id. Between a run's first record and its first summary, from its history.
async fn summary(api: &Api, id: &WorkflowId, run_id: Option<&str>) -> Result<RunSummary, ApiError> {
    let stored = state_bucket::get(&api.connection, id).await.map_err(unavailable)?;
    let summary = match stored {
        Some(summary) => summary,
        None => load(api, id).await?.workflow.summary().ok_or_else(|| not_found(id))?,
    };
    match run_id {
        Some(run_id) if run_id != summary.run_id.as_str() => Err(not_the_latest(id, &summary)),
        Some(_) | None => Ok(summary),
    }
}

/// Where a run stands: from memory, if this process works at it, or from its history.
async fn find(api: &Api, id: &WorkflowId) -> Result<Peeked, ApiError> {
    if let Some(shell) = api.owned.of(id, api.partitions) {
        let (answer, answered) = oneshot::channel();
        let asked = shell.requests.send(Request::Peek { id: id.clone(), answer }).await;
        if asked.is_ok()
            && let Ok(Some(peeked)) = answered.await
        {
            return Ok(peeked);
        }
    }
    let loaded = load(api, id).await?;
    let started = loaded.workflow.started().ok_or_else(|| not_found(id))?;
    let run_id = loaded.workflow.run_id().ok_or_else(|| not_found(id))?;
    Ok(Peeked {
        run_id: run_id.clone(),
        workflow_type: started.workflow_type.clone(),
        queue: started.queue.clone(),
        turn_index: loaded.workflow.turn_index(),
        turn_mark: loaded.workflow.turn_mark(),
        first_sequence: loaded.first_sequence,
        history_subject: subject::history(api.connection.namespace(), id, api.partitions),
        sticky: None,
    })
}

pub(super) async fn load(api: &Api, id: &WorkflowId) -> Result<event_log::Loaded, ApiError> {
    event_log::load(&api.connection, api.partitions, id, 0).await.map_err(|error| match error {
        LoadError::Read(error) => api_error(ErrorCode::Unavailable, error.to_string()),
        error @ (LoadError::Illegal(_) | LoadError::Halted) => {
            api_error(ErrorCode::Internal, error.to_string())
        }
    })
}

fn not_found(id: &WorkflowId) -> ApiError {
    api_error(ErrorCode::NotFound, format!("there is no workflow `{id}`"))
}

fn not_the_latest(id: &WorkflowId, summary: &RunSummary) -> ApiError {
    let message = format!("the latest run of workflow `{id}` is {}, not the one asked for", summary.run_id);
    api_error(ErrorCode::NotFound, message)
}

pub(super) fn unavailable(error: JetStreamError) -> ApiError {
    api_error(ErrorCode::Unavailable, error.to_string())
}
