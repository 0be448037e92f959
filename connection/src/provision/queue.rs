//! The durable consumer of an activity queue: one per queue on TASKS, named like the queue.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::ConsumerErrorKind;
use stepwell_shared::ids::Name;
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

/// The queue's consumer; created when it is the first time that somebody asks. One that exists is used
/// as it is.
///
/// # Errors
/// [`ProvisionError`] when the namespace does not exist, or JetStream refuses.
pub async fn ensure_queue(connection: &Connection, queue: &Name) -> Result<PullConsumer, ProvisionError> {
    let stream = Stream::Tasks.name(connection.namespace());
    let jetstream = connection.jetstream();
    let existing = jetstream.get_consumer_from_stream::<pull::Config, _, _>(queue.as_str(), &stream).await;
    if let Ok(consumer) = existing {
        return Ok(consumer);
    }
    let config = pull::Config {
        durable_name: Some(queue.to_string()),
        description: Some("Workers of an activity queue".into()),
        filter_subject: subject::task(connection.namespace(), queue),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_deliver: -1,
        max_ack_pending: MAX_ACK_PENDING,
        max_waiting: MAX_WAITING,
        ..pull::Config::default()
    };
    let created = jetstream.create_consumer_on_stream(config, &stream).await;
    created.map_err(|error| match error.kind() {
        ConsumerErrorKind::JetStream(reason) if reason.code() == NOT_FOUND => {
            ProvisionError::NotProvisioned { namespace: connection.namespace().to_string() }
        }
        ConsumerErrorKind::TimedOut
        | ConsumerErrorKind::Request
        | ConsumerErrorKind::InvalidConsumerType
        | ConsumerErrorKind::InvalidName
        | ConsumerErrorKind::JetStream(_)
        | ConsumerErrorKind::Other => ProvisionError::JetStream {
            what: format!("create the consumer of the queue {queue}"),
            source: JetStreamError::Other(error.to_string()),
        },
    })
}

/// The class of JetStream's "not found" errors.
const NOT_FOUND: usize = 404;
