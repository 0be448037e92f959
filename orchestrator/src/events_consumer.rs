//! A consumer of some partitions' events: in stream order, without acknowledgements.

use std::sync::atomic::Ordering;

use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy, pull::OrderedConfig};
use async_nats::jetstream::{Message, stream};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use stepwell_connection::{Connection, JetStreamError};
use stepwell_shared::subject::Stream;

/// An event as it was delivered, or why reading failed.
pub(crate) type Read = Result<Delivered, String>;

/// An event as it was delivered.
pub(crate) struct Delivered {
    pub(crate) message: Message,
    pub(crate) sequence: u64,
    /// How many more were stored then for the same consumer.
    pub(crate) pending: u64,
}

/// Reads what matches `filters` from `next` on.
pub(crate) async fn open(
    connection: &Connection,
    filters: Vec<String>,
    next: u64,
) -> Result<BoxStream<'static, Read>, JetStreamError> {
    let other = |error: String| JetStreamError::Other(error);
    let name = Stream::Events.name(connection.namespace());
    let stream = connection.jetstream().get_stream_no_info(name).await;
    let stream: stream::Stream<()> = stream.map_err(|error| other(error.to_string()))?;
    let config = OrderedConfig {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: next.max(1) },
        replay_policy: ReplayPolicy::Instant,
        filter_subjects: filters,
        ..OrderedConfig::default()
    };
    let consumer = stream.create_consumer(config).await.map_err(|error| other(error.to_string()))?;
    let messages = consumer.messages().await.map_err(|error| other(error.to_string()))?;
    Ok(messages.map(|message| placed(message.map_err(|error| error.to_string())?)).boxed())
}

/// How often the connection was made. After it was made anew the server may know nothing of a consumer, which
/// the client would notice much later.
pub(crate) fn connects(connection: &Connection) -> u64 {
    connection.client().statistics().connects.load(Ordering::Relaxed)
}

fn placed(message: Message) -> Read {
    let (sequence, pending) = {
        let info = message.info().map_err(|error| format!("a delivery has no place: {error}"))?;
        (info.stream_sequence, info.pending)
    };
    Ok(Delivered { message, sequence, pending })
}
