//! What lies on a TASKS stream: how many tasks each queue has that are not done. Counts, never a task itself.

use std::collections::BTreeMap;

use async_nats::jetstream::consumer;
use serde::Deserialize;
use serde_json::json;
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::{Stream, queue_of_task};

use crate::connection::{Connection, JetStreamError};

/// Tasks that are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredTasks {
    /// How many, by the name of the queue. A queue without any is left out.
    pub by_queue: BTreeMap<String, u64>,
    /// The first sequence of the stream that is still there; one more than its last when it is empty.
    pub first_sequence: u64,
}

impl StoredTasks {
    /// How many a queue has.
    #[must_use]
    pub fn of(&self, queue: &str) -> u64 {
        self.by_queue.get(queue).copied().unwrap_or(0)
    }
}

/// How many tasks a queue's consumer knows of: those that wait, and those that workers have. When more are stored, the
/// others are on their way to be stored or removed, or it has passed them over.
#[must_use]
pub fn known_to(consumer: &consumer::Info) -> u64 {
    consumer.num_pending + consumer.num_ack_pending as u64
}

#[derive(Deserialize)]
struct Info {
    state: State,
}

#[derive(Deserialize)]
struct State {
    first_seq: u64,
    #[serde(default)]
    subjects: Option<BTreeMap<String, u64>>,
}

/// Counts the tasks of a shard whose subject matches `subjects`: those of one queue, or all.
///
/// # Errors
/// [`JetStreamError`] when the stream's leader does not answer.
pub async fn stored_tasks(
    connection: &Connection,
    shard: Shard,
    subjects: &str,
) -> Result<StoredTasks, JetStreamError> {
    let stream = Stream::Tasks(shard).name(connection.namespace());
    let filter = json!({ "subjects_filter": subjects });
    let info: Info = connection.api(format!("STREAM.INFO.{stream}"), &filter).await?;
    let queue = |subject: String| queue_of_task(&subject).unwrap_or_default().to_owned();
    let subjects = info.state.subjects.unwrap_or_default();
    Ok(StoredTasks {
        by_queue: subjects.into_iter().map(|(subject, count)| (queue(subject), count)).collect(),
        first_sequence: info.state.first_seq,
    })
}
