//! The durable consumer of an activity queue: one per queue on the TASKS stream of each shard, named like the queue.

use std::time::Duration;

use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy, FromConsumer, PullConsumer, pull};
use async_nats::jetstream::stream::ConsumerCreateStrictErrorKind;
use stepwell_shared::ids::{Name, Namespace};
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::{self, Stream};

use super::ProvisionError;
use crate::connection::{Connection, JetStreamError};

/// A task whose worker says nothing for so long is given to another one.
pub const ACK_WAIT: Duration = Duration::from_secs(15);

/// How many tasks of a queue may be with workers at once. The server walks them all when it looks for
/// overdue ones; an operator may lower it to cap a queue.
const MAX_ACK_PENDING: i64 = 10_000;

/// How many workers' requests for tasks may wait at the server at once.
const MAX_WAITING: i64 = 4_096;

/// The queue's consumer in a shard, if it is there and JetStream says so. One with which tasks would be lost or kept away from
/// workers is put right; limits and times are as an operator wants them.
///
/// # Errors
/// [`ProvisionError`] when it cannot be put right.
pub async fn find_queue(
    connection: &Connection,
    queue: &Name,
    shard: Shard,
) -> Result<Option<PullConsumer>, ProvisionError> {
    let stream = Stream::Tasks(shard).name(connection.namespace());
    let jetstream = connection.jetstream();
    let existing = jetstream.get_consumer_from_stream::<pull::Config, _, _>(queue.as_str(), &stream).await;
    let Ok(consumer) = existing else { return Ok(None) };
    let found = &consumer.cached_info().config;
    let mistakes = queue_mistakes(connection.namespace(), queue, shard, found);
    if mistakes.is_empty() {
        return Ok(Some(consumer));
    }
    put_right(connection, queue, shard, found, &mistakes.join("; ")).await.map(Some)
}

/// The same, and creates it when it is the first time that somebody asks.
///
/// # Errors
/// [`ProvisionError`] when the namespace does not exist, or JetStream refuses.
pub async fn ensure_queue(
    connection: &Connection,
    queue: &Name,
    shard: Shard,
) -> Result<PullConsumer, ProvisionError> {
    if let Some(consumer) = find_queue(connection, queue, shard).await? {
        return Ok(consumer);
    }
    let config = pull::Config {
        durable_name: Some(queue.to_string()),
        description: Some("Workers of an activity queue".into()),
        filter_subject: subject::task(connection.namespace(), queue, shard),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_deliver: -1,
        max_ack_pending: MAX_ACK_PENDING,
        max_waiting: MAX_WAITING,
        ..pull::Config::default()
    };
    create(connection, queue, shard, config).await
}

/// Makes the queue's consumer anew, with the limits and times of `old`: all tasks that are stored are given out then,
/// those included that the old one passed over and those that workers have; workers recognise the latter.
///
/// # Errors
/// [`ProvisionError`] when JetStream refuses. The consumer may be gone then; workers make it as it is by default.
pub async fn remake_queue(
    connection: &Connection,
    queue: &Name,
    shard: Shard,
    old: &consumer::Config,
) -> Result<(), ProvisionError> {
    let stream = Stream::Tasks(shard).name(connection.namespace());
    let config = put_right_config(connection, queue, shard, old)?;
    let deleted = connection.jetstream().delete_consumer_from_stream(queue.as_str(), &stream).await;
    deleted
        .map_err(|error| failed(format!("delete the consumer of the queue {queue}"), error.to_string()))?;
    create(connection, queue, shard, pull::Config { deliver_policy: DeliverPolicy::All, ..config }).await?;
    Ok(())
}

