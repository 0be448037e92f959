//! The floor in the place of the workflow worker.

use anyhow::{Context as _, Result};
use async_nats::HeaderMap;
use bytes::BytesMut;
use futures_util::StreamExt as _;
use stepwell_connection::{Connection, chunked};
use stepwell_shared::headers::PACK;
use stepwell_shared::ids::WorkerId;
use stepwell_shared::pack::PackIndex;
use stepwell_shared::subject;

use super::bodies::Bodies;
use crate::roles::say_ready;

/// The worker's id, of the usual length.
pub(crate) const WORKER: &str = "01900000-0000-7000-8000-00000000000f";

/// Runs until the connection is closed.
pub(crate) async fn answer_workflow_tasks(connection: Connection) -> Result<()> {
    let (client, reply) = (connection.client(), Bodies::new()?.reply);
    let (worker, queue) = (WorkerId::new(WORKER)?, super::queue());
    let sticky = subject::sticky_workflow_task(connection.namespace(), &queue, &worker);
    let sticky = client.subscribe(sticky).await?;
    let shared = subject::workflow_task(connection.namespace(), &queue);
    let shared = client.queue_subscribe(shared, queue.to_string()).await?;
    client.flush().await?;
    say_ready();
    let mut tasks = futures_util::stream::select(sticky, shared);
    while let Some(task) = tasks.next().await {
        let Some(to) = task.reply else { continue };
        let Some(pack) = task.headers.as_ref().and_then(|headers| headers.get(PACK)) else {
            chunked::reply(client, to, reply.clone()).await?;
            continue;
        };
        let pack = PackIndex::parse(pack.as_str(), task.payload.len()).context("a pack without an index")?;
        let (mut index, mut body) = (PackIndex::default(), BytesMut::new());
        for (place, _) in pack.bodies() {
            index.push(place, reply.len());
            body.extend_from_slice(&reply);
        }
        let mut headers = HeaderMap::new();
        headers.insert(PACK, index.header());
        client.publish_with_headers(to, headers, body.freeze()).await?;
    }
    Ok(())
}
