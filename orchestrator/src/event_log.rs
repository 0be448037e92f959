//! The HISTORY stream: loading a workflow and appending to it. An append names the sequence of the
//! subject's last message, so of two writers one loses; that, and not a lease, is the fence.

use std::time::Instant;

use async_nats::HeaderMap;
use bytes::Bytes;
use stepwell_connection::crash::{self, Boundary};
use stepwell_connection::history::{ReadError, read_history};
use stepwell_connection::{Connection, PublishError};
use stepwell_orchestrator_core::{IllegalRecord, Workflow};
use stepwell_shared::encoding::{ChunkPlace, chunk_ranges, encode};
use stepwell_shared::headers;
use stepwell_shared::history::Record;
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::limits::{MAX_CHUNKS, MAX_MESSAGE_BYTES};
use stepwell_shared::subject;
use thiserror::Error;

use crate::metric_definitions::Metrics;
use crate::sabotage;

/// Most records that are kept of a history that was read, to be handed to workflow code with the next task. When there
/// are more, workers ask for them.
const MAX_KEPT_RECORDS: usize = 32;

/// A workflow with its place in the stream.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) workflow: Workflow,
    /// Sequence of the subject's last message; 0 when there is none.
    pub(crate) last_sequence: u64,
    /// Sequence of the current run's first record; 0 when there is none.
    pub(crate) first_sequence: u64,
    /// The run's last records, and all of them if they are few. The last one tells whether an append of unknown outcome
    /// landed.
    pub(crate) records: Vec<Record>,
    /// Index of the last record that was stored at or below the sequence asked about.
    pub(crate) index_before: u64,
}

/// Why a workflow could not be loaded.
#[derive(Debug, Error)]
pub(crate) enum LoadError {
    /// The stream could not be read; to be tried again.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What is stored makes no run.
    #[error(transparent)]
    Illegal(#[from] IllegalRecord),
    /// It contradicts what EVENTS holds: nobody may go on.
    #[error("the history knows of events that EVENTS does not have")]
    Halted,
}

/// Reads the current run of a workflow id. `before`: see [`Loaded::index_before`].
pub(crate) async fn load(
    connection: &Connection,
    partitions: u32,
    id: &WorkflowId,
    before: u64,
) -> Result<Loaded, LoadError> {
    let subject = subject::history(connection.namespace(), id, partitions);
    let history = read_history(connection, &subject, 0).await?;
    let mut loaded = Loaded {
        workflow: Workflow::new(id.clone()),
        last_sequence: history.last_sequence,
        first_sequence: 0,
        records: Vec::new(),
        index_before: 0,
    };
    for stored in history.records {
        loaded.workflow.apply(&stored.record)?;
        if stored.record.index == 1 {
            loaded.first_sequence = stored.first_sequence;
            loaded.index_before = 0;
            loaded.records.clear();
        }
        if stored.last_sequence <= before {
            loaded.index_before = stored.record.index;
        }
        if loaded.records.len() == MAX_KEPT_RECORDS {
            loaded.records.clear();
        }
        loaded.records.push(stored.record);
    }
    Ok(loaded)
}

/// Where an append landed.
pub(crate) struct Appended {
    pub(crate) first_sequence: u64,
    pub(crate) last_sequence: u64,
}

/// Appends a record after the message `last_sequence` of its subject; returns when it is stored.
///
/// A record larger than one message becomes a chain of chunks; a chain cut short by a crash is skipped by
/// readers.
pub(crate) async fn append(
    connection: &Connection,
    metrics: &Metrics,
    subject: &str,
    record: &Record,
    last_sequence: u64,
) -> Result<Appended, PublishError> {
    let started = Instant::now();
    let body = Bytes::from(encode(record));
    let ranges = chunk_ranges(body.len(), message_bytes(connection, body.len()));
    if ranges.len() > MAX_CHUNKS {
        return Err(PublishError::Refused {
            code: 0,
            err_code: 0,
            description: format!("the record has {} bytes, more than {MAX_CHUNKS} messages hold", body.len()),
        });
    }
    let count = ranges.len();
    crash::at(Boundary::BeforeAppend);
    let mut expected = last_sequence;
    let mut first_sequence = 0;
    for (range, index) in ranges.into_iter().zip(1..) {
        let mut headers = HeaderMap::new();
        if sabotage::fenced() {
            headers.insert(headers::EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
        }
        if count > 1 {
            headers.insert(headers::CHUNK, ChunkPlace { index, count }.header());
        }
        let part = body.slice(range);
        let sent = connection.publisher().publish(subject.to_owned(), Some(headers), part).await?;
        crash::at(Boundary::AppendSent);
        let ack = sent.await?;
        expected = ack.sequence;
        if index == 1 {
            first_sequence = ack.sequence;
        }
    }
    crash::at(Boundary::AppendStored);
    metrics.append_seconds.observe(started.elapsed().as_secs_f64());
    metrics.record_bytes.observe(body.len() as f64);
    Ok(Appended { first_sequence, last_sequence: expected })
}

/// How much of a body of `len` bytes goes into one message. What the server takes is looked up only for one
/// that may be too large: that copies all that the server said of itself.
fn message_bytes(connection: &Connection, len: usize) -> usize {
    if len <= MAX_MESSAGE_BYTES.min(connection.client().max_payload() / 2) {
        len
    } else {
        connection.max_body()
    }
}
