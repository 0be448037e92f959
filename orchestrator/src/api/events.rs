//! Requests that change something: published as events, answered with what became of them.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use stepwell_connection::PublishError;
use stepwell_shared::api::{
    ApiError, CompensationRequest, Receipt, SignalRequest, StartRequest, StopRequest, Verdict,
    checked_workflow_id,
};
use stepwell_shared::encoding::{VERSION, decode_unversioned, encode};
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::headers::ANSWER_TO;
use stepwell_shared::ids::Name;
use stepwell_shared::message::{CompensationMessage, SignalMessage, StartMessage, StopMessage};
use stepwell_shared::subject::{self, EventAddress};

use super::{Api, VERDICT_TIMEOUT, api_error};

/// The two ways to end a run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stop {
    Cancel,
    Terminate,
}

pub(super) async fn start(api: &Api, body: &[u8]) -> Result<Receipt, ApiError> {
    let request: StartRequest = parse(body)?;
    let workflow_type = name("workflow type", &request.workflow_type)?;
    let message = StartMessage {
        v: VERSION,
        queue: name("queue", request.queue.as_deref().unwrap_or("default"))?,
        input: request.input,
        request_id: request.request_id,
        run_timeout_ms: request.run_timeout_ms,
        execution_timeout_ms: request.execution_timeout_ms,
    };
    publish(api, &request.id, &EventAddress::Start { workflow_type }, &message).await
}

pub(super) async fn signal(api: &Api, body: &[u8]) -> Result<Receipt, ApiError> {
    let request: SignalRequest = parse(body)?;
    let name = name("signal name", &request.name)?;
    let message = SignalMessage { v: VERSION, payload: request.payload, request_id: request.request_id };
    publish(api, &request.id, &EventAddress::Signal { name }, &message).await
}

pub(super) async fn stop(api: &Api, body: &[u8], stop: Stop) -> Result<Receipt, ApiError> {
    let request: StopRequest = parse(body)?;
    let address = match stop {
        Stop::Cancel => EventAddress::Cancel,
        Stop::Terminate => EventAddress::Terminate,
    };
    publish(api, &request.id, &address, &StopMessage { v: VERSION, reason: request.reason }).await
}

pub(super) async fn compensation(api: &Api, body: &[u8]) -> Result<Receipt, ApiError> {
    let request: CompensationRequest = parse(body)?;
    let message = CompensationMessage { v: VERSION, action: request.action, reason: request.reason };
    publish(api, &request.id, &EventAddress::Compensation { seq: request.seq }, &message).await
}

/// Reads a request's body.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    decode_unversioned(body).map_err(|error| api_error(error.code(), error.to_string()))
}

fn name(what: &str, text: &str) -> Result<Name, ApiError> {
    Name::new(text).map_err(|error| api_error(ErrorCode::InvalidId, format!("{what}: {error}")))
}

/// Publishes an event and waits for its verdict.
async fn publish<T: Serialize>(
    api: &Api,
    id: &str,
    address: &EventAddress,
    message: &T,
) -> Result<Receipt, ApiError> {
    let connection = &api.connection;
    let subject = subject::event(connection.namespace(), &checked_workflow_id(id)?, address);
    let body = Bytes::from(encode(message));
    let limit = connection.max_body();
    if body.len() > limit {
        let message = format!("the event has {} bytes; at most {limit} are taken", body.len());
        return Err(api_error(ErrorCode::PayloadTooLarge, message));
    }
    let unavailable = |reason: String| api_error(ErrorCode::Unavailable, reason);
    let verdict = connection.expect_answer();
    let mut headers = HeaderMap::new();
    headers.insert(ANSWER_TO, verdict.subject());
    let pending = connection.publisher().publish(subject, Some(headers), body).await;
    let stored = match pending {
        Ok(pending) => pending.await,
        Err(error) => Err(error),
    };
    stored.map_err(|error| match error {
        PublishError::StorageFull { .. } => api_error(ErrorCode::StorageFull, error.to_string()),
        PublishError::WrongLastSequence
        | PublishError::Refused { .. }
        | PublishError::NoResponders
        | PublishError::UnknownOutcome
        | PublishError::Closed => unavailable(error.to_string()),
    })?;
    let Ok(verdict) = verdict.wait(VERDICT_TIMEOUT).await else { return Err(not_confirmed(VERDICT_TIMEOUT)) };
    match decode_unversioned::<Verdict>(&verdict) {
        Ok(Verdict::Accepted { run_id }) => Ok(Receipt { run_id, duplicate: false }),
        Ok(Verdict::Duplicate { run_id }) => Ok(Receipt { run_id, duplicate: true }),
        Ok(Verdict::Rejected(error)) => Err(error),
        Err(error) => Err(api_error(ErrorCode::Internal, error.to_string())),
    }
}

fn not_confirmed(waited: Duration) -> ApiError {
    api_error(
        ErrorCode::Unavailable,
        format!(
            "the event is stored and will be taken in, but no orchestrator confirmed it within {waited:?}; \
             ask again with the same request id"
        ),
    )
}
