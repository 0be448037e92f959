//! The floor in the place of the orchestrator.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::HeaderMap;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use futures_util::StreamExt as _;
use stepwell_connection::provision::{ProvisionOptions, ensure_queue, provision};
use stepwell_connection::{Connection, chunked};
use stepwell_shared::headers::{EXPECTED_LAST_SUBJECT_SEQUENCE, MESSAGE_ID};
use stepwell_shared::ids::WorkerId;
use stepwell_shared::subject::{self, Stream};
use tokio::sync::Notify;

use super::bodies::Bodies;
use super::lane::{self, Lane, MAX_LANES};
use super::workflow_worker::WORKER;
use crate::roles::say_ready;

/// A request here, with the number of lanes as its body, begins the steps.
pub(crate) const CONTROL_GO: &str = "bench.floor.go";

/// A request here ends the steps; it is answered when none is under way any more.
pub(crate) const CONTROL_STOP: &str = "bench.floor.stop";

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

struct Floor {
    connection: Connection,
    partitions: u32,
    worker: WorkerId,
    bodies: Bodies,
    lanes: Vec<Lane>,
    stopping: AtomicBool,
    active: AtomicUsize,
    idle: Notify,
}

/// Runs until the connection is closed.
pub(crate) async fn orchestrate(connection: Connection) -> Result<()> {
    let settings = provision(&connection, &ProvisionOptions::default()).await?;
    ensure_queue(&connection, &super::queue()).await?;
    let mut lanes = Vec::new();
    lanes.resize_with(MAX_LANES, Lane::default);
    let floor = Arc::new(Floor {
        partitions: settings.partitions,
        worker: WorkerId::new(WORKER)?,
        bodies: Bodies::new()?,
        lanes,
        stopping: AtomicBool::new(false),
        active: AtomicUsize::new(0),
        idle: Notify::new(),
        connection,
    });
    tokio::spawn(obey(Arc::clone(&floor)));
    let connection = &floor.connection;
    let events = Stream::Events.name(connection.namespace());
    let events = connection.jetstream().get_stream(events).await?;
    let consumer = events.create_consumer(OrderedConfig::default()).await?;
    let mut events = consumer.messages().await?;
    say_ready();
    while let Some(event) = events.next().await {
        let lane = lane::lane_of_event(&event?.subject).context("an event of no lane")?;
        let floor = Arc::clone(&floor);
        tokio::spawn(async move {
            if let Err(error) = floor.take_step(lane).await {
                tracing::error!(lane, "the floor's lane ended: {error:#}");
            }
        });
    }
    Ok(())
}

impl Floor {
    async fn take_step(&self, number: usize) -> Result<()> {
        let (connection, namespace) = (&self.connection, self.connection.namespace());
        let subject = subject::sticky_workflow_task(namespace, &super::queue(), &self.worker);
        chunked::request(connection, subject, self.bodies.workflow_task.clone(), TIMEOUT).await?;
        let lane = &self.lanes[number];
        let expected = lane.last_sequence.load(Ordering::Relaxed);
        let mut headers = HeaderMap::new();
        headers.insert(EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
        let subject = subject::history(namespace, &lane::workflow_id(number), self.partitions);
        let record = self.bodies.record.clone();
        let ack = connection.publisher().publish(subject, Some(headers), record).await?.await?;
        lane.last_sequence.store(ack.sequence, Ordering::Relaxed);
        if self.stopping.load(Ordering::Relaxed) {
            if self.active.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.idle.notify_one();
            }
            return Ok(());
        }
        self.dispatch(number).await
    }

    async fn dispatch(&self, number: usize) -> Result<()> {
        let subject = subject::task(self.connection.namespace(), &super::queue());
        let mut headers = HeaderMap::new();
        headers.insert(MESSAGE_ID, lane::attempt_id(number, self.lanes[number].next_step()));
        let task = self.bodies.task.clone();
        self.connection.publisher().publish(subject, Some(headers), task).await?.await?;
        Ok(())
    }
}

async fn obey(floor: Arc<Floor>) -> Result<()> {
    let client = floor.connection.client();
    let mut orders = client.subscribe("bench.floor.*").await?;
    while let Some(order) = orders.next().await {
        if order.subject.as_str() == CONTROL_GO {
            let lanes: usize = std::str::from_utf8(&order.payload)?.parse()?;
            floor.stopping.store(false, Ordering::Relaxed);
            floor.active.store(lanes, Ordering::Release);
            for lane in 0..lanes {
                floor.dispatch(lane).await?;
            }
        } else {
            floor.stopping.store(true, Ordering::Relaxed);
            while floor.active.load(Ordering::Acquire) > 0 {
                floor.idle.notified().await;
            }
        }
        if let Some(reply) = order.reply {
            client.publish(reply, "".into()).await?;
        }
    }
    Ok(())
}
