//! Setting messages aside: on the REJECTED stream with a reason that a person can list, and to the sender
//! if it asked.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy, pull::OrderedConfig};
use async_nats::jetstream::stream::RawMessageErrorKind;
use bytes::Bytes;
use futures_util::StreamExt as _;
use stepwell_connection::clock::now_ms;
use stepwell_connection::crash::{self, Boundary};
use stepwell_connection::{Connection, JetStreamError};
use stepwell_shared::encoding::{VERSION, encode};
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::headers::MESSAGE_ID;
use stepwell_shared::limits::MAX_REJECTION_PREVIEW_BYTES;
use stepwell_shared::rejection::Rejection;
use stepwell_shared::subject::{self, Stream};

use crate::shell::Shell;

/// How the id of a rejection begins; the event's sequence number follows, and `/` and the place in the pack if it is in
/// one.
const ID_PREFIX: &str = "rejected-";

/// Which event it is, and which part of it if it is in a pack.
pub(crate) type Part = (u64, Option<u8>);

/// Pause between two tries to store a rejection.
const PAUSE: Duration = Duration::from_millis(500);

/// How much earlier than the first event that is read again a rejection is looked for: replicas stamp messages
/// with clocks of their own.
const MARGIN: Duration = Duration::from_secs(60);

/// A message as it came.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    pub(crate) subject: String,
    pub(crate) body: Bytes,
    pub(crate) sequence: u64,
    /// Its place, if it is in a pack.
    pub(crate) place: Option<u8>,
}

/// Those of the events from `next` to `last` that predecessors have set aside: they are read
/// again, and their senders know already what became of them.
pub(crate) async fn set_aside_before(
    connection: &Connection,
    next: u64,
    last: u64,
) -> Result<HashSet<Part>, JetStreamError> {
    let mut found = HashSet::new();
    if next > last {
        return Ok(found);
    }
    let other = |error: String| JetStreamError::Other(error);
    let stream =
        |which: Stream| connection.jetstream().get_stream_no_info(which.name(connection.namespace()));
    let events = stream(Stream::Events).await.map_err(|error| other(error.to_string()))?;
    // Without it, it was trimmed; then what is set aside is read from the beginning.
    let deliver_policy = match events.get_raw_message(next).await {
        Ok(first) => DeliverPolicy::ByStartTime { start_time: first.time - MARGIN },
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => DeliverPolicy::All,
        Err(error) => return Err(other(error.to_string())),
    };
    let config = OrderedConfig {
        deliver_policy,
        replay_policy: ReplayPolicy::Instant,
        headers_only: true,
        ..OrderedConfig::default()
    };
    let rejected = stream(Stream::Rejected).await.map_err(|error| other(error.to_string()))?;
    let consumer = rejected.create_consumer(config).await.map_err(|error| other(error.to_string()))?;
    if consumer.cached_info().num_pending == 0 {
        return Ok(found);
    }
    let mut messages = consumer.messages().await.map_err(|error| other(error.to_string()))?;
    while let Some(message) = messages.next().await {
        let message = message.map_err(|error| other(error.to_string()))?;
        let id = message.headers.as_ref().and_then(|headers| headers.get(MESSAGE_ID));
        found.extend(id.and_then(|id| part_of(id.as_str())));
        if message.info().is_ok_and(|info| info.pending == 0) {
            break;
        }
    }
    Ok(found)
}

/// Stores the reason; returns when it is stored, so that the event may count as done. False when this process
/// may not act any more: what it knows may be old, and a successor rules on the message.
pub(crate) async fn set_aside(shell: &Shell, raw: &Raw, code: ErrorCode, message: &str) -> bool {
    let (connection, metrics) = (&shell.connection, &shell.metrics);
    metrics.rejected.with_label_values(&[code.name()]).inc();
    tracing::info!(
        subject = raw.subject,
        sequence = raw.sequence,
        code = code.name(),
        message,
        "message set aside"
    );
    let preview = &raw.body[..raw.body.len().min(MAX_REJECTION_PREVIEW_BYTES)];
    let rejection = Rejection {
        v: VERSION,
        code,
        message: message.to_owned(),
        subject: raw.subject.clone(),
        sequence: raw.sequence,
        at_ms: now_ms(),
        size: raw.body.len(),
        preview: String::from_utf8_lossy(preview).into_owned(),
    };
    let body = Bytes::from(encode(&rejection));
    while shell.validity.holds() {
        let mut headers = HeaderMap::new();
        headers.insert(MESSAGE_ID, id_of((raw.sequence, raw.place)));
        let subject = subject::rejected(connection.namespace(), code);
        crash::at(Boundary::BeforeRejection);
        let stored = match connection.publisher().publish(subject, Some(headers), body.clone()).await {
            Ok(pending) => pending.await.map(|_| ()),
            Err(error) => Err(error),
        };
        match stored {
            Ok(()) => {
                crash::at(Boundary::RejectionStored);
                return true;
            }
            Err(error) => tracing::warn!(%error, "a rejection could not be stored; trying again"),
        }
        tokio::time::sleep(PAUSE).await;
    }
    false
}

fn id_of((sequence, place): Part) -> String {
    match place {
        Some(place) => format!("{ID_PREFIX}{sequence}/{place}"),
        None => format!("{ID_PREFIX}{sequence}"),
    }
}

fn part_of(id: &str) -> Option<Part> {
    let text = id.strip_prefix(ID_PREFIX)?;
    match text.split_once('/') {
        Some((sequence, place)) => Some((sequence.parse().ok()?, Some(place.parse().ok()?))),
        None => Some((text.parse().ok()?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_is_read_from_its_id() {
        for part in [(7, None), (7, Some(0)), (u64::MAX, Some(63))] {
            assert_eq!(part_of(&id_of(part)), Some(part));
        }
        for other in ["7", "rejected-", "rejected-7/", "rejected-7/256", "rejected-/1"] {
            assert_eq!(part_of(other), None, "{other}");
        }
    }
}
