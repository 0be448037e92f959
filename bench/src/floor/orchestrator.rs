//! The floor in the place of the orchestrator.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::HeaderMap;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use bytes::Bytes;
use futures_util::StreamExt as _;
use stepwell_connection::provision::{ProvisionOptions, ensure_queue, provision};
use stepwell_connection::{Connection, chunked};
use stepwell_shared::headers::{EXPECTED_LAST_SUBJECT_SEQUENCE, MESSAGE_ID, PACK};
use stepwell_shared::ids::WorkerId;
use stepwell_shared::pack::PackIndex;
use stepwell_shared::packed_report::split;
use stepwell_shared::shard::Shards;
use stepwell_shared::subject::{self, Bucket, Stream};

use super::address::{FloorEvent, Flow, Sending, parse_event};
use super::bodies::Bodies;
use super::workflow_worker::WORKER;
use crate::roles::say_ready;

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

struct Floor {
    connection: Connection,
    partitions: u32,
    shards: Shards,
    worker: WorkerId,
    bodies: Bodies,
    flows: Mutex<HashMap<Flow, Progress>>,
}

/// What is known of a workflow in flight.
#[derive(Clone, Copy)]
struct Progress {
    steps: u32,
    sending: Sending,
    /// Sequence of its last record.
    last_sequence: u64,
}

/// Runs until the connection is closed.
pub(crate) async fn orchestrate(connection: Connection, replicas: usize) -> Result<()> {
    let options = ProvisionOptions { replicas, ..ProvisionOptions::default() };
    let settings = provision(&connection, &options).await?;
    for shard in settings.shards.all() {
        ensure_queue(&connection, &super::queue(), shard).await?;
    }
    let floor = Arc::new(Floor {
        partitions: settings.partitions,
        shards: settings.shards,
        worker: WorkerId::new(WORKER)?,
        bodies: Bodies::new()?,
        flows: Mutex::default(),
        connection,
    });
    let connection = &floor.connection;
    let events = Stream::Events.name(connection.namespace());
    let events = connection.jetstream().get_stream(events).await?;
    let consumer = events.create_consumer(OrderedConfig::default()).await?;
    let mut events = consumer.messages().await?;
    say_ready();
    while let Some(event) = events.next().await {
        for (flow, event) in parse_events(&event?).context("an event of no workflow")? {
            let floor = Arc::clone(&floor);
            tokio::spawn(async move {
                let done = match event {
                    FloorEvent::Start { steps, sending } => floor.start(flow, steps, sending).await,
                    FloorEvent::Report { step } => floor.take_report(flow, step).await,
                };
                if let Err(error) = done {
                    tracing::error!(?flow, "the floor's workflow ended: {error:#}");
                }
            });
        }
    }
    Ok(())
}

/// The events in a message: one, or the reports of a pack.
fn parse_events(message: &Message) -> Option<Vec<(Flow, FloorEvent)>> {
    let Some(header) = message.headers.as_ref().and_then(|headers| headers.get(PACK)) else {
        return Some(vec![parse_event(&message.subject)?]);
    };
    let index = PackIndex::parse(header.as_str(), message.payload.len())?;
    let report = |range| parse_event(&format!("....{}", split(&message.payload[range])?.0));
    index.bodies().map(|(_, range)| report(range)).collect()
}

impl Floor {
    async fn start(&self, flow: Flow, steps: u32, sending: Sending) -> Result<()> {
        let (namespace, bodies) = (self.connection.namespace(), &self.bodies);
        let any = subject::workflow_task(namespace, &super::queue());
        chunked::request(&self.connection, any, bodies.first_workflow_task.clone(), TIMEOUT).await?;
        let last_sequence = self.record(flow, &bodies.first_record, 0).await?;
        self.keep(flow, Some(Progress { steps, sending, last_sequence }));
        tokio::try_join!(self.dispatch(flow, 1, sending), self.summarise(flow, &bodies.summary))?;
        Ok(())
    }

    async fn take_report(&self, flow: Flow, step: u32) -> Result<()> {
        let (namespace, bodies) = (self.connection.namespace(), &self.bodies);
        let progress = self.flows().get(&flow).copied();
        let Progress { steps, sending, last_sequence } = progress.context("a report without a start")?;
        let sticky = subject::sticky_workflow_task(namespace, &super::queue(), &self.worker);
        let (connection, task) = (&self.connection, bodies.workflow_task.clone());
        match sending {
            Sending::Together => chunked::request_packed(connection, sticky, task, TIMEOUT).await?,
            Sending::Apart => chunked::request(connection, sticky, task, TIMEOUT).await?,
        };
        let body = if step == steps { &bodies.last_record } else { &bodies.record };
        let last_sequence = self.record(flow, body, last_sequence).await?;
        if step < steps {
            self.keep(flow, Some(Progress { steps, sending, last_sequence }));
            return self.dispatch(flow, step + 1, sending).await;
        }
        self.keep(flow, None);
        self.summarise(flow, &bodies.last_summary).await?;
        let closed = subject::closed(namespace, &flow.workflow_id());
        self.connection.client().publish(closed, bodies.last_summary.clone()).await?;
        Ok(())
    }

    async fn record(&self, flow: Flow, body: &Bytes, last_sequence: u64) -> Result<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(EXPECTED_LAST_SUBJECT_SEQUENCE, last_sequence.to_string());
        let subject = subject::history(self.connection.namespace(), &flow.workflow_id(), self.partitions);
        let publisher = self.connection.publisher();
        Ok(publisher.publish(subject, Some(headers), body.clone()).await?.await?.sequence)
    }

    async fn dispatch(&self, flow: Flow, step: u32, sending: Sending) -> Result<()> {
        let message_id = flow.attempt_id(step, sending);
        let shard = self.shards.of_task(&message_id);
        let subject = subject::task(self.connection.namespace(), &super::queue(), shard);
        let mut headers = HeaderMap::new();
        headers.insert(MESSAGE_ID, message_id);
        let task = self.bodies.task.clone();
        self.connection.publisher().publish(subject, Some(headers), task).await?.await?;
        Ok(())
    }

    async fn summarise(&self, flow: Flow, body: &Bytes) -> Result<()> {
        let key = subject::state_key(&flow.workflow_id());
        let subject = Bucket::State.subject(self.connection.namespace(), &key);
        self.connection.publisher().publish(subject, None, body.clone()).await?.await?;
        Ok(())
    }

    fn keep(&self, flow: Flow, progress: Option<Progress>) {
        match progress {
            Some(progress) => self.flows().insert(flow, progress),
            None => self.flows().remove(&flow),
        };
    }

    fn flows(&self) -> std::sync::MutexGuard<'_, HashMap<Flow, Progress>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
