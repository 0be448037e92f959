//! Looks for tasks that no worker will ever be given: they lie on a TASKS stream, and the queue's consumer takes them for done.
//! That happens when somebody has edited the consumer, when a full disk has kept less of TASKS than its consumer was
//! given, and when a server that was killed brings back a task. A new consumer gives out everything that is stored.
//!
//! Never touches a task. Which tasks are meant, only the server could say; workers recognise those that they hold, and
//! those that are over.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::consumer::Info;
use stepwell_connection::provision::{ProvisionError, remake_queue};
use stepwell_connection::tasks::{known_to, stored_tasks};
use stepwell_connection::{Connection, JetStreamError, leader};
use stepwell_shared::ids::Name;
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::{self, Stream};
use tokio::time::Instant;

use crate::ground::Ground;

/// How often queues with tasks are looked at. Of the two looks that are needed neither may see what was on its way at the
/// other one.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How long a queue's consumer is left alone when it was made anew: the queue's workers ask one another about all tasks
/// that they have then, and that must not be all that they do, whatever the server says.
const LEAVE_ALONE: Duration = Duration::from_secs(60);

/// Most queues that are looked at each time; others have their turn when these have no tasks.
const MAX_QUEUES: usize = 1_000;

/// The partition whose owner looks, so that not all orchestrators do.
const PARTITION: u32 = 0;

/// What one look found of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    /// When its consumer was made, in ns.
    created: i128,
    /// The oldest task that is stored, if the consumer takes everything up to it for done.
    oldest: Option<u64>,
    /// More tasks are stored than wait or are with workers, and nothing was stored or removed meanwhile.
    more_than_known: bool,
}

impl Look {
    /// Whether tasks were passed over, when `self` comes [`LOOK_EVERY`] after `before`. Once proves nothing: a task that is
    /// done is removed a moment after the consumer has noted it.
    fn proves(&self, before: &Self) -> bool {
        let same_oldest = self.oldest.is_some() && self.oldest == before.oldest;
        self.created == before.created && (same_oldest || (self.more_than_known && before.more_than_known))
    }
}

/// Looks until it is aborted.
pub(crate) async fn watch(ground: Ground) {
    let mut looks: HashMap<(Shard, Name), Look> = HashMap::new();
    let mut left_alone: HashMap<(Shard, Name), Instant> = HashMap::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let before = std::mem::take(&mut looks);
        if ground.owned.get(PARTITION).is_none() {
            continue;
        }
        let suspects = match suspects(&ground).await {
            Ok(suspects) => suspects,
            Err(error) => {
                if ground.connection.connected() {
                    tracing::warn!(%error, "the queues' consumers could not be looked at; trying again later");
                }
                continue;
            }
        };
        left_alone.retain(|_, until| *until > Instant::now());
        for Suspect { place, look, info } in suspects {
            let proved = before.get(&place).is_some_and(|before| look.proves(before));
            if !proved || left_alone.contains_key(&place) {
                looks.insert(place, look);
                continue;
            }
            left_alone.insert(place.clone(), Instant::now() + LEAVE_ALONE);
            let (shard, queue) = place;
            match remake_queue(&ground.connection, &queue, shard, &info.config).await {
                Ok(()) => {
                    tracing::warn!(
                        %queue, shard = shard.index(), oldest = look.oldest, waiting = info.num_pending, with_workers = info.num_ack_pending,
                        "the queue's consumer had passed over tasks; it was made anew, all tasks are given out again"
                    );
                    ground.metrics.recovered.with_label_values(&["consumer"]).inc();
                }
                Err(error) => complain(&queue, &error),
            }
        }
    }
}

fn complain(queue: &Name, error: &ProvisionError) {
    tracing::error!(
        %queue, %error,
        "the queue's consumer has passed over tasks, which wait until it is deleted and made anew; that failed"
    );
}

/// A queue where something does not add up in a shard.
struct Suspect {
    place: (Shard, Name),
    look: Look,
    info: Info,
}

