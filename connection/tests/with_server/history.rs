//! Reading histories back.

use bytes::Bytes;
use stepwell_connection::history::{ReadError, StoredHistory, read_history};
use stepwell_connection::{Connection, PublishError};
use stepwell_shared::encoding::{ChunkPlace, VERSION, chunk_ranges, encode};
use stepwell_shared::headers::CHUNK;
use stepwell_shared::history::{Event, Record};
use stepwell_shared::ids::{Namespace, RunId, WorkflowId};
use stepwell_shared::subject;

use crate::support::{namespace, publish};

fn history_subject(id: &str) -> String {
    subject::history(&Namespace::default(), &WorkflowId::new(id).unwrap(), 16)
}

pub(crate) fn record(index: u64, reason: &str) -> Record {
    Record {
        v: VERSION,
        run_id: RunId::new("run").unwrap(),
        index,
        at_ms: 1,
        through: index,
        events: vec![Event::CancelRequested { reason: reason.to_owned() }],
        turn: None,
        stall: None,
    }
}

async fn append(connection: &Connection, subject: &str, record: &Record) -> u64 {
    publish(connection, subject, &[], encode(record)).await.unwrap().sequence
}

/// Appends a record as a chain of chunks, leaving out the last `without`.
async fn append_chunks(connection: &Connection, subject: &str, record: &Record, without: usize) {
    let body = Bytes::from(encode(record));
    let ranges = chunk_ranges(body.len(), body.len() / 3 + 1);
    let count = ranges.len();
    assert_eq!(count, 3);
    for (range, index) in ranges.into_iter().zip(1..).take(count - without) {
        let header = [(CHUNK, ChunkPlace { index, count }.header())];
        publish(connection, subject, &header, body.slice(range)).await.unwrap();
    }
}

async fn read(connection: &Connection, subject: &str) -> StoredHistory {
    read_history(connection, subject, 0).await.unwrap()
}

fn indices(history: &StoredHistory) -> Vec<u64> {
    history.records.iter().map(|stored| stored.record.index).collect()
}

#[tokio::test]
async fn an_unknown_subject_is_an_empty_history() {
    let (_server, connection, _) = namespace().await;
    let subject = history_subject("nobody");
    assert_eq!(read(&connection, &subject).await, StoredHistory::default());
    append(&connection, &history_subject("somebody"), &record(1, "")).await;
    assert_eq!(read(&connection, &subject).await, StoredHistory::default());
}

#[tokio::test]
async fn a_history_of_12_000_records_among_others_is_read_whole_and_in_order() {
    const RECORDS: u64 = 12_000;
    let (_server, connection, _) = namespace().await;
    let (subject, other) = (history_subject("long"), history_subject("other"));
    let mut acks = Vec::new();
    for index in 1..=RECORDS {
        for subject in [&subject, &other] {
            let body = Bytes::from(encode(&record(index, subject)));
            acks.push(connection.publisher().publish(subject.clone(), None, body).await.unwrap());
        }
    }
    for ack in acks {
        ack.await.unwrap();
    }
    let history = read(&connection, &subject).await;
    assert_eq!(indices(&history), (1..=RECORDS).collect::<Vec<_>>());
    assert_eq!(history.last_sequence, 2 * RECORDS - 1);
    for (stored, index) in history.records.iter().zip(1..) {
        assert_eq!(stored.record, record(index, &subject));
        assert_eq!((stored.first_sequence, stored.last_sequence), (2 * index - 1, 2 * index - 1));
    }
    let tail = read_history(&connection, &subject, history.records[11_989].first_sequence).await.unwrap();
    assert_eq!(indices(&tail), (11_990..=RECORDS).collect::<Vec<_>>());
    let beyond = read_history(&connection, &subject, history.last_sequence + 1).await.unwrap();
    assert_eq!(beyond, StoredHistory::default());
}

#[tokio::test]
async fn pages_are_cut_by_bytes_too() {
    let (_server, connection, _) = namespace().await;
    let subject = history_subject("large");
    let text = "x".repeat(700 * 1024);
    for index in 1..=40 {
        append(&connection, &subject, &record(index, &text)).await;
    }
    let history = read(&connection, &subject).await;
    assert_eq!(indices(&history), (1..=40).collect::<Vec<_>>());
    assert!(history.records.iter().all(|stored| stored.record == record(stored.record.index, &text)));
}

#[tokio::test]
async fn chains_are_joined_and_incomplete_ones_left_out_but_counted() {
    let (_server, connection, _) = namespace().await;
    let subject = history_subject("chunks");
    append(&connection, &subject, &record(1, "a")).await;
    append_chunks(&connection, &subject, &record(2, "joined"), 0).await;
    append_chunks(&connection, &subject, &record(3, "never finished"), 1).await;
    append_chunks(&connection, &subject, &record(3, "written again"), 0).await;
    append_chunks(&connection, &subject, &record(4, "never finished"), 2).await;
    append(&connection, &subject, &record(4, "in one")).await;
    append_chunks(&connection, &subject, &record(5, "cut off at the end"), 1).await;
    let history = read(&connection, &subject).await;
    let places: Vec<(u64, u64, u64)> = history
        .records
        .iter()
        .map(|stored| (stored.record.index, stored.first_sequence, stored.last_sequence))
        .collect();
    assert_eq!(places, [(1, 1, 1), (2, 2, 4), (3, 7, 9), (4, 11, 11)]);
    assert_eq!(history.records[2].record, record(3, "written again"));
    assert_eq!(history.last_sequence, 13);
}

#[tokio::test]
async fn a_message_that_is_no_record_is_named() {
    let (_server, connection, _) = namespace().await;
    let subject = history_subject("broken");
    append(&connection, &subject, &record(1, "a")).await;
    publish(&connection, &subject, &[], "{").await.unwrap();
    let error = read_history(&connection, &subject, 0).await.unwrap_err();
    assert!(matches!(&error, ReadError::Unreadable { sequence: 2, .. }), "{error}");
    let strange = history_subject("strange");
    publish(&connection, &strange, &[(CHUNK, "2/1".into())], "{}").await.unwrap();
    let error = read_history(&connection, &strange, 0).await.unwrap_err();
    assert!(error.to_string().ends_with("its Stepwell-Chunk header makes no sense"), "{error}");
}

#[tokio::test]
async fn a_namespace_that_does_not_exist_has_no_histories() {
    let server = crate::support::server();
    let connection = crate::support::connect(&server).await;
    let error = read_history(&connection, &history_subject("x"), 0).await.unwrap_err();
    assert!(matches!(error, ReadError::JetStream { .. }), "{error}");
    let publish = publish(&connection, &history_subject("x"), &[], "{}").await;
    assert_eq!(publish, Err(PublishError::NoResponders));
}
