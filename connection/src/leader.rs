//! Reads that are answered by a stream's leader, one message each: nothing that was acknowledged before is
//! missing in them, as it may be where the nearest replica answers.

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{Info, LastRawMessageErrorKind, RawMessageErrorKind, State, Stream};

use crate::connection::{Connection, JetStreamError};

/// Sequence number of the last message whose subject matches `subject`, in the stream called `name`; 0 when
/// there is none.
///
/// # Errors
/// [`JetStreamError`] when the leader does not answer.
pub async fn last_sequence(
    connection: &Connection,
    name: &str,
    subject: &str,
) -> Result<u64, JetStreamError> {
    match stream(connection, name).await?.get_last_raw_message_by_subject(subject).await {
        Ok(message) => Ok(message.sequence),
        Err(error) => match error.kind() {
            LastRawMessageErrorKind::NoMessageFound => Ok(0),
            LastRawMessageErrorKind::InvalidSubject
            | LastRawMessageErrorKind::JetStream(_)
            | LastRawMessageErrorKind::Other => Err(JetStreamError::Other(error.to_string())),
        },
    }
}

/// The first message from `from` on whose subject matches `subject`.
///
/// # Errors
/// [`JetStreamError`] when the leader does not answer.
pub async fn next_message(
    connection: &Connection,
    name: &str,
    subject: &str,
    from: u64,
) -> Result<Option<StreamMessage>, JetStreamError> {
    let stream = stream(connection, name).await?;
    match stream.raw_message_builder().sequence(from).next_by_subject(subject).send().await {
        Ok(message) => Ok(Some(message)),
        Err(error) if matches!(error.kind(), RawMessageErrorKind::NoMessageFound) => Ok(None),
        Err(error) => Err(JetStreamError::Other(error.to_string())),
    }
}

/// What the stream called `name` holds.
///
/// # Errors
/// [`JetStreamError`] when the leader does not answer.
pub async fn state(connection: &Connection, name: &str) -> Result<State, JetStreamError> {
    let info: Info = connection.api(format!("STREAM.INFO.{name}"), &()).await?;
    Ok(info.state)
}

async fn stream(connection: &Connection, name: &str) -> Result<Stream<()>, JetStreamError> {
    let stream = connection.jetstream().get_stream_no_info(name).await;
    stream.map_err(|error| JetStreamError::Other(error.to_string()))
}
