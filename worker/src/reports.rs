//! Telling the orchestrator how an attempt ended. A report is sent until it is stored; only then is the
//! task acknowledged, so that nothing that was done is forgotten.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use stepwell_connection::Connection;
use stepwell_shared::encoding::{VERSION, encode};
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::headers::MESSAGE_ID;
use stepwell_shared::ids::WorkerId;
use stepwell_shared::message::{Outcome, ReportMessage};
use stepwell_shared::subject::{self, EventAddress};
use stepwell_shared::task::ActivityTask;

use crate::metric_definitions::Metrics;

/// First pause before a report is sent again; it doubles.
const PAUSE: Duration = Duration::from_millis(100);

/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How an attempt ended, and how long it took.
pub(crate) struct Report {
    pub(crate) outcome: Outcome,
    pub(crate) schedule_to_start_ms: Option<u64>,
    pub(crate) execution_ms: Option<u64>,
}

impl Report {
    /// A report about an attempt that was not made here.
    pub(crate) fn of(outcome: Outcome) -> Self {
        Self { outcome, schedule_to_start_ms: None, execution_ms: None }
    }
}

/// Sends a report; returns when it is stored.
pub(crate) async fn report(
    connection: &Connection,
    metrics: &Metrics,
    worker: &WorkerId,
    task: &ActivityTask,
    report: Report,
) {
    let address = EventAddress::Report { run_id: task.run_id.clone(), step: task.step };
    let subject = subject::event(connection.namespace(), &task.workflow_id, &address);
    let kind = match &report.outcome {
        Outcome::Started {} => "started",
        Outcome::Completed { .. } | Outcome::Failed { .. } | Outcome::Cancelled {} | Outcome::Refused { .. } => {
            "report"
        }
    };
    let message_id = format!("{kind}-{}/{}/{}", task.run_id, task.step, task.attempt);
    let mut body = message_body(worker, task, report);
    if body.len() > connection.max_body() {
        let message = format!("the report has {} bytes, more than NATS takes in one message", body.len());
        let outcome =
            Outcome::Failed { failure: Failure::new(FailureKind::Payload, message), heartbeat: None };
        body = message_body(worker, task, Report::of(outcome));
    }
    let mut pause = PAUSE;
    loop {
        let mut headers = HeaderMap::new();
        headers.insert(MESSAGE_ID, message_id.as_str());
        let stored = match connection.publisher().publish(subject.clone(), Some(headers), body.clone()).await {
            Ok(pending) => pending.await.map(|_| ()),
            Err(error) => Err(error),
        };
        let Err(error) = stored else { return };
        metrics.reports_repeated.inc();
        tracing::warn!(%error, workflow_id = %task.workflow_id, step = %task.step, "a report was not stored; sending it again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn message_body(worker: &WorkerId, task: &ActivityTask, report: Report) -> Bytes {
    let message = ReportMessage {
        v: VERSION,
        attempt: task.attempt,
        token: task.token.clone(),
        outcome: report.outcome,
        worker: Some(worker.clone()),
        schedule_to_start_ms: report.schedule_to_start_ms,
        execution_ms: report.execution_ms,
    };
    encode(&message).into()
}
