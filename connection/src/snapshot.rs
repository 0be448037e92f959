//! Copies of whole streams with their consumers, by JetStream's snapshot API: what comes out goes back in. The data
//! is the server's own and is not looked into here; it passes in chunks, so that memory does not grow with a stream.

use std::future::Future;
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Message, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::connection::{Connection, JetStreamError};
use crate::placement;

/// Bytes of a chunk that the server is asked for, and most bytes of one that it is sent.
const CHUNK_BYTES: usize = 128 * 1024;

/// Bytes that the server may have sent without an acknowledgement: what waits in memory here.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;

/// Longest wait for the next chunk. The server gives up after five seconds without an acknowledgement.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest wait for the server to make a stream of what it was sent. It reads all of it first.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// Longest wait for the server to listen for the next part, and the pause between two tries.
const NOBODY_LISTENS: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What the server says of a stream whose snapshot it has begun.
#[derive(Debug, Clone, Deserialize)]
pub struct Snapshot {
    /// The stream's configuration, as the server writes it.
    pub config: Value,
    /// The stream's state, as the server writes it.
    pub state: Value,
}

/// Where the data of a snapshot goes. It may be slow: the server waits.
pub trait Sink {
    /// Takes some bytes.
    fn write(&mut self, bytes: &[u8]) -> impl Future<Output = Result<(), String>>;
}

/// Where the data of a snapshot comes from.
pub trait Source {
    /// At most `limit` bytes; none at the end.
    fn read(&mut self, limit: usize) -> impl Future<Output = Result<Bytes, String>>;
}

/// Copies the stream called `name` with its consumers into `sink`.
///
/// # Errors
/// [`JetStreamError`] when the server refuses, the copy is not complete, or `sink` fails. What `sink` has is worth
/// nothing then.
pub async fn take(
    connection: &Connection,
    name: &str,
    sink: &mut impl Sink,
) -> Result<Snapshot, JetStreamError> {
    let client = connection.client();
    let connects = || client.statistics().connects.load(std::sync::atomic::Ordering::Relaxed);
    let before = connects();
    let inbox = client.new_inbox();
    let mut chunks = client.subscribe(inbox.clone()).await.map_err(|error| other(&error))?;
    let request = json!({
        "deliver_subject": inbox,
        "no_consumers": false,
        "jsck": false,
        "chunk_size": CHUNK_BYTES,
        "window_size": WINDOW_BYTES,
    });
    let snapshot: Snapshot = connection.api(format!("STREAM.SNAPSHOT.{name}"), &request).await?;
    let mut taken = 0;
    loop {
        let chunk = tokio::time::timeout(CHUNK_TIMEOUT, chunks.next()).await;
        let chunk = chunk.map_err(|_| JetStreamError::TimedOut)?;
        let Some(chunk) = chunk else { return Err(other(&"the connection to NATS is closed")) };
        if chunk.payload.is_empty() {
            end(&chunk)?;
            break;
        }
        if let Some(reply) = &chunk.reply {
            taken += 1;
            // The last token is the chunk's number.
            let number = reply.rsplit('.').next().and_then(|number| number.parse::<u64>().ok());
            if number != Some(taken) {
                return Err(other(&format!("part {taken} of the copy of {name} is missing")));
            }
        }
        sink.write(&chunk.payload).await.map_err(|error| other(&error))?;
        // After it was written, so that no more than a window waits here.
        if let Some(reply) = chunk.reply {
            client.publish(reply, Bytes::new()).await.map_err(|error| other(&error))?;
        }
    }
    // The last part has no number, and what is sent while a connection is away is lost.
    if connects() != before {
        return Err(other(&format!("the connection to NATS was lost while {name} was copied")));
    }
    Ok(snapshot)
}

fn end(message: &Message) -> Result<(), JetStreamError> {
    match message.status {
        // A copy of less than a chunk ends without a status.
        None | Some(StatusCode::OK) => Ok(()),
        Some(status) if status.as_u16() == 204 => Ok(()),
        Some(status) => {
            let why = message.description.clone().unwrap_or_default();
            Err(other(&format!("the server broke the copy off: {status} {why}")))
        }
    }
}

#[derive(Deserialize)]
struct Ready {
    deliver_subject: String,
}

#[derive(Deserialize)]
struct Answer {
    error: Option<Refusal>,
    #[serde(default)]
    state: Value,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    code: usize,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// Makes the stream called `name` of a copy. `snapshot.config` may differ from what it was in replicas and limits.
/// Returns the state of the new stream, as the server writes it.
///
/// # Errors
/// [`JetStreamError`] when the server refuses, for example because the stream exists, or `source` fails.
pub async fn restore(
    connection: &Connection,
    name: &str,
    snapshot: &Snapshot,
    source: &mut impl Source,
) -> Result<Value, JetStreamError> {
    let body = json!({ "config": snapshot.config, "state": snapshot.state });
    let ready: Ready = placement::ask(connection, format!("STREAM.RESTORE.{name}"), &body).await?;
    let limit = CHUNK_BYTES.min(connection.max_body());
    loop {
        let chunk = source.read(limit).await.map_err(|error| other(&error))?;
        let last = chunk.is_empty();
        let timeout = if last { RESTORE_TIMEOUT } else { CHUNK_TIMEOUT };
        let answer = part(connection, &ready.deliver_subject, chunk, timeout).await?;
        if answer.is_empty() && !last {
            continue;
        }
        let answer: Answer = serde_json::from_slice(&answer).map_err(|error| other(&error))?;
        if let Some(Refusal { code, err_code, description }) = answer.error {
            return Err(JetStreamError::Refused { code, err_code, description });
        }
        if last {
            return Ok(answer.state);
        }
    }
}

/// Sends a part and waits for the answer. In a cluster the word where to send parts may come before the word that
/// somebody listens there, because they take different routes between the servers: what nobody took is sent again.
async fn part(
    connection: &Connection,
    subject: &str,
    part: Bytes,
    timeout: Duration,
) -> Result<Bytes, JetStreamError> {
    let deadline = Instant::now() + NOBODY_LISTENS;
    loop {
        let request = async_nats::Request::new().payload(part.clone()).timeout(Some(timeout));
        match connection.client().send_request(subject.to_owned(), request).await {
            Ok(answer) => return Ok(answer.payload),
            Err(error) if error.kind() == RequestErrorKind::NoResponders && Instant::now() < deadline => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Err(error) => return Err(other(&error)),
        }
    }
}

fn other(error: &dyn std::fmt::Display) -> JetStreamError {
    JetStreamError::Other(error.to_string())
}
