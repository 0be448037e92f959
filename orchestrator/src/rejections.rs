//! Setting messages aside: on the REJECTED stream with a reason that a person can list, and to the sender
//! if it asked.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use stepwell_connection::Connection;
use stepwell_connection::clock::now_ms;
use stepwell_shared::encoding::{VERSION, encode};
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::headers::MESSAGE_ID;
use stepwell_shared::limits::MAX_REJECTION_PREVIEW_BYTES;
use stepwell_shared::rejection::Rejection;
use stepwell_shared::subject;

use crate::metric_definitions::Metrics;

/// Pause between two tries to store a rejection.
const PAUSE: Duration = Duration::from_millis(500);

/// A message as it came.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    pub(crate) subject: String,
    pub(crate) body: Bytes,
    pub(crate) sequence: u64,
}

/// Stores the reason; returns when it is stored, so that the event may count as done.
pub(crate) async fn set_aside(
    connection: &Connection,
    metrics: &Metrics,
    raw: &Raw,
    code: ErrorCode,
    message: &str,
) {
    metrics.rejected.with_label_values(&[code.name()]).inc();
    tracing::info!(
        subject = raw.subject,
        sequence = raw.sequence,
        code = code.name(),
        message,
        "message set aside"
    );
    let preview = &raw.body[..raw.body.len().min(MAX_REJECTION_PREVIEW_BYTES)];
    let rejection = Rejection {
        v: VERSION,
        code,
        message: message.to_owned(),
        subject: raw.subject.clone(),
        sequence: raw.sequence,
        at_ms: now_ms(),
        size: raw.body.len(),
        preview: String::from_utf8_lossy(preview).into_owned(),
    };
    let body = Bytes::from(encode(&rejection));
    loop {
        let mut headers = HeaderMap::new();
        headers.insert(MESSAGE_ID, format!("rejected-{}", raw.sequence));
        let subject = subject::rejected(connection.namespace(), code);
        let stored = match connection.publisher().publish(subject, Some(headers), body.clone()).await {
            Ok(pending) => pending.await.map(|_| ()),
            Err(error) => Err(error),
        };
        match stored {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, "a rejection could not be stored; trying again"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