/// Creates it, if nobody else has meanwhile: what that one chose is left.
async fn create(
    connection: &Connection,
    queue: &Name,
    shard: Shard,
    config: pull::Config,
) -> Result<PullConsumer, ProvisionError> {
    let stream = Stream::Tasks(shard).name(connection.namespace());
    let created = connection.jetstream().create_consumer_strict_on_stream(config, &stream).await;
    let error = match created {
        Ok(consumer) => return Ok(consumer),
        Err(error) => error,
    };
    match error.kind() {
        ConsumerCreateStrictErrorKind::AlreadyExists => {
            if let Some(consumer) = find_queue(connection, queue, shard).await? {
                return Ok(consumer);
            }
        }
        ConsumerCreateStrictErrorKind::JetStream(reason) if reason.code() == NOT_FOUND => {
            return Err(ProvisionError::NotProvisioned { namespace: connection.namespace().to_string() });
        }
        ConsumerCreateStrictErrorKind::TimedOut
        | ConsumerCreateStrictErrorKind::Request
        | ConsumerCreateStrictErrorKind::InvalidConsumerType
        | ConsumerCreateStrictErrorKind::InvalidName
        | ConsumerCreateStrictErrorKind::JetStream(_)
        | ConsumerCreateStrictErrorKind::Other => {}
    }
    Err(failed(format!("create the consumer of the queue {queue}"), error.to_string()))
}

fn failed(what: String, error: String) -> ProvisionError {
    ProvisionError::JetStream { what, source: JetStreamError::Other(error) }
}

/// Everything about a queue's consumer with which tasks would be lost or kept away from workers.
#[must_use]
pub fn queue_mistakes(
    namespace: &Namespace,
    queue: &Name,
    shard: Shard,
    found: &consumer::Config,
) -> Vec<String> {
    let mut mistakes = Vec::new();
    let wanted = subject::task(namespace, queue, shard);
    if found.filter_subject != wanted {
        let filters = std::iter::once(&found.filter_subject).chain(&found.filter_subjects);
        let filters: Vec<&str> = filters.map(String::as_str).filter(|filter| !filter.is_empty()).collect();
        mistakes.push(format!("it takes {:?} and not {wanted:?}", filters.join(",")));
    }
    if found.durable_name.is_none() {
        mistakes.push("it is not durable".into());
    }
    if found.deliver_subject.is_some() {
        mistakes.push("it pushes".into());
    }
    match found.ack_policy {
        AckPolicy::Explicit => {}
        AckPolicy::None | AckPolicy::All => mistakes.push("acknowledgements are not explicit".into()),
    }
    if found.max_deliver > 0 {
        mistakes.push(format!("it gives tasks up after {} deliveries", found.max_deliver));
    }
    if found.headers_only {
        mistakes.push("it leaves out what is in the tasks".into());
    }
    mistakes
}

/// Changes what can be changed; JetStream refuses the rest. What a consumer has passed over it does not give out
/// later: that takes a new one, which orchestrators make when they find such.
async fn put_right(
    connection: &Connection,
    queue: &Name,
    shard: Shard,
    found: &consumer::Config,
    mistakes: &str,
) -> Result<PullConsumer, ProvisionError> {
    let config = put_right_config(connection, queue, shard, found)?;
    let stream = Stream::Tasks(shard).name(connection.namespace());
    let consumer = connection.jetstream().update_consumer_on_stream(config, &stream).await;
    let consumer = consumer.map_err(|error| {
        failed(format!("put the consumer of the queue {queue} right ({mistakes})"), error.to_string())
    })?;
    tracing::warn!(%queue, mistakes, "somebody has changed the queue's consumer; it was put right");
    Ok(consumer)
}

/// The settings of `found` without what keeps tasks away from workers.
fn put_right_config(
    connection: &Connection,
    queue: &Name,
    shard: Shard,
    found: &consumer::Config,
) -> Result<pull::Config, ProvisionError> {
    let config = pull::Config::try_from_consumer_config(found.clone());
    let config = config.map_err(|error| {
        failed(format!("read the settings of the consumer of the queue {queue}"), error.to_string())
    })?;
    Ok(pull::Config {
        durable_name: Some(queue.to_string()),
        filter_subject: subject::task(connection.namespace(), queue, shard),
        filter_subjects: Vec::new(),
        ack_policy: AckPolicy::Explicit,
        max_deliver: -1,
        headers_only: false,
        ..config
    })
}

/// The class of JetStream's "not found" errors.
const NOT_FOUND: usize = 404;
