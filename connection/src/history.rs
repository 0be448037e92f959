//! Reading what was recorded of a workflow id: all messages of one subject of the HISTORY stream, in
//! order, with chains of chunks put together.
//!
//! Reads go to any replica in large batches. Where there are several replicas the leader is asked first
//! how far the subject goes, and what the nearest replica does not have yet is fetched from the leader: a
//! caller never sees less than what was acknowledged before it asked.

use async_nats::HeaderMap;
use bytes::Bytes;
use stepwell_shared::encoding::{self, Assembler, ChunkPlace, DecodeError};
use stepwell_shared::headers::CHUNK;
use stepwell_shared::history::Record;
use stepwell_shared::subject::Stream;
use thiserror::Error;

use crate::connection::{Connection, JetStreamError};
use crate::page::read_page;

/// One record, with its place in the stream.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRecord {
    /// Sequence number of its first message.
    pub first_sequence: u64,
    /// Sequence number of its last message; the same, if it has only one.
    pub last_sequence: u64,
    /// The record.
    pub record: Record,
}

/// What a subject holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StoredHistory {
    /// The records, oldest first. Chains of chunks that are not complete are left out: their writers
    /// died before they were committed.
    pub records: Vec<StoredRecord>,
    /// Sequence number of the subject's last message, of whatever kind; 0 when there is none. This is
    /// what the next append must expect.
    pub last_sequence: u64,
}

/// Why a history could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    /// JetStream did not answer.
    #[error("cannot read the history {subject}: {source}")]
    JetStream {
        /// The subject.
        subject: String,
        /// What it said.
        source: JetStreamError,
    },
    /// A message in it cannot be read.
    #[error("cannot read the history {subject} at sequence {sequence}: {reason}")]
    Unreadable {
        /// The subject.
        subject: String,
        /// Its sequence number.
        sequence: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads the records of a history subject, from the message with sequence `from_sequence` on; 0 and 1 read
/// from the beginning.
///
/// # Errors
/// [`ReadError`] names the subject and, if it is one message's fault, its sequence number.
pub async fn read_history(
    connection: &Connection,
    subject: &str,
    from_sequence: u64,
) -> Result<StoredHistory, ReadError> {
    let failed = |source| ReadError::JetStream { subject: subject.to_owned(), source };
    let mut reader = Reader::new(subject);
    let mut next = from_sequence.max(1);
    let target = if connection.history_replicas().await.map_err(failed)? > 1 {
        leader::last_sequence(connection, subject).await.map_err(failed)?
    } else {
        0
    };
    loop {
        let page = read_page(connection, Stream::History, subject, next).await.map_err(failed)?;
        for message in page.messages {
            let place = Place::of(message.headers.as_ref());
            reader.take_in(&Raw { sequence: message.sequence, place, body: message.body })?;
        }
        next = next.max(reader.history.last_sequence + 1);
        if !page.more {
            break;
        }
    }
    while next <= target {
        let message = leader::next_message(connection, subject, next).await.map_err(failed)?;
        let Some(message) = message else { break };
        next = message.sequence + 1;
        reader.take_in(&message)?;
    }
    Ok(reader.history)
}

struct Raw {
    sequence: u64,
    place: Place,
    body: Bytes,
}

enum Place {
    Whole,
    Chunk(ChunkPlace),
    Nonsense,
}

impl Place {
    fn of(headers: Option<&HeaderMap>) -> Self {
        match headers.and_then(|headers| headers.get(CHUNK)) {
            None => Self::Whole,
            Some(header) => ChunkPlace::parse(header.as_str()).map_or(Self::Nonsense, Self::Chunk),
        }
    }
}

struct Reader<'a> {
    subject: &'a str,
    history: StoredHistory,
    chain: Assembler,
    chain_begins: u64,
}

impl<'a> Reader<'a> {
    fn new(subject: &'a str) -> Self {
        Self { subject, history: StoredHistory::default(), chain: Assembler::default(), chain_begins: 0 }
    }

    fn take_in(&mut self, message: &Raw) -> Result<(), ReadError> {
        self.history.last_sequence = message.sequence;
        let unreadable = |reason: String| ReadError::Unreadable {
            subject: self.subject.to_owned(),
            sequence: message.sequence,
            reason,
        };
        let decode = |body: &[u8]| {
            encoding::decode::<Record>(body).map_err(|error: DecodeError| unreadable(error.to_string()))
        };
        let (first_sequence, record) = match message.place {
            Place::Whole => {
                self.chain = Assembler::default();
                (message.sequence, decode(&message.body)?)
            }
            Place::Chunk(place) => {
                if place.index == 1 {
                    self.chain_begins = message.sequence;
                }
                let Some(body) = self.chain.push(Some(place), &message.body) else { return Ok(()) };
                (self.chain_begins, decode(&body)?)
            }
            Place::Nonsense => return Err(unreadable(format!("its {CHUNK} header makes no sense"))),
        };
        let last_sequence = message.sequence;
        self.history.records.push(StoredRecord { first_sequence, last_sequence, record });
        Ok(())
    }
}

/// Reads that are answered by the stream's leader, one message each.
mod leader {
    use async_nats::jetstream::message::StreamMessage;
    use async_nats::jetstream::stream::{LastRawMessageErrorKind, RawMessageErrorKind};
    use stepwell_shared::subject::Stream;

    use super::{Place, Raw};
    use crate::connection::{Connection, JetStreamError};

    /// Sequence number of the subject's last message; 0 when there is none.
    pub(super) async fn last_sequence(connection: &Connection, subject: &str) -> Result<u64, JetStreamError> {
        let last = stream(connection).await?.get_last_raw_message_by_subject(subject).await;
        match last {
            Ok(message) => Ok(message.sequence),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(0),
                LastRawMessageErrorKind::InvalidSubject
                | LastRawMessageErrorKind::JetStream(_)
                | LastRawMessageErrorKind::Other => Err(JetStreamError::Other(error.to_string())),
            },
        }
    }

    /// The subject's first message from `from` on.
    pub(super) async fn next_message(
        connection: &Connection,
        subject: &str,
        from: u64,
    ) -> Result<Option<Raw>, JetStreamError> {
        let stream = stream(connection).await?;
        let next = stream.raw_message_builder().sequence(from).next_by_subject(subject).send().await;
        match next {
            Ok(message) => Ok(Some(raw(message))),
            Err(error) if matches!(error.kind(), RawMessageErrorKind::NoMessageFound) => Ok(None),
            Err(error) => Err(JetStreamError::Other(error.to_string())),
        }
    }

    async fn stream(
        connection: &Connection,
    ) -> Result<async_nats::jetstream::stream::Stream<()>, JetStreamError> {
        let name = Stream::History.name(connection.namespace());
        let stream = connection.jetstream().get_stream_no_info(name).await;
        stream.map_err(|error| JetStreamError::Other(error.to_string()))
    }

    fn raw(message: StreamMessage) -> Raw {
        let place = Place::of(Some(&message.headers));
        Raw { sequence: message.sequence, place, body: message.payload }
    }
}
