//! Reading many messages of a stream with one request: JetStream's batched direct get.

use std::time::Duration;

use async_nats::{HeaderMap, Message, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Serialize;
use stepwell_shared::encoding;
use stepwell_shared::subject::Stream;

use crate::connection::{Connection, JetStreamError};

/// Messages per request. The answers come without flow control into the client's buffer of 65 536.
const PAGE_MESSAGES: usize = 1_024;

/// Bytes per request: what the client has to hold at once.
const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// Longest wait for the next message of a page.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// The status of the message that ends a page.
const END_OF_BATCH: u16 = 204;

/// A stored message.
#[derive(Debug, Clone)]
pub struct StoredMessage {
    /// Its subject.
    pub subject: String,
    /// Its sequence number.
    pub sequence: u64,
    /// Its headers, with those that JetStream adds to a direct get.
    pub headers: Option<HeaderMap>,
    /// Its body.
    pub body: Bytes,
}

/// Some of a stream's messages, oldest first.
#[derive(Debug, Clone)]
pub struct Page {
    /// The messages.
    pub messages: Vec<StoredMessage>,
    /// Whether more follow the last one.
    pub more: bool,
}

/// Reads up to a page of messages from `from` on, by a batched direct get: the messages come one by one
/// to an inbox, and then one without body that says how many are left.
///
/// Any replica may answer, so where there are several the newest messages may be missing.
///
/// # Errors
/// [`JetStreamError`] when the stream does not answer, or not completely.
pub async fn read_page(
    connection: &Connection,
    stream: Stream,
    subject: &str,
    from: u64,
) -> Result<Page, JetStreamError> {
    let request =
        BatchRequest { seq: from.max(1), next_by_subj: subject, batch: PAGE_MESSAGES, max_bytes: PAGE_BYTES };
    batch(connection, &stream.name(connection.namespace()), &request).await
}

/// Reads the last message of each subject that matches one of `subjects`, of the stream called `name`: all
/// as they were at one moment. At most 1,024 subjects may match. Any replica may answer, as for [`read_page`].
///
/// # Errors
/// [`JetStreamError`] when the stream does not answer, or not completely.
pub async fn read_last_of_each(
    connection: &Connection,
    name: &str,
    subjects: &[String],
) -> Result<Vec<StoredMessage>, JetStreamError> {
    Ok(batch(connection, name, &LastRequest { multi_last: subjects }).await?.messages)
}

async fn batch(
    connection: &Connection,
    name: &str,
    request: &impl Serialize,
) -> Result<Page, JetStreamError> {
    let client = connection.client();
    let other = |error: &dyn std::fmt::Display| JetStreamError::Other(error.to_string());
    let api = format!("$JS.API.DIRECT.GET.{name}");
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.map_err(|error| other(&error))?;
    let sent = client.publish_with_reply(api, inbox, encoding::encode(request).into()).await;
    sent.map_err(|error| other(&error))?;
    let mut messages = Vec::new();
    loop {
        let answer = tokio::time::timeout(MESSAGE_TIMEOUT, answers.next()).await;
        let answer = answer.map_err(|_| JetStreamError::TimedOut)?;
        let Some(message) = answer else {
            return Err(JetStreamError::Other("the connection to NATS is closed".into()));
        };
        match message.status {
            None => messages.push(stored(message)?),
            Some(StatusCode::NOT_FOUND) => return Ok(Page { messages, more: false }),
            Some(StatusCode::NO_RESPONDERS) => return Err(JetStreamError::Unavailable),
            Some(status) if status.as_u16() == END_OF_BATCH => {
                let more = number(&message, "Nats-Num-Pending").is_some_and(|pending| pending > 0);
                return Ok(Page { more: more && !messages.is_empty(), messages });
            }
            Some(status) => {
                return Err(JetStreamError::Refused {
                    code: usize::from(status.as_u16()),
                    err_code: 0,
                    description: message.description.unwrap_or_default(),
                });
            }
        }
    }
}

fn stored(message: Message) -> Result<StoredMessage, JetStreamError> {
    let sequence = number(&message, "Nats-Sequence")
        .ok_or_else(|| JetStreamError::Other("a stored message came without its sequence number".into()))?;
    let header = |name: &str| message.headers.as_ref()?.get(name).map(ToString::to_string);
    let subject = header("Nats-Subject").unwrap_or_default();
    Ok(StoredMessage { subject, sequence, headers: message.headers, body: message.payload })
}

fn number(message: &Message, header: &str) -> Option<u64> {
    message.headers.as_ref()?.get(header)?.as_str().parse().ok()
}

#[derive(Serialize)]
struct BatchRequest<'a> {
    seq: u64,
    next_by_subj: &'a str,
    batch: usize,
    max_bytes: usize,
}

#[derive(Serialize)]
struct LastRequest<'a> {
    multi_last: &'a [String],
}
