//! The floor's reports that go together, as a worker's do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use async_nats::HeaderMap;
use bytes::{Bytes, BytesMut};
use stepwell_connection::Connection;
use stepwell_shared::headers::{MESSAGE_ID, PACK};
use stepwell_shared::ids::StepId;
use stepwell_shared::limits::MAX_PACK;
use stepwell_shared::pack::PackIndex;
use stepwell_shared::packed_report::join;
use stepwell_shared::subject::{self, EventAddress};
use tokio::sync::{Notify, oneshot};

use super::address::Flow;
use super::bodies::PARTITIONS;

/// Reports that wait to be sent.
pub(super) struct Reports {
    connection: Connection,
    report: Bytes,
    pending: Mutex<HashMap<u32, Vec<Pending>>>,
    to_send: Notify,
}

struct Pending {
    flow: Flow,
    step: StepId,
    stored: oneshot::Sender<()>,
}

impl Reports {
    pub(super) fn new(connection: Connection, report: Bytes) -> Arc<Self> {
        let reports =
            Arc::new(Self { connection, report, pending: Mutex::default(), to_send: Notify::new() });
        tokio::spawn(Arc::clone(&reports).send_all());
        reports
    }

    /// Sends a report with those of the same moment, and returns when it is stored.
    pub(super) async fn send(&self, flow: Flow, step: StepId) -> Result<()> {
        let (stored, told) = oneshot::channel();
        let partition = subject::partition(&flow.workflow_id(), PARTITIONS);
        self.pending().entry(partition).or_default().push(Pending { flow, step, stored });
        self.to_send.notify_one();
        told.await.context("a pack of reports was not stored")
    }

    async fn send_all(self: Arc<Self>) {
        loop {
            self.to_send.notified().await;
            tokio::task::yield_now().await;
            let pending = std::mem::take(&mut *self.pending());
            for mut reports in pending.into_values() {
                while !reports.is_empty() {
                    let some: Vec<_> = reports.drain(..reports.len().min(MAX_PACK)).collect();
                    let own = Arc::clone(&self);
                    tokio::spawn(async move {
                        if let Err(error) = own.store(some).await {
                            tracing::error!("the floor's reports failed: {error:#}");
                        }
                    });
                }
            }
        }
    }

    async fn store(&self, reports: Vec<Pending>) -> Result<()> {
        let namespace = self.connection.namespace();
        let first = reports.first().context("no reports")?;
        let mut headers = HeaderMap::new();
        headers.insert(MESSAGE_ID, format!("report-{}/{}/1", first.flow.run_id(), first.step));
        let address = EventAddress::Report { run_id: first.flow.run_id(), step: first.step };
        let (address, body) = if reports.len() == 1 {
            (address, self.report.clone())
        } else {
            let (mut index, mut body) = (PackIndex::default(), BytesMut::new());
            for (place, Pending { flow, step, .. }) in reports.iter().enumerate() {
                let end = subject::report_end(&flow.workflow_id(), &flow.run_id(), *step);
                let joined = join(&end, &self.report);
                index.push(place, joined.len());
                body.extend_from_slice(&joined);
            }
            headers.insert(PACK, index.header());
            (EventAddress::Reports, body.freeze())
        };
        let subject = subject::event(namespace, &first.flow.workflow_id(), &address);
        self.connection.publisher().publish(subject, Some(headers), body).await?.await?;
        for report in reports {
            let _ = report.stored.send(());
        }
        Ok(())
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Vec<Pending>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
