//! Whether a task was given out before, though the server says that this is the first time.
//!
//! A server writes down a moment later what it has given out and what was acknowledged. When it is killed in
//! that moment, tasks come again as if for the first time, perhaps to another worker, and perhaps although
//! their result is recorded. So they do when the queue's consumer is deleted and made anew. That can only be tasks which
//! were on the stream when the connection to the server, or the consumer, was made; for those, and only for those, the
//! other workers are asked whether they hold them, and an orchestrator what was reported of them. What was reported is
//! asked as well of tasks whose sender says that it may have sent them before.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_nats::datetime::DateTime;
use stepwell_connection::Connection;
use stepwell_shared::api::Reported;
use stepwell_shared::ids::WorkerId;
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::Stream;
use stepwell_shared::task::ActivityTask;
use tokio::sync::{Mutex, OnceCell};

use crate::activity_runner::ActivitySide;
use crate::pull_words::GivenOut;
use crate::{orchestrators, roll_call};

/// After a connection was lost, the other workers may need so long to come back before they can be asked.
/// The client tries at least every [`stepwell_connection::LONGEST_RECONNECT_WAIT`].
const COMING_BACK: Duration = stepwell_connection::LONGEST_RECONNECT_WAIT.saturating_mul(2);

/// Longest wait for one look; it is tried again after that.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);

/// What is known of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Before {
    /// Nothing: nobody is known to have begun it.
    Nothing,
    /// Another worker is at it.
    Held,
    /// This worker has begun it, as it reported.
    Begun(Option<WorkerId>),
    /// It has ended.
    Ended,
}

/// Knows which tasks of a shard were on the stream when the connection, or the consumer, was made, and who held them.
#[derive(Debug)]
pub(crate) struct GivenBefore {
    shard: Shard,
    seen: Mutex<Option<Seen>>,
    /// How many consumers there were, as far as it was noticed. What was seen before the last one says nothing.
    consumers: AtomicU64,
    /// When the last one was made.
    made_at: std::sync::Mutex<Option<DateTime>>,
}

#[derive(Debug, Clone)]
struct Seen {
    connects: u64,
    consumers: u64,
    last_sequence: u64,
    /// What others hold; asked for when the first old task comes, while new ones go on.
    held: Arc<OnceCell<HashSet<u64>>>,
}

impl GivenBefore {
    pub(crate) fn new(shard: Shard) -> Self {
        Self {
            shard,
            seen: Mutex::default(),
            consumers: AtomicU64::new(0),
            made_at: std::sync::Mutex::default(),
        }
    }

    /// What is known of a task that seems to be given out for the first time.
    pub(crate) async fn look(
        &self,
        side: &ActivitySide,
        task: &ActivityTask,
        given_out: GivenOut,
    ) -> Result<Before, String> {
        let GivenOut { sequence, repeated, .. } = given_out;
        let seen = self.seen(side).await?;
        if sequence > seen.last_sequence {
            // Within its window JetStream recognises a copy of what is on the stream: the first one is gone from there.
            // What takes longer is in boxes, so that not every attempt has room for it.
            return if repeated {
                Box::pin(reported(&side.connection, task)).await
            } else {
                Ok(Before::Nothing)
            };
        }
        Box::pin(look_at_old(side, task, (self.shard, sequence), seen)).await
    }

    /// Notes which tasks are on the stream now: a new connection, and a consumer that was made anew, may bring each of
    /// them again. If it cannot be found out, the first task does it.
    pub(crate) async fn note(&self, side: &ActivitySide) {
        let mut seen = self.seen.lock().await;
        *seen = None;
        match self.now(side).await {
            Ok(now) => *seen = Some(now),
            Err(error) => tracing::debug!(error, "it is not known yet which tasks are old"),
        }
    }

    /// The consumer is another one than before: the next task has it noted anew which ones are old.
    pub(crate) fn another_consumer(&self) {
        self.consumers.fetch_add(1, Ordering::Release);
    }

    /// Takes over when the consumer was made, by which another one is known.
    pub(crate) fn learn(&self, made_at: DateTime) {
        let mut known = self.made_at.lock().unwrap_or_else(PoisonError::into_inner);
        if known.replace(made_at).is_some_and(|before| before != made_at) {
            self.another_consumer();
        }
    }

    /// What is known of the tasks that were on the stream when it was noted last, on this connection and of this
    /// consumer.
    async fn seen(&self, side: &ActivitySide) -> Result<Seen, String> {
        let mut seen = self.seen.lock().await;
        let (connects, consumers) = (connects(&side.connection), self.consumers.load(Ordering::Acquire));
        if let Some(seen) =
            seen.as_ref().filter(|seen| seen.connects == connects && seen.consumers == consumers)
        {
            return Ok(seen.clone());
        }
        Ok(seen.insert(Box::pin(self.now(side)).await?).clone())
    }

    async fn now(&self, side: &ActivitySide) -> Result<Seen, String> {
        let (connects, consumers) = (connects(&side.connection), self.consumers.load(Ordering::Acquire));
        let name = Stream::Tasks(self.shard).name(side.connection.namespace());
        let stream = limited(async {
            side.connection.jetstream().get_stream(name).await.map_err(|error| error.to_string())
        });
        let last_sequence = stream.await?.cached_info().state.last_sequence;
        Ok(Seen { connects, consumers, last_sequence, held: Arc::default() })
    }
}

/// What is known of a task that was there when the connection, or the consumer, was made.
async fn look_at_old(
    side: &ActivitySide,
    task: &ActivityTask,
    (shard, sequence): (Shard, u64),
    seen: Seen,
) -> Result<Before, String> {
    let held = seen.held.get_or_try_init(|| ask_others(side, shard, seen.connects)).await?;
    let reported = reported(&side.connection, task).await?;
    still_connected(side, seen.connects)?;
    match reported {
        // It may have ended since the others were asked.
        Before::Ended => Ok(Before::Ended),
        Before::Nothing | Before::Held | Before::Begun(_) if held.contains(&sequence) => Ok(Before::Held),
        before @ (Before::Nothing | Before::Held | Before::Begun(_)) => Ok(before),
    }
}

async fn ask_others(side: &ActivitySide, shard: Shard, connected: u64) -> Result<HashSet<u64>, String> {
    still_connected(side, connected)?;
    if connected > 1 {
        tokio::time::sleep(COMING_BACK).await;
        still_connected(side, connected)?;
    }
    let held = roll_call::call(side, shard).await?;
    still_connected(side, connected)?;
    Ok(held)
}

/// What was found out on another connection says nothing.
fn still_connected(side: &ActivitySide, connected: u64) -> Result<(), String> {
    if side.connection.connected() && connects(&side.connection) == connected {
        return Ok(());
    }
    Err("the connection was lost meanwhile".to_owned())
}

/// What was reported of an attempt, as an orchestrator knows it.
pub(crate) async fn reported(connection: &Connection, task: &ActivityTask) -> Result<Before, String> {
    let ask = async { orchestrators::attempt(connection, task).await.map_err(|error| error.to_string()) };
    Ok(match limited(ask).await?.reported {
        Reported::Nothing {} => Before::Nothing,
        Reported::Begun { worker } => Before::Begun(worker),
        Reported::Ended {} => Before::Ended,
    })
}

async fn limited<T>(look: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    match tokio::time::timeout(LOOK_TIMEOUT, look).await {
        Ok(found) => found,
        Err(_) => Err(format!("there was no answer within {LOOK_TIMEOUT:?}")),
    }
}

fn connects(connection: &Connection) -> u64 {
    connection.client().statistics().connects.load(Ordering::Relaxed)
}
