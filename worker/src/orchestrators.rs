//! What a worker asks orchestrators about work that it was given. Any of them answers; each request bears the
//! token that came with the work.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stepwell_connection::Connection;
use stepwell_connection::chunked::{self, RequestError};
use stepwell_shared::api::{ApiAnswer, ApiError, AttemptAnswer, AttemptRequest, ReplayAnswer, ReplayRequest};
use stepwell_shared::encoding::{decode_unversioned, encode};
use stepwell_shared::history::Record;
use stepwell_shared::subject;
use stepwell_shared::task::{ActivityTask, WorkflowTask};
use thiserror::Error;

/// Longest wait for one answer with records of a history; it has a few megabytes.
const REPLAY_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait for what is known of an attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum AskError {
    /// No orchestrator could be asked.
    #[error("no orchestrator answers `{verb}`: {source}")]
    Unasked { verb: &'static str, source: RequestError },
    /// One refused.
    #[error("an orchestrator refused `{verb}`: {source}")]
    Refused { verb: &'static str, source: ApiError },
    /// One answered with something else.
    #[error("an orchestrator's answer to `{verb}` makes no sense: {reason}")]
    Nonsense { verb: &'static str, reason: String },
}

/// What is known of the attempt of a task.
pub(crate) async fn attempt(connection: &Connection, task: &ActivityTask) -> Result<AttemptAnswer, AskError> {
    let request = AttemptRequest {
        id: task.workflow_id.to_string(),
        run_id: task.run_id.to_string(),
        step: task.step,
        attempt: task.attempt,
        token: task.token.clone(),
        run_only: false,
    };
    ask(connection, "attempt", &request, ATTEMPT_TIMEOUT).await
}

/// Whether the run that an attempt is of is closed.
pub(crate) async fn run_closed(connection: &Connection, request: &AttemptRequest) -> Result<bool, AskError> {
    let answer: AttemptAnswer = ask(connection, "attempt", request, ATTEMPT_TIMEOUT).await?;
    Ok(answer.run_closed)
}

/// The records of a workflow task's run, as far as they are there: all that the worker holds in memory while it
/// replays them.
pub(crate) async fn records(connection: &Connection, task: &WorkflowTask) -> Result<Vec<Record>, AskError> {
    let mut request = ReplayRequest {
        id: task.workflow_id.to_string(),
        run_id: task.run_id.to_string(),
        // An orchestrator that gives none is older than this worker, and says so.
        token: task.replay_token.clone().unwrap_or_default(),
        from_sequence: task.first_sequence,
    };
    let mut records = Vec::new();
    loop {
        let answer: ReplayAnswer = ask(connection, "replay", &request, REPLAY_TIMEOUT).await?;
        let enough = answer.records.last().is_some_and(|record| record.index >= task.after);
        records.extend(answer.records);
        match answer.next_sequence {
            Some(next) if next > request.from_sequence => {
                if enough {
                    return Ok(records);
                }
                request.from_sequence = next;
            }
            Some(next) => {
                let reason = format!("it says to go on at {next} after {}", request.from_sequence);
                return Err(AskError::Nonsense { verb: "replay", reason });
            }
            None => return Ok(records),
        }
    }
}

async fn ask<T: DeserializeOwned>(
    connection: &Connection,
    verb: &'static str,
    request: &impl Serialize,
    timeout: Duration,
) -> Result<T, AskError> {
    let subject = subject::api(connection.namespace(), verb);
    let asked = chunked::request(connection, subject, encode(request), timeout).await;
    let body = asked.map_err(|source| AskError::Unasked { verb, source })?;
    match decode_unversioned(&body) {
        Ok(ApiAnswer::Ok(answer)) => Ok(answer),
        Ok(ApiAnswer::Error(source)) => Err(AskError::Refused { verb, source }),
        Err(error) => Err(AskError::Nonsense { verb, reason: error.to_string() }),
    }
}
