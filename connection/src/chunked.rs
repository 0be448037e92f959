//! Requests and answers on core NATS. An answer larger than one message is sent as several, each with a
//! `Stepwell-Chunk: <index>/<count>` header, in order.

use std::time::Duration;

use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use stepwell_shared::encoding::{ChunkPlace, chunk_ranges};
use stepwell_shared::headers::{CHUNK, PACK};
use stepwell_shared::limits::{MAX_CHUNKS, MAX_MESSAGE_BYTES};
use stepwell_shared::pack::{PackIndex, take_fitting};
use thiserror::Error;

use crate::connection::{Connection, max_body};

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Nobody listens on the subject; told at once.
    #[error("nobody listens there")]
    NoResponders,
    /// Nobody answered, or not completely.
    #[error("no answer within {after:?}")]
    TimedOut {
        /// How long it was waited.
        after: Duration,
    },
    /// The request could not be sent.
    #[error("the request could not be sent: {reason}")]
    NotSent {
        /// Why.
        reason: String,
    },
}

/// Why an answer could not be sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReplyError {
    /// It needs more messages than one answer may have.
    #[error("the answer has {size} bytes; at most {limit} are sent")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The largest size.
        limit: usize,
    },
    /// The connection is gone.
    #[error("the answer could not be sent: {reason}")]
    NotSent {
        /// Why.
        reason: String,
    },
}

/// Sends a request and waits for the whole answer.
///
/// # Errors
/// [`RequestError::NoResponders`] at once when nobody listens; the others after `timeout` at the latest.
pub async fn request(
    connection: &Connection,
    subject: impl Into<String>,
    body: impl Into<Bytes>,
    timeout: Duration,
) -> Result<Vec<u8>, RequestError> {
    connection.replies().request(subject.into(), body.into(), timeout).await
}

/// The same, in one message with others for the same subject that are asked in the same moment. Only for who is known
/// to take packs.
///
/// # Errors
/// As [`request`].
pub async fn request_packed(
    connection: &Connection,
    subject: impl Into<String>,
    body: impl Into<Bytes>,
    timeout: Duration,
) -> Result<Vec<u8>, RequestError> {
    connection.replies().request_packed(subject.into(), body.into(), timeout).await
}

/// Answers a request, in as many messages as it takes. They are on their way when this returns and not yet sent: the
/// connection's last handle takes with it what it did not send, so flush before it is dropped.
///
/// # Errors
/// [`ReplyError`] when the answer is too large or the connection is gone.
pub async fn reply(
    client: &Client,
    subject: impl Into<async_nats::Subject>,
    body: impl Into<Bytes>,
) -> Result<(), ReplyError> {
    send(client, subject.into(), None, body.into()).await
}

/// Answers the request in this place of a pack, by itself.
///
/// # Errors
/// As [`reply`].
pub async fn reply_in_place(
    client: &Client,
    subject: impl Into<async_nats::Subject>,
    place: usize,
    body: impl Into<Bytes>,
) -> Result<(), ReplyError> {
    send(client, subject.into(), Some(place), body.into()).await
}

/// Answers requests of a pack, each in its place, in as few messages as hold them.
///
/// # Errors
/// As [`reply`], of the first answer that could not be sent.
pub async fn reply_packed(
    client: &Client,
    subject: impl Into<async_nats::Subject>,
    answers: Vec<(usize, Vec<u8>)>,
) -> Result<(), ReplyError> {
    let (subject, limit) = (subject.into(), pack_bytes(client));
    let mut answers = answers.into_iter().peekable();
    let mut outcome = Ok(());
    while answers.peek().is_some() {
        let together = take_fitting(&mut answers, |(_, body)| body.len(), limit);
        let together = match <[_; 1]>::try_from(together) {
            Ok([(place, body)]) => {
                outcome = outcome.and(send(client, subject.clone(), Some(place), body.into()).await);
                continue;
            }
            Err(together) => together,
        };
        let mut index = PackIndex::default();
        let mut bodies = Vec::with_capacity(together.iter().map(|(_, body)| body.len()).sum());
        for (place, body) in together {
            index.push(place, body.len());
            bodies.extend_from_slice(&body);
        }
        let mut headers = HeaderMap::new();
        headers.insert(PACK, index.header());
        let sent = client.publish_with_headers(subject.clone(), headers, bodies.into()).await;
        outcome = outcome.and(sent.map_err(|error| not_sent(&error)));
    }
    outcome
}

/// How many bytes go into one pack: what the server takes, with ample room for the header that lists them.
pub(crate) fn pack_bytes(client: &Client) -> usize {
    MAX_MESSAGE_BYTES.min(client.max_payload() / 2)
}

async fn send(
    client: &Client,
    subject: async_nats::Subject,
    place: Option<usize>,
    body: Bytes,
) -> Result<(), ReplyError> {
    let limit = max_body(client);
    let ranges = chunk_ranges(body.len(), limit);
    if ranges.len() > MAX_CHUNKS {
        return Err(ReplyError::TooLarge { size: body.len(), limit: limit * MAX_CHUNKS });
    }
    let count = ranges.len();
    for (range, index) in ranges.into_iter().zip(1..) {
        let part = body.slice(range);
        let mut headers = HeaderMap::new();
        if let Some(place) = place {
            let mut pack = PackIndex::default();
            pack.push(place, part.len());
            headers.insert(PACK, pack.header());
        }
        if count > 1 {
            headers.insert(CHUNK, ChunkPlace { index, count }.header());
        }
        let sent = if headers.is_empty() {
            client.publish(subject.clone(), part).await
        } else {
            client.publish_with_headers(subject.clone(), headers, part).await
        };
        sent.map_err(|error| not_sent(&error))?;
    }
    Ok(())
}

fn not_sent(error: &async_nats::PublishError) -> ReplyError {
    ReplyError::NotSent { reason: error.to_string() }
}
