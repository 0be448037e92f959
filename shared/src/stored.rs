//! A history as it is stored: the messages of one subject, in order, read as records, with chains of
//! chunks put together. It reads bytes that it is given, and fetches nothing.

use thiserror::Error;

use crate::encoding::{Assembler, ChunkPlace, decode};
use crate::headers::CHUNK;
use crate::history::Record;

/// One record, with its place in the stream.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRecord {
    /// Sequence number of its first message.
    pub first_sequence: u64,
    /// Sequence number of its last message; the same, if it has only one.
    pub last_sequence: u64,
    /// Bytes of its body.
    pub bytes: usize,
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

/// A message of a history that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cannot read the message at sequence {sequence}: {reason}")]
pub struct Unreadable {
    /// Its sequence number.
    pub sequence: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// Takes in the messages of a subject, oldest first.
#[derive(Debug, Default)]
pub struct HistoryReader {
    history: StoredHistory,
    chain: Assembler,
    chain_begins: u64,
    bytes: usize,
}

impl HistoryReader {
    /// Takes in the next message. `chunk` is its `Stepwell-Chunk` header, if it has one.
    ///
    /// # Errors
    /// [`Unreadable`] when the message, or the chain that it completes, is no record.
    pub fn take_in(&mut self, sequence: u64, chunk: Option<&str>, body: &[u8]) -> Result<(), Unreadable> {
        self.history.last_sequence = sequence;
        self.bytes += body.len();
        let unreadable = |reason: String| Unreadable { sequence, reason };
        let read = |body: &[u8]| decode::<Record>(body).map_err(|error| unreadable(error.to_string()));
        let (first_sequence, bytes, record) = match chunk {
            None => {
                self.chain = Assembler::default();
                (sequence, body.len(), read(body)?)
            }
            Some(header) => {
                let place = ChunkPlace::parse(header)
                    .ok_or_else(|| unreadable(format!("its {CHUNK} header makes no sense")))?;
                if place.index == 1 {
                    self.chain_begins = sequence;
                }
                let Some(body) = self.chain.push(Some(place), body) else { return Ok(()) };
                (self.chain_begins, body.len(), read(&body)?)
            }
        };
        self.history.records.push(StoredRecord { first_sequence, last_sequence: sequence, bytes, record });
        Ok(())
    }

    /// Sequence number of the last message that was taken in; 0 before the first.
    #[must_use]
    pub fn last_sequence(&self) -> u64 {
        self.history.last_sequence
    }

    /// Where to go on reading, if there is a record and `enough` bytes were taken in: after the last record, since
    /// a chain that has begun is not kept.
    #[must_use]
    pub fn next_after(&self, enough: usize) -> Option<u64> {
        let last = self.history.records.last()?;
        (self.bytes >= enough).then_some(last.last_sequence + 1)
    }

    /// Everything that was taken in.
    #[must_use]
    pub fn into_history(self) -> StoredHistory {
        self.history
    }
}
