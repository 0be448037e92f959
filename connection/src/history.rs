//! Reading what was recorded of a workflow id: all messages of one subject of the HISTORY stream of its shard, in
//! order, with chains of chunks put together.
//!
//! Reads go to any replica in large batches. Where there are several replicas the leader is asked first
//! how far the subject goes, and what the nearest replica does not have yet is fetched from the leader: a
//! caller never sees less than what was acknowledged before it asked.

use async_nats::HeaderMap;
use bytes::Bytes;
use stepwell_shared::headers::CHUNK;
use stepwell_shared::stored::{HistoryReader, Unreadable};
pub use stepwell_shared::stored::{StoredHistory, StoredRecord};
use stepwell_shared::subject::{Stream, partition_of_history};
use thiserror::Error;

use crate::connection::{Connection, JetStreamError};
use crate::leader;
use crate::page::read_page;

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
    Ok(read_part(connection, subject, from_sequence, usize::MAX).await?.0)
}

/// The same, and stops when it has a record and about `enough` bytes; at most a page and a record beyond that are
/// in memory. The second value says where to go on, if there is more.
///
/// # Errors
/// As [`read_history`].
pub async fn read_part(
    connection: &Connection,
    subject: &str,
    from_sequence: u64,
    enough: usize,
) -> Result<(StoredHistory, Option<u64>), ReadError> {
    let failed = |source| ReadError::JetStream { subject: subject.to_owned(), source };
    let mut reader = HistoryReader::default();
    let take_in = |reader: &mut HistoryReader, message: Raw| {
        let taken = reader.take_in(message.sequence, message.chunk.as_deref(), &message.body);
        taken.map_err(|Unreadable { sequence, reason }| ReadError::Unreadable {
            subject: subject.to_owned(),
            sequence,
            reason,
        })
    };
    let mut next = from_sequence.max(1);
    let partition = partition_of_history(subject).unwrap_or(0);
    let history = Stream::History(connection.shards().await.map_err(failed)?.of_partition(partition));
    let stream = history.name(connection.namespace());
    let target = if connection.history_replicas().await.map_err(failed)? > 1 {
        leader::last_sequence(connection, &stream, subject).await.map_err(failed)?
    } else {
        0
    };
    loop {
        let page = read_page(connection, history, subject, next).await.map_err(failed)?;
        for message in page.messages {
            let chunk = message.headers.as_ref().and_then(chunk_header);
            take_in(&mut reader, Raw { sequence: message.sequence, chunk, body: message.body })?;
        }
        next = next.max(reader.last_sequence() + 1);
        if !page.more {
            break;
        }
        if let Some(next) = reader.next_after(enough) {
            return Ok((reader.into_history(), Some(next)));
        }
    }
    while next <= target {
        if let Some(next) = reader.next_after(enough) {
            return Ok((reader.into_history(), Some(next)));
        }
        let message = leader::next_message(connection, &stream, subject, next).await.map_err(failed)?;
        let Some(message) = message else { break };
        next = message.sequence + 1;
        let chunk = chunk_header(&message.headers);
        take_in(&mut reader, Raw { sequence: message.sequence, chunk, body: message.payload })?;
    }
    Ok((reader.into_history(), None))
}

struct Raw {
    sequence: u64,
    chunk: Option<String>,
    body: Bytes,
}

fn chunk_header(headers: &HeaderMap) -> Option<String> {
    headers.get(CHUNK).map(|header| header.as_str().to_owned())
}
