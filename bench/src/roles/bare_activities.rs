//! Activity tasks worked by a hand-written loop: what is left of a step's cost when the SDK's activity
//! side is taken away.

use anyhow::Result;
use async_nats::HeaderMap;
use async_nats::jetstream::Message;
use futures_util::StreamExt as _;
use stepwell_connection::Connection;
use stepwell_connection::provision::{ensure_queue, settings};
use stepwell_shared::encoding::{VERSION, decode, encode};
use stepwell_shared::headers::MESSAGE_ID;
use stepwell_shared::message::{Outcome, ReportMessage};
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::{self, EventAddress};
use stepwell_shared::task::ActivityTask;

use super::say_ready;

/// Runs until the connection is closed.
pub(super) async fn work(connection: Connection, at_once: usize) -> Result<()> {
    settings(&connection).await?;
    let consumer = ensure_queue(&connection, &super::queue(0), Shard::FIRST).await?;
    let mut tasks = consumer.stream().max_messages_per_batch(at_once).messages().await?;
    say_ready();
    while let Some(task) = tasks.next().await {
        let (task, connection) = (task?, connection.clone());
        tokio::spawn(async move {
            if let Err(error) = report(&connection, &task).await {
                tracing::error!("a task failed: {error:#}");
            }
        });
    }
    Ok(())
}

async fn report(connection: &Connection, message: &Message) -> Result<()> {
    let task: ActivityTask = decode(&message.payload)?;
    let report = ReportMessage {
        v: VERSION,
        attempt: task.attempt,
        token: task.token,
        outcome: Outcome::Completed { result: task.input },
        worker: None,
        schedule_to_start_ms: Some(0),
        execution_ms: Some(0),
    };
    let run_id = task.run_id;
    let address = EventAddress::Report { run_id: run_id.clone(), step: task.step };
    let subject = subject::event(connection.namespace(), &task.workflow_id, &address);
    let mut headers = HeaderMap::new();
    headers.insert(MESSAGE_ID, format!("report-{run_id}/{}/{}", task.step, task.attempt));
    connection.publisher().publish(subject, Some(headers), encode(&report).into()).await?.await?;
    message.ack().await.map_err(|error| anyhow::anyhow!("the task was not acknowledged: {error}"))
}
