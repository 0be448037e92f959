//! Sending an event to a workflow and learning what became of it. An event that is stored takes effect even
//! if nobody confirms it.

use std::pin::pin;
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use stepwell_connection::PublishError;
use stepwell_shared::api::{ApiError, Verdict};
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::headers::ANSWER_TO;
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::subject::{self, EventAddress};
use tokio::time::Instant;

use super::Client;
use super::error::RequestError;

/// Longest wait for a confirmation when nothing else is said. A successor takes over within five seconds.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// An event without a confirmation is sent again after this time: the orchestrator that took it in may have
/// died before it said so.
const REPEAT_AFTER: Duration = Duration::from_secs(5);

/// Waiting for the answer never ends before the deadline that is watched here.
const PATIENCE_BEYOND: Duration = Duration::from_secs(60);

/// Longest time in which nobody stores an event before it is given up: a stream without a leader gets one
/// within ten seconds.
const STORE_PATIENCE: Duration = Duration::from_secs(10);

/// Wait before an event that was not stored is sent again.
const STORE_RETRY: Duration = Duration::from_millis(200);

/// An event to be sent.
pub(crate) struct Outgoing<'a> {
    pub(crate) id: &'a WorkflowId,
    pub(crate) address: EventAddress,
    pub(crate) body: Bytes,
    pub(crate) timeout: Duration,
}

impl Client {
    /// Sends the event until its verdict is known. Repeats must be harmless: they are recognised by request
    /// id, or change nothing.
    pub(crate) async fn send(&self, event: Outgoing<'_>) -> Result<Verdict, RequestError> {
        let deadline = Instant::now() + event.timeout;
        let subject = subject::event(self.connection().namespace(), event.id, &event.address);
        let expected = self.connection().expect_answer();
        let answer_to = expected.subject();
        let mut verdict = pin!(expected.wait(event.timeout + PATIENCE_BEYOND));
        let mut stored = false;
        loop {
            let published = self.store(&subject, &answer_to, &event.body, deadline).await;
            match published {
                Ok(()) => stored = true,
                // An earlier copy is stored; its verdict may still come.
                Err(RequestError::Unavailable { .. }) if stored => {}
                Err(error) => return Err(error),
            }
            let repeat = (Instant::now() + REPEAT_AFTER).min(deadline);
            match tokio::time::timeout_at(repeat, &mut verdict).await {
                Ok(Ok(verdict)) => {
                    return serde_json::from_slice(&verdict)
                        .map_err(|error| RequestError::Answer(error.to_string()));
                }
                Ok(Err(error)) => return Err(RequestError::unavailable(stored, error.to_string())),
                Err(_) if Instant::now() >= deadline => {
                    let reason =
                        format!("no confirmation within {:?}; is an orchestrator running?", event.timeout);
                    return Err(RequestError::unavailable(stored, reason));
                }
                Err(_) => tracing::debug!(subject, "no confirmation of an event yet; sending it again"),
            }
        }
    }

    /// Publishes until the event is stored or it makes no sense to try again.
    async fn store(
        &self,
        subject: &str,
        answer_to: &str,
        body: &Bytes,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        let give_up = deadline.min(Instant::now() + STORE_PATIENCE);
        loop {
            let mut headers = HeaderMap::new();
            headers.insert(ANSWER_TO, answer_to);
            let publisher = self.connection().publisher();
            let published = match publisher.publish(subject.to_owned(), Some(headers), body.clone()).await {
                Ok(pending) => pending.await,
                Err(error) => Err(error),
            };
            let Err(error) = published else { return Ok(()) };
            match error {
                PublishError::StorageFull { .. } => return Err(refused(ErrorCode::StorageFull, &error)),
                PublishError::UnknownOutcome | PublishError::NoResponders if Instant::now() < give_up => {
                    tokio::time::sleep_until(give_up.min(Instant::now() + STORE_RETRY)).await;
                }
                PublishError::UnknownOutcome
                | PublishError::NoResponders
                | PublishError::Closed
                | PublishError::WrongLastSequence
                | PublishError::Refused { .. } => {
                    return Err(RequestError::unavailable(false, error.to_string()));
                }
            }
        }
    }
}

fn refused(code: ErrorCode, error: &PublishError) -> RequestError {
    ApiError { code, message: error.to_string(), run_id: None }.into()
}
