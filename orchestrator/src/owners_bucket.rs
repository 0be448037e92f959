//! The `owners` bucket as the sharing of partitions uses it: read at once, changed by compare-and-set.

use async_nats::HeaderMap;
use bytes::Bytes;
use serde::Serialize;
use stepwell_connection::leader;
use stepwell_connection::page::read_last_of_each;
use stepwell_connection::{Connection, JetStreamError, PublishError};
use stepwell_orchestrator_core::ownership::Snapshot;
use stepwell_shared::encoding::encode;
use stepwell_shared::headers::EXPECTED_LAST_SUBJECT_SEQUENCE;
use stepwell_shared::ids::MemberId;
use stepwell_shared::subject::{Bucket, HOLD_KEY, member_key};

/// What was read of the bucket.
#[derive(Default)]
pub(crate) struct Reading {
    pub(crate) snapshot: Snapshot,
    /// The last revision of the key that holds all orchestrators, whether it is there or was removed; 0 when
    /// there never was one.
    pub(crate) hold_revision: u64,
}

/// Reads who is there and who has what, all of one moment. Whoever answers may be behind.
pub(crate) async fn read(connection: &Connection) -> Result<Reading, JetStreamError> {
    let subject = |key: &str| Bucket::Owners.subject(connection.namespace(), key);
    let wanted = [subject("member.*"), subject("lease.*"), subject(HOLD_KEY)];
    let prefix = subject("");
    let mut reading = Reading::default();
    for message in read_last_of_each(connection, &stream(connection), &wanted).await? {
        let removed = message.headers.as_ref().is_some_and(|headers| headers.get("KV-Operation").is_some());
        let Some(key) = message.subject.strip_prefix(&prefix) else { continue };
        if key == HOLD_KEY {
            reading.hold_revision = message.sequence;
        }
        if !removed {
            reading.snapshot.insert(key, message.sequence, &message.body);
        }
    }
    Ok(reading)
}

/// The last revision of the key that holds all orchestrators, as the leader has it.
pub(crate) async fn hold_revision(connection: &Connection) -> Result<u64, JetStreamError> {
    let subject = Bucket::Owners.subject(connection.namespace(), HOLD_KEY);
    leader::last_sequence(connection, &stream(connection), &subject).await
}

/// The revision of a member's key as the leader has it; 0 when there is none.
pub(crate) async fn revision_of(connection: &Connection, member: &MemberId) -> Result<u64, JetStreamError> {
    let subject = Bucket::Owners.subject(connection.namespace(), &member_key(member));
    leader::last_sequence(connection, &stream(connection), &subject).await
}

/// Writes a key that has the revision `expected`, 0 when there is none. Returns its new revision.
pub(crate) async fn write(
    connection: &Connection,
    key: &str,
    value: &impl Serialize,
    expected: u64,
) -> Result<u64, PublishError> {
    let subject = Bucket::Owners.subject(connection.namespace(), key);
    let mut headers = HeaderMap::new();
    headers.insert(EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
    let body = Bytes::from(encode(value));
    let ack = connection.publisher().publish_at_once(subject, Some(headers), body).await?.await?;
    Ok(ack.sequence)
}

/// Removes a member's key, unless it was written again after `revision`. Leaves no trace of it.
pub(crate) async fn remove_member(
    connection: &Connection,
    member: &MemberId,
    revision: u64,
) -> Result<(), JetStreamError> {
    let other = |error: String| JetStreamError::Other(error);
    let name = stream(connection);
    let stream = connection.jetstream().get_stream_no_info(name).await;
    let stream = stream.map_err(|error| other(error.to_string()))?;
    let subject = Bucket::Owners.subject(connection.namespace(), &member_key(member));
    let purged = stream.purge().filter(subject).sequence(revision + 1).await;
    purged.map(|_| ()).map_err(|error| other(error.to_string()))
}

fn stream(connection: &Connection) -> String {
    Bucket::Owners.stream_name(connection.namespace())
}
