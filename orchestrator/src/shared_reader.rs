//! One consumer of EVENTS for all partitions of a process that have caught up: a consumer for each would cost
//! the server more for every event. Who does not keep up is put out and reads by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use stepwell_connection::Connection;
use stepwell_shared::subject::{all_partitions_events, partition_events};
use tokio::sync::mpsc;

use crate::events_consumer::{Delivered, Read, connects, open};

/// Room between the shared consumer and a partition, in events.
const LANE_ROOM: usize = 32;

/// How long one partition may hold up the others when its room is used up.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long further partitions are waited for before the consumer is made for all of them.
const GATHER: Duration = Duration::from_millis(20);

/// Pause between two looks whether the connection is the same and everybody is still there.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Room for partitions that want to join.
const JOIN_ROOM: usize = 256;

/// How partitions join.
#[derive(Clone)]
pub(crate) struct SharedReader {
    joins: mpsc::Sender<Join>,
    backlog: Arc<AtomicU64>,
}

struct Join {
    partition: u32,
    next: u64,
    lane: mpsc::Sender<Read>,
}

/// A partition that reads here.
struct Lane {
    next: u64,
    events: mpsc::Sender<Read>,
}

impl SharedReader {
    /// The handle, and what is to be run for it.
    pub(crate) fn new(connection: Connection, partitions: u32) -> (Self, impl Future<Output = ()>) {
        let (joins, joined) = mpsc::channel(JOIN_ROOM);
        let backlog = Arc::new(AtomicU64::new(0));
        let lanes = BTreeMap::new();
        let reader = Reader { connection, partitions, lanes, joined, backlog: Arc::clone(&backlog) };
        (Self { joins, backlog }, reader.run())
    }

    /// Reads a partition's events from `next` on. They end when the partition did not keep up, or the consumer
    /// is lost.
    pub(crate) async fn join(&self, partition: u32, next: u64) -> mpsc::Receiver<Read> {
        let (lane, events) = mpsc::channel(LANE_ROOM);
        // Without a reader the events end at once.
        let _ = self.joins.send(Join { partition, next, lane }).await;
        events
    }

    /// Events that are stored and were not read yet.
    pub(crate) fn backlog(&self) -> u64 {
        self.backlog.load(Ordering::Relaxed)
    }
}

struct Reader {
    connection: Connection,
    partitions: u32,
    lanes: BTreeMap<u32, Lane>,
    joined: mpsc::Receiver<Join>,
    backlog: Arc<AtomicU64>,
}

impl Reader {
    async fn run(mut self) {
        while self.gather().await {
            match self.open().await {
                Ok(events) => self.read(events).await,
                Err(error) => {
                    tracing::warn!(%error, "EVENTS cannot be opened for all partitions; each reads by itself");
                    self.lanes.clear();
                }
            }
            self.backlog.store(0, Ordering::Relaxed);
        }
    }

    /// Waits until somebody wants to read. False when nobody ever will.
    async fn gather(&mut self) -> bool {
        if self.lanes.is_empty() {
            match self.joined.recv().await {
                Some(join) => self.admit(join),
                None => return false,
            }
        }
        while let Ok(Some(join)) = tokio::time::timeout(GATHER, self.joined.recv()).await {
            self.admit(join);
        }
        true
    }

    fn admit(&mut self, Join { partition, next, lane }: Join) {
        self.lanes.insert(partition, Lane { next, events: lane });
    }

    async fn open(&self) -> Result<BoxStream<'static, Read>, stepwell_connection::JetStreamError> {
        let namespace = self.connection.namespace();
        let filters = if self.lanes.len() == self.partitions as usize {
            vec![all_partitions_events(namespace)]
        } else {
            self.lanes.keys().map(|partition| partition_events(namespace, *partition)).collect()
        };
        let next = self.lanes.values().map(|lane| lane.next).min().unwrap_or(0);
        open(&self.connection, filters, next).await
    }

    /// Hands out what comes, until the consumer is to be made anew.
    async fn read(&mut self, mut events: BoxStream<'static, Read>) {
        let connected = connects(&self.connection);
        loop {
            let before = self.lanes.len();
            tokio::select! {
                biased;
                Some(join) = self.joined.recv() => return self.admit(join),
                event = events.next() => match event {
                    Some(Ok(delivered)) => self.hand_out(delivered).await,
                    Some(Err(error)) => {
                        tracing::warn!(error, "reading EVENTS failed");
                        return self.lanes.clear();
                    }
                    None => return self.lanes.clear(),
                },
                // Made only when it is waited for.
                () = async { tokio::time::sleep(LOOK_EVERY).await } => {}
            }
            if connects(&self.connection) != connected {
                return self.lanes.clear();
            }
            self.lanes.retain(|_, lane| !lane.events.is_closed());
            if self.lanes.len() != before {
                return;
            }
        }
    }

    async fn hand_out(&mut self, delivered: Delivered) {
        self.backlog.store(delivered.pending, Ordering::Relaxed);
        let token = delivered.message.subject.split('.').nth(3);
        let Some(partition) = token.and_then(|token| token.parse::<u32>().ok()) else { return };
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        if delivered.sequence < lane.next {
            return;
        }
        let next = delivered.sequence + 1;
        let event = Ok(Delivered { pending: 0, ..delivered });
        let taken = match lane.events.try_send(event) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(event)) => {
                lane.events.send_timeout(event, PATIENCE).await.is_ok()
            }
        };
        if taken {
            lane.next = next;
        } else {
            self.lanes.remove(&partition);
        }
    }
}
