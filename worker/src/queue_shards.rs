//! What a worker has for its queue in each shard, and the beginning of it: a worker may be there before its namespace is,
//! which says how many shards there are.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{join, join_all};
use stepwell_shared::shard::{MAX_SHARDS, Shard, Shards};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::activity_runner::ActivitySide;
use crate::activity_tasks::ActivityTasks;
use crate::given_before::GivenBefore;
use crate::{consumer_watch, roll_call};

/// First and longest wait between two tries to find the namespace, or the queue's consumer.
pub(crate) const FIRST_RETRY: Duration = Duration::from_millis(250);
pub(crate) const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// What is known of the queue in each shard; there is one for each that there may be.
#[derive(Debug)]
pub(crate) struct QueueShards(Vec<QueueShard>);

/// What is known of the queue in one shard.
#[derive(Debug)]
pub(crate) struct QueueShard {
    pub(crate) given_before: GivenBefore,
    /// How long the server waits there for a word about a task.
    ack_wait: Mutex<Option<Duration>>,
}

impl Default for QueueShards {
    fn default() -> Self {
        let most = Shards::try_from(MAX_SHARDS).expect("it is the most that there may be");
        let of = |shard| QueueShard { given_before: GivenBefore::new(shard), ack_wait: Mutex::default() };
        Self(most.all().map(of).collect())
    }
}

impl QueueShards {
    pub(crate) fn of(&self, shard: Shard) -> &QueueShard {
        &self.0[shard.index()]
    }

    /// How long the server waits for a word about a task, whichever shard it lies in.
    pub(crate) fn shortest_ack_wait(&self) -> Option<Duration> {
        self.0.iter().filter_map(|shard| *shard.lock()).min()
    }
}

impl QueueShard {
    pub(crate) fn learn_ack_wait(&self, ack_wait: Duration) {
        *self.lock() = Some(ack_wait);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Duration>> {
        // Nothing panics while it is held.
        self.ack_wait.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ready when the queue's consumer was found in every shard.
#[derive(Debug)]
pub(crate) struct Readiness {
    missing: AtomicUsize,
    ready: Arc<AtomicBool>,
}

impl Readiness {
    /// The consumer of one more shard was found.
    pub(crate) fn one_more(&self) {
        if self.missing.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.ready.store(true, Ordering::Relaxed);
        }
    }
}

/// Finds out how many shards there are, says so to `known`, and then does what goes on for as long as attempts run, until
/// it is dropped: answers roll calls, and looks at the consumers.
pub(crate) async fn attend(side: Arc<ActivitySide>, known: oneshot::Sender<Shards>) {
    let shards = find(&side).await;
    let mut all = Vec::new();
    for shard in shards.all() {
        // Before the first task is asked for: whoever holds one can be asked.
        match roll_call::subscribe(&side, shard).await {
            Ok(calls) => all.push(join(
                roll_call::answer(Arc::clone(&side), shard, calls),
                consumer_watch::watch(Arc::clone(&side), shard),
            )),
            Err(error) => return tracing::error!(%error, "the connection has ended; no tasks are taken"),
        }
    }
    // The worker may have ended meanwhile.
    let _ = known.send(shards);
    join_all(all).await;
}

/// Takes tasks from every shard until `stop`.
pub(crate) async fn take_tasks(
    side: Arc<ActivitySide>,
    known: oneshot::Receiver<Shards>,
    tracker: TaskTracker,
    stop: CancellationToken,
    ready: Arc<AtomicBool>,
) {
    let shards = tokio::select! {
        () = stop.cancelled() => return,
        Ok(shards) = known => shards,
        else => return,
    };
    let ready = Arc::new(Readiness { missing: AtomicUsize::new(shards.all().len()), ready });
    let each = shards.all().map(|shard| {
        let (side, tracker, stop) = (Arc::clone(&side), tracker.clone(), stop.clone());
        let ready = Arc::clone(&ready);
        async move {
            match ActivityTasks::new(side, (shard, shards), tracker).await {
                Ok(tasks) => tasks.run(stop, ready).await,
                Err(error) => tracing::error!(%error, "the connection has ended; no tasks are taken"),
            }
        }
    });
    join_all(each).await;
}

async fn find(side: &ActivitySide) -> Shards {
    let mut wait = FIRST_RETRY;
    loop {
        match side.connection.shards().await {
            Ok(shards) => return shards,
            Err(error) if error.not_found() => {
                let namespace = side.connection.namespace();
                tracing::warn!(%namespace, retry_in = ?wait, "waiting for the namespace, which an orchestrator creates");
            }
            Err(error) => tracing::warn!(%error, retry_in = ?wait, "the namespace cannot be looked at"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_RETRY);
    }
}
