//! The floor in the place of the workflow worker.

use anyhow::Result;
use futures_util::StreamExt as _;
use stepwell_connection::{Connection, chunked};
use stepwell_shared::ids::WorkerId;
use stepwell_shared::subject;

use super::bodies::Bodies;
use crate::roles::say_ready;

/// The worker's id, of the usual length.
pub(crate) const WORKER: &str = "01900000-0000-7000-8000-00000000000f";

/// Runs until the connection is closed.
pub(crate) async fn answer_workflow_tasks(connection: Connection) -> Result<()> {
    let (client, reply) = (connection.client(), Bodies::new()?.reply);
    let worker = WorkerId::new(WORKER)?;
    let subject = subject::sticky_workflow_task(connection.namespace(), &super::queue(), &worker);
    let mut tasks = client.subscribe(subject).await?;
    client.flush().await?;
    say_ready();
    while let Some(task) = tasks.next().await {
        if let Some(to) = task.reply {
            chunked::reply(client, to, reply.clone()).await?;
        }
    }
    Ok(())
}
