//! What is read of a partition before anybody works at it: how far it was dealt with, which runs sleep, what was
//! set aside. Nothing that was acknowledged is missing in it, whichever replica answers.

use std::collections::HashSet;
use std::sync::Arc;

use stepwell_connection::{Connection, leader};
use stepwell_shared::shard::Shards;
use stepwell_shared::subject::{Stream, partition_events};

use crate::checkpoints::{self, Checkpoint};
use crate::error::OrchestratorError;
use crate::parked::Parked;
use crate::recovery::TasksSeen;
use crate::rejections;
use crate::taken_together::{Sleepers, TakenTogether};
use crate::timers::Timers;

/// How far a partition was dealt with.
pub(crate) struct Left {
    pub(crate) checkpoint: Checkpoint,
    /// The partition's last event, as it was stored when its predecessor had ended.
    pub(crate) catch_up: u64,
}

/// What was read.
pub(crate) struct Taken {
    pub(crate) left: Left,
    pub(crate) tasks: Arc<TasksSeen>,
    pub(crate) timers: Timers,
    pub(crate) parked: Parked,
    pub(crate) set_aside: HashSet<rejections::Part>,
}

impl Taken {
    /// Reads what is stored of a partition.
    pub(crate) async fn read(
        connection: &Connection,
        (partition, shards): (u32, Shards),
        together: &TakenTogether,
    ) -> Result<Self, OrchestratorError> {
        let failed = |doing| move |source| OrchestratorError::Start { doing, source };
        let namespace = connection.namespace();
        let tasks = together.tasks(connection, shards).await.map_err(failed("reading TASKS"))?;
        let checkpoint = checkpoints::read(connection, partition).await;
        let checkpoint = checkpoint.map_err(failed("reading the checkpoint"))?;
        let events = Stream::Events.name(namespace);
        for (stream, seen) in [
            (Stream::Events, checkpoint.sequence),
            (Stream::History(shards.of_partition(partition)), checkpoint.history),
        ] {
            let state = leader::state(connection, &stream.name(namespace))
                .await
                .map_err(failed("asking how far a stream goes"))?;
            if state.last_sequence < seen {
                let last_sequence = state.last_sequence;
                return Err(OrchestratorError::StreamRegressed { stream, last_sequence, seen });
            }
        }
        let catch_up =
            leader::last_sequence(connection, &events, &partition_events(namespace, partition)).await;
        let catch_up = catch_up.map_err(failed("reading EVENTS"))?;
        let sleepers = together.sleepers(connection, partition).await;
        let Sleepers { timers, parked } = sleepers.map_err(failed("reading the timers"))?;
        let set_aside = rejections::set_aside_before(connection, checkpoint.sequence + 1, catch_up)
            .await
            .map_err(failed("reading what was set aside"))?;
        Ok(Self { left: Left { checkpoint, catch_up }, tasks, timers, parked, set_aside })
    }
}
