//! Looks now and then at the queue's consumers, one in each shard: an operator may have changed it while this worker runs, and the server
//! tells nobody.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use stepwell_connection::provision::find_queue;
use stepwell_shared::shard::Shard;

use crate::activity_runner::ActivitySide;

/// How often it is looked at; one short request.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Looks until it is dropped.
pub(crate) async fn watch(side: Arc<ActivitySide>, shard: Shard) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match find_queue(&side.connection, &side.queue, shard).await {
            Ok(Some(consumer)) => learn(&side, shard, &consumer),
            // Whoever asks it for tasks is told, and makes it anew.
            Ok(None) => tracing::debug!(queue = %side.queue, "the queue's consumer is not there"),
            Err(error) if side.connection.connected() => {
                tracing::warn!(%error, queue = %side.queue, "the queue's consumer could not be looked at");
            }
            Err(error) => tracing::debug!(%error, "the queue's consumer could not be looked at"),
        }
    }
}

/// Takes over how long the server waits for a word about a task, and whether the consumer is another one than before.
pub(crate) fn learn(side: &ActivitySide, shard: Shard, consumer: &PullConsumer) {
    let consumer = consumer.cached_info();
    side.shards.of(shard).given_before.learn(consumer.created);
    side.shards.of(shard).learn_ack_wait(consumer.config.ack_wait);
    let ack_wait = side.shards.shortest_ack_wait().unwrap_or(consumer.config.ack_wait);
    let changed = side.ack_wait.send_if_modified(|known| std::mem::replace(known, ack_wait) != ack_wait);
    if changed {
        tracing::info!(queue = %side.queue, ?ack_wait, "the ack_wait of the queue's consumers");
    }
}
