//! Sends a message with one report or a pack of them until it is stored. Knows nothing of what is in it.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use stepwell_connection::crash::{self, Boundary};
use stepwell_connection::{Ack, Connection, PublishError};
use stepwell_shared::headers::{MESSAGE_ID, PACK};
use thiserror::Error;

use crate::metric_definitions::Metrics;

/// First and longest wait before it is sent again.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A message, the same at every try.
#[derive(Debug)]
pub(crate) struct ReportToSend {
    pub(crate) subject: String,
    pub(crate) message_id: String,
    /// Where each report is in the body, when there are several.
    pub(crate) index: Option<String>,
    pub(crate) body: Bytes,
}

/// When a report was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// By this call.
    Now,
    /// Before: the same was reported already, perhaps by an earlier try of this call.
    Before,
}

/// Why it was not stored.
#[derive(Debug, Error)]
pub(crate) enum NotStored {
    /// NATS refuses it for good.
    #[error("{0}")]
    Refused(PublishError),
    /// Nobody waits for it any more.
    #[error("nobody waits for it any more")]
    Unwanted,
}

/// Returns when it is stored or never will be. After each try that failed, `wanted` is asked whether to go on.
pub(crate) async fn send_until_stored(
    report: &ReportToSend,
    connection: &Connection,
    metrics: &Metrics,
    wanted: impl Fn() -> bool,
) -> Result<Stored, NotStored> {
    let ReportToSend { subject, message_id, index, body } = report;
    let mut wait = FIRST_WAIT;
    loop {
        let mut headers = HeaderMap::new();
        headers.insert(MESSAGE_ID, message_id.as_str());
        if let Some(index) = index {
            headers.insert(PACK, index.as_str());
        }
        crash::at(Boundary::BeforeReport);
        let sent = connection.publisher().publish(subject.clone(), Some(headers), body.clone()).await;
        crash::at(Boundary::ReportSent);
        let stored = match sent {
            Ok(pending) => pending.await,
            Err(error) => Err(error),
        };
        let error = match stored {
            Ok(Ack { duplicate, .. }) => {
                crash::at(Boundary::ReportStored);
                return Ok(if duplicate { Stored::Before } else { Stored::Now });
            }
            Err(error) => error,
        };
        if !error.retryable() && error != PublishError::UnknownOutcome {
            return Err(NotStored::Refused(error));
        }
        metrics.reports_retried.inc();
        tracing::warn!(subject, %error, retry_in = ?wait, "what activities report is not stored yet");
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
        if !wanted() {
            return Err(NotStored::Unwanted);
        }
    }
}
