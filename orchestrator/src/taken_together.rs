//! What is read once for all partitions that are taken at the same time: what is on TASKS, and which runs sleep. Each by
//! itself would have the server go through all of it again.
//!
//! Made when it is known that whoever had the partitions has ended; what is read after that is everything. A partition
//! that somebody else has had in between is not taken: its lease has another revision.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use stepwell_connection::{Connection, JetStreamError};
use stepwell_shared::encoding::decode;
use stepwell_shared::shard::Shards;
use stepwell_shared::subject::{Bucket, parse_timer_key, partition_timers};
use tokio::sync::OnceCell;

use crate::parked::Parked;
use crate::recovery::TasksSeen;
use crate::state_bucket::{self, Pace};
use crate::timers::{TimerEntry, Timers};

/// When at least one in so many partitions is taken, the whole bucket is read and not each partition's keys by
/// themselves: to find those, the server looks at all of them.
const WHOLE: usize = 4;

/// Partitions that are taken at the same time.
pub(crate) struct TakenTogether {
    partitions: BTreeSet<u32>,
    /// How many the namespace has.
    of: u32,
    tasks: OnceCell<Arc<TasksSeen>>,
    /// Of each partition until it is asked for.
    sleepers: OnceCell<Mutex<BTreeMap<u32, Sleepers>>>,
}

/// The runs of a partition that sleep.
#[derive(Default)]
pub(crate) struct Sleepers {
    pub(crate) timers: Timers,
    pub(crate) parked: Parked,
}

impl TakenTogether {
    /// Those `partitions`, of so many. Nothing is read yet.
    pub(crate) fn new(partitions: BTreeSet<u32>, of: u32) -> Self {
        Self { partitions, of, tasks: OnceCell::new(), sleepers: OnceCell::new() }
    }

    /// What is on TASKS.
    pub(crate) async fn tasks(
        &self,
        connection: &Connection,
        shards: Shards,
    ) -> Result<Arc<TasksSeen>, JetStreamError> {
        let read = async || TasksSeen::read(connection, shards).await.map(Arc::new);
        self.tasks.get_or_try_init(read).await.cloned()
    }

    /// Which runs of a partition sleep.
    pub(crate) async fn sleepers(
        &self,
        connection: &Connection,
        partition: u32,
    ) -> Result<Sleepers, JetStreamError> {
        if self.partitions.len() * WHOLE >= self.of as usize {
            let read = async || read(connection, ">", &self.partitions).await.map(Mutex::new);
            let all = self.sleepers.get_or_try_init(read).await?;
            let taken = all.lock().unwrap_or_else(PoisonError::into_inner).remove(&partition);
            if let Some(sleepers) = taken {
                return Ok(sleepers);
            }
        }
        // Also when it is asked for again, because something else could not be read.
        let mut read = read(connection, &partition_timers(partition), &BTreeSet::from([partition])).await?;
        Ok(read.remove(&partition).unwrap_or_default())
    }
}

/// Reads the entries of these partitions, from among `keys`.
async fn read(
    connection: &Connection,
    keys: &str,
    partitions: &BTreeSet<u32>,
) -> Result<BTreeMap<u32, Sleepers>, JetStreamError> {
    let mut sleepers: BTreeMap<u32, Sleepers> =
        partitions.iter().map(|&partition| (partition, Sleepers::default())).collect();
    let none = BTreeSet::new();
    state_bucket::for_each(connection, Bucket::Timers, keys, Pace::Urgent, |key, value| {
        let Some((partition, id)) = parse_timer_key(key) else { return };
        let Some(Sleepers { timers, parked }) = sleepers.get_mut(&partition) else { return };
        match decode::<TimerEntry>(value) {
            Ok(entry) => {
                parked.set(&id, &none, &entry.waits_on);
                timers.restore(&id, entry);
            }
            Err(error) => tracing::error!(key, %error, "a timer cannot be read"),
        }
    })
    .await?;
    Ok(sleepers)
}
