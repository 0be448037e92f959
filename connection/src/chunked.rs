//! Requests and answers on core NATS. An answer larger than one message is sent as several, each with a
//! `Stepwell-Chunk: <index>/<count>` header, in order.

use std::time::Duration;

use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use stepwell_shared::encoding::{ChunkPlace, chunk_ranges};
use stepwell_shared::headers::CHUNK;
use stepwell_shared::limits::MAX_CHUNKS;
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

/// Answers a request, in as many messages as it takes.
///
/// # Errors
/// [`ReplyError`] when the answer is too large or the connection is gone.
pub async fn reply(
    client: &Client,
    subject: impl Into<async_nats::Subject>,
    body: impl Into<Bytes>,
) -> Result<(), ReplyError> {
    let (subject, body) = (subject.into(), body.into());
    let limit = max_body(client);
    let ranges = chunk_ranges(body.len(), limit);
    let not_sent = |error: async_nats::PublishError| ReplyError::NotSent { reason: error.to_string() };
    if ranges.len() == 1 {
        return client.publish(subject, body).await.map_err(not_sent);
    }
    if ranges.len() > MAX_CHUNKS {
        return Err(ReplyError::TooLarge { size: body.len(), limit: limit * MAX_CHUNKS });
    }
    let count = ranges.len();
    for (range, index) in ranges.into_iter().zip(1..) {
        let mut headers = HeaderMap::new();
        headers.insert(CHUNK, ChunkPlace { index, count }.header());
        let part = body.slice(range);
        client.publish_with_headers(subject.clone(), headers, part).await.map_err(not_sent)?;
    }
    Ok(())
}
