//! The floor in the place of the activity worker.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use async_nats::HeaderMap;
use async_nats::jetstream::Message;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::select_all;
use stepwell_connection::Connection;
use stepwell_connection::provision::ensure_queue;
use stepwell_shared::headers::MESSAGE_ID;
use stepwell_shared::subject::{self, EventAddress};

use super::address::{Flow, Sending};
use super::bodies::Bodies;
use super::reports::Reports;
use crate::roles::say_ready;

/// Runs until the connection is closed.
pub(crate) async fn work_activities(connection: Connection, at_once: usize) -> Result<()> {
    let report = Bodies::new()?.report;
    let reports = Reports::new(connection.clone(), report.clone());
    let mut of_shards = Vec::new();
    for shard in connection.shards().await?.all() {
        let consumer = ensure_queue(&connection, &super::queue(), shard).await?;
        of_shards.push(consumer.stream().max_messages_per_batch(at_once).messages().await?);
    }
    let mut tasks = select_all(of_shards);
    say_ready();
    while let Some(task) = tasks.next().await {
        let (task, connection, report) = (task?, connection.clone(), report.clone());
        let reports = Arc::clone(&reports);
        tokio::spawn(async move {
            if let Err(error) = work(&connection, &reports, &task, report).await {
                tracing::error!("the floor's task failed: {error:#}");
            }
        });
    }
    Ok(())
}

async fn work(connection: &Connection, reports: &Reports, task: &Message, report: Bytes) -> Result<()> {
    let id =
        task.headers.as_ref().and_then(|headers| headers.get(MESSAGE_ID)).context("a task without id")?;
    let (flow, step, sending) = Flow::parse_attempt_id(id.as_str()).context("a task of no workflow")?;
    match sending {
        Sending::Together => reports.send(flow, step).await?,
        Sending::Apart => {
            let address = EventAddress::Report { run_id: flow.run_id(), step };
            let subject = subject::event(connection.namespace(), &flow.workflow_id(), &address);
            let mut headers = HeaderMap::new();
            headers.insert(MESSAGE_ID, format!("report-{}", id.as_str()));
            connection.publisher().publish(subject, Some(headers), report).await?.await?;
        }
    }
    task.ack().await.map_err(|error| anyhow::anyhow!("the task was not acknowledged: {error}"))
}
