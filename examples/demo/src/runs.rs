//! What is run: every document and a batch of orders, with what must come out of each.

use ::document_pipeline::library;
use ::document_pipeline::workflow::{APPROVE, STAGE, Stage, Submission, document_pipeline};
use ::order_saga::batch::{self, Expected};
use ::order_saga::order::Order;
use ::order_saga::saga::order_saga;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use stepwell::Client;
use stepwell_connection::{Connection, chunked};
use stepwell_shared::api::{ApiAnswer, RunRequest};
use stepwell_shared::subject;
use stepwell_shared::summary::RunSummary;

/// Of so many documents one is approved by nobody.
const UNDECIDED_EVERY: usize = 7;

/// How long the pipeline waits for a decision that does not come.
const SHORT_PATIENCE_SECONDS: u64 = 5;

/// How long it waits for one that does: longer than the demonstration.
const LONG_PATIENCE_SECONDS: u64 = 3_600;

/// Time between two looks at something that cannot be waited for, or was refused.
const POLL: Duration = Duration::from_millis(200);

/// How long a person waits for an answer before asking again.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long one request for a result waits for the run to close. Short: whoever took the request may be
/// killed, and then nobody answers it.
const RESULT_WAIT: Duration = Duration::from_secs(2);

/// One run.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// Its workflow id.
    pub(crate) id: String,
    /// What it does.
    pub(crate) work: Work,
}

/// What a run does, and what must come out of it.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// A document; approved, or left without a decision.
    Document {
        /// Whether somebody approves it.
        approved: bool,
    },
    /// An order.
    Order {
        /// The order.
        order: Order,
        /// How it must end.
        expected: Expected,
    },
}

/// Every document of the folder, and so many orders.
pub(crate) fn plan(documents: &Path, orders: usize) -> Result<Vec<Run>> {
    let names = library::documents(documents)?;
    let documents = names.into_iter().enumerate().map(|(n, id)| {
        let approved = n % UNDECIDED_EVERY != UNDECIDED_EVERY / 2;
        Run { id, work: Work::Document { approved } }
    });
    let orders = (0..orders).map(|n| {
        let (order, expected) = batch::order("order-", n);
        Run { id: order.id.clone(), work: Work::Order { order, expected } }
    });
    Ok(documents.chain(orders).collect())
}

/// Starts a run.
pub(crate) async fn start(client: &Client, run: &Run) -> Result<()> {
    let started = match &run.work {
        Work::Document { approved } => {
            let approval_seconds = if *approved { LONG_PATIENCE_SECONDS } else { SHORT_PATIENCE_SECONDS };
            let submission = Submission { document: run.id.clone(), approval_seconds };
            client.start(document_pipeline, &run.id, submission).await.map(drop)
        }
        Work::Order { order, .. } => client.start(order_saga, &run.id, order.clone()).await.map(drop),
    };
    started.with_context(|| format!("cannot start {}", run.id))
}

/// Does what a person would do: asks where the document stands, and approves it when it is time. Whoever
/// does not answer, because somebody was killed just now, is asked again.
pub(crate) async fn approve(client: &Client, id: &str) {
    let handle = client.workflow(document_pipeline, id);
    loop {
        let stage = tokio::time::timeout(PATIENCE, handle.query(STAGE, ())).await;
        if let Ok(Ok(Stage::AwaitingApproval { .. })) = stage {
            // To say it twice, because the first answer was lost, does no harm: one is enough for the code.
            if let Ok(Ok(())) = tokio::time::timeout(PATIENCE, handle.signal(APPROVE, true)).await {
                return;
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until a run is closed, whoever is killed meanwhile. Uses nothing but a request that any NATS
/// client can make.
pub(crate) async fn closed(connection: &Connection, id: &str) -> Result<RunSummary> {
    let wait_ms = u64::try_from(RESULT_WAIT.as_millis()).unwrap_or(u64::MAX);
    let request = RunRequest { id: id.to_owned(), run_id: None, wait_ms, after: 0, limit: 0 };
    let body = serde_json::to_vec(&request)?;
    loop {
        let subject = subject::api(connection.namespace(), "result");
        let answer = chunked::request(connection, subject, body.clone(), RESULT_WAIT * 2).await;
        let answer = answer.ok().and_then(|body| serde_json::from_slice::<ApiAnswer<RunSummary>>(&body).ok());
        match answer {
            Some(ApiAnswer::Ok(summary)) if summary.status.closed() => return Ok(summary),
            Some(ApiAnswer::Ok(_)) => {}
            Some(ApiAnswer::Error(_)) | None => tokio::time::sleep(POLL).await,
        }
    }
}
