//! Waiting for a workflow's end: the word of it comes on a subject, and the `state` bucket has it in case
//! the word is missed.

use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use stepwell_encryption::{Place, shown};
use stepwell_shared::encoding::decode;
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::payload::Payload;
use stepwell_shared::subject;
use stepwell_shared::summary::{RunSummary, Status};

use super::error::{RequestError, ResultError};
use super::handle::WorkflowHandle;

/// First and longest wait before the bucket is read again.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How often a started run may be missing from the bucket before the orchestrator is asked: its summary is
/// written after the start is confirmed.
const MISSES: u32 = 3;

/// What the bucket says of the handle's run.
enum Seen {
    Closed(Box<RunSummary>),
    Open,
    Nothing,
    AnotherRun,
}

pub(crate) async fn result<O: DeserializeOwned>(handle: &WorkflowHandle<O>) -> Result<O, ResultError> {
    let summary = closed(handle).await?;
    let payloads = handle.client().payloads();
    let RunSummary { workflow_id: id, run_id, status, mut failure, result, .. } = summary;
    match status {
        Status::Completed => {
            let mut result = result.unwrap_or_else(Payload::null);
            let opened = payloads.open(&id, Place::WorkflowResult(&run_id), &mut result);
            opened.map_err(|error| RequestError::Answer(error.to_string()))?;
            result.decode().map_err(|error| ResultError::Type {
                expected: std::any::type_name::<O>(),
                reason: error.to_string(),
            })
        }
        status @ (Status::Running
        | Status::Compensating
        | Status::Stuck
        | Status::Failed
        | Status::Cancelled
        | Status::Terminated
        | Status::TimedOut
        | Status::Compensated) => {
            if let Some(failure) = &mut failure
                && payloads.open_failure(&id, &run_id, None, failure).is_err()
            {
                failure.message = shown(&failure.message).into_owned();
            }
            Err(ResultError::Failed { status, failure })
        }
    }
}

/// The summary of the run, once it is closed.
async fn closed<O>(handle: &WorkflowHandle<O>) -> Result<RunSummary, ResultError> {
    let id = WorkflowId::new(handle.id()).map_err(RequestError::Invalid)?;
    let connection = handle.client().connection();
    // First listen, then look: what happens in between is heard.
    let subject = subject::closed(connection.namespace(), &id);
    let subscribed = connection.client().subscribe(subject).await;
    let mut words = subscribed.map_err(|error| RequestError::unavailable(false, error.to_string()))?;
    let mut wait = FIRST_WAIT;
    let mut misses = 0;
    loop {
        match look(handle, &id).await {
            Ok(Seen::Closed(summary)) => return Ok(*summary),
            Ok(Seen::Open) => {}
            Ok(Seen::Nothing) if handle.run_id().is_none() => return Err(not_found(handle)),
            Ok(Seen::Nothing) if misses < MISSES => misses += 1,
            Ok(Seen::Nothing | Seen::AnotherRun) => {
                if let Some(summary) = ask(handle).await? {
                    return Ok(summary);
                }
            }
            Err(error) => tracing::debug!(workflow_id = %id, %error, "a workflow's state cannot be read now"),
        }
        if let Ok(Some(summary)) = tokio::time::timeout(wait, word(&mut words, handle)).await {
            return Ok(summary);
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

async fn look<O>(handle: &WorkflowHandle<O>, id: &WorkflowId) -> Result<Seen, String> {
    let store = handle.client().state().await.map_err(|error| error.to_string())?;
    let value = store.get(subject::state_key(id)).await.map_err(|error| error.to_string())?;
    let Some(value) = value else { return Ok(Seen::Nothing) };
    let summary: RunSummary = decode(&value).map_err(|error| error.to_string())?;
    Ok(match handle.run_id() {
        Some(run_id) if *run_id != summary.run_id => Seen::AnotherRun,
        Some(_) | None if summary.status.closed() => Seen::Closed(Box::new(summary)),
        Some(_) | None => Seen::Open,
    })
}

/// The next word that the handle's run is closed; `None` when none comes any more.
async fn word<O>(words: &mut Subscriber, handle: &WorkflowHandle<O>) -> Option<RunSummary> {
    loop {
        let message = words.next().await?;
        match decode::<RunSummary>(&message.payload) {
            Ok(summary) if handle.run_id().is_none_or(|run_id| *run_id == summary.run_id) => {
                return Some(summary);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the word that a workflow closed cannot be read"),
        }
    }
}

/// Asks the orchestrator, which knows runs that are not the latest. `None`: not closed.
async fn ask<O>(handle: &WorkflowHandle<O>) -> Result<Option<RunSummary>, ResultError> {
    match handle.client().ask::<RunSummary>("result", &handle.request(0)).await {
        Ok(summary) if summary.status.closed() => Ok(Some(summary)),
        Ok(_) | Err(RequestError::Unavailable { .. }) => Ok(None),
        Err(error) if error.code() == Some(ErrorCode::NotFound) => Err(not_found(handle)),
        Err(error) => Err(error.into()),
    }
}

fn not_found<O>(handle: &WorkflowHandle<O>) -> ResultError {
    ResultError::NotFound { id: handle.id().to_owned(), run_id: handle.run_id().cloned() }
}