async fn suspects(ground: &Ground) -> Result<Vec<Suspect>, JetStreamError> {
    let mut suspects = Vec::new();
    for shard in ground.settings.shards.all() {
        suspects.extend(suspects_of(&ground.connection, shard).await?);
    }
    Ok(suspects)
}

async fn suspects_of(connection: &Connection, shard: Shard) -> Result<Vec<Suspect>, JetStreamError> {
    let stored = stored_tasks(connection, shard, &subject::all_tasks(connection.namespace(), shard)).await?;
    let mut suspects = Vec::new();
    for (queue, count) in stored.by_queue.into_iter().take(MAX_QUEUES) {
        let Ok(queue) = Name::new(&queue) else { continue };
        let place = (shard, queue);
        // Without a consumer nothing is passed over: who makes it, gives out everything.
        let Some(info) = consumer(connection, &place).await? else { continue };
        let oldest = match stored.first_sequence <= info.ack_floor.stream_sequence {
            true => oldest_that_is_done(connection, &place, &info).await?,
            false => None,
        };
        // A cheap look first: tasks have come and gone meanwhile.
        let more_than_known = count > known_to(&info) && more_than_known(connection, &place).await?;
        if oldest.is_some() || more_than_known {
            let look = Look { created: info.created.unix_timestamp_nanos(), oldest, more_than_known };
            suspects.push(Suspect { place, look, info });
        }
    }
    Ok(suspects)
}

async fn oldest_that_is_done(
    connection: &Connection,
    place: &(Shard, Name),
    info: &Info,
) -> Result<Option<u64>, JetStreamError> {
    let (stream, subject) = names(connection, place);
    let oldest = leader::next_message(connection, &stream, &subject, 1).await?;
    Ok(oldest.map(|task| task.sequence).filter(|oldest| *oldest <= info.ack_floor.stream_sequence))
}

/// Whether more tasks are stored than the consumer knows of, at a moment at which nothing happens to the queue; at
/// another one it cannot be told.
async fn more_than_known(connection: &Connection, place: &(Shard, Name)) -> Result<bool, JetStreamError> {
    let (stream, subject) = names(connection, place);
    let state = async || {
        let last = leader::last_sequence(connection, &stream, &subject).await?;
        Ok((last, stored_tasks(connection, place.0, &subject).await?.of(place.1.as_str())))
    };
    let before = state().await?;
    let Some(info) = consumer(connection, place).await? else { return Ok(false) };
    Ok(state().await? == before && before.1 > known_to(&info))
}

fn names(connection: &Connection, (shard, queue): &(Shard, Name)) -> (String, String) {
    let namespace = connection.namespace();
    (Stream::Tasks(*shard).name(namespace), subject::task(namespace, queue, *shard))
}

async fn consumer(
    connection: &Connection,
    (shard, queue): &(Shard, Name),
) -> Result<Option<Info>, JetStreamError> {
    let stream = Stream::Tasks(*shard).name(connection.namespace());
    match connection.api(format!("CONSUMER.INFO.{stream}.{queue}"), &serde_json::json!({})).await {
        Ok(info) => Ok(Some(info)),
        Err(JetStreamError::Refused { code: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::Look;

    const QUIET: Look = Look { created: 1, oldest: None, more_than_known: false };

    #[test]
    fn a_task_that_stays_though_everything_up_to_it_is_done_was_passed_over() {
        let stays = Look { oldest: Some(7), ..QUIET };
        assert!(stays.proves(&stays));
        assert!(!stays.proves(&QUIET));
        assert!(!stays.proves(&Look { oldest: Some(6), ..QUIET }), "that one is gone, as it should");
    }

    #[test]
    fn more_tasks_than_known_twice_were_passed_over() {
        let more = Look { more_than_known: true, ..QUIET };
        assert!(more.proves(&more));
        assert!(!more.proves(&QUIET));
        assert!(!QUIET.proves(&more));
        assert!(more.proves(&Look { oldest: Some(7), ..more }));
    }

    #[test]
    fn another_consumer_is_looked_at_from_the_beginning() {
        let both = Look { oldest: Some(7), more_than_known: true, ..QUIET };
        assert!(!both.proves(&Look { created: 2, ..both }));
    }
}
