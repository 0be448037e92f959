//! Reports that are made in the same moment and are for the same partition go in one message: what it costs to store and
//! to read one hardly depends on what is in it. Nobody is waited for; a report that is alone goes as it always did, and
//! its sender does that.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use stepwell_connection::Connection;
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::limits::{MAX_PACK, MAX_PACKED_BODY_BYTES};
use stepwell_shared::pack::PackIndex;
use stepwell_shared::subject::{self, EventAddress};
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use crate::activity_runner::ActivitySide;
use crate::metric_definitions::Metrics;
use crate::until_stored::{NotStored, ReportToSend, Stored, send_until_stored};

/// A report that may go with others.
#[derive(Debug)]
pub(crate) struct PackedReport {
    pub(crate) partition: u32,
    pub(crate) workflow_id: WorkflowId,
    /// As it lies in a pack.
    pub(crate) joined: Bytes,
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Went {
    /// It is stored.
    Stored,
    /// It is to be sent alone.
    Alone,
}

/// The reports that wait to be sent together.
#[derive(Debug, Default)]
pub(crate) struct ReportPacks {
    /// Nothing when nobody sends them.
    pending: Mutex<Option<Vec<Pending>>>,
    to_send: Notify,
}

#[derive(Debug)]
struct Pending {
    report: PackedReport,
    went: oneshot::Sender<Went>,
}

impl ReportPacks {
    /// Sends a report with those of the same moment; returns when it is stored, or is to be sent alone.
    pub(crate) async fn send(&self, report: PackedReport) -> Went {
        if report.joined.len() > MAX_PACKED_BODY_BYTES {
            return Went::Alone;
        }
        let (went, told) = oneshot::channel();
        {
            let mut pending = self.pending();
            let Some(pending) = pending.as_mut() else { return Went::Alone };
            pending.push(Pending { report, went });
            if pending.len() == 1 {
                self.to_send.notify_one();
            }
        }
        told.await.unwrap_or(Went::Alone)
    }

    fn pending(&self) -> MutexGuard<'_, Option<Vec<Pending>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While there is one, somebody sends.
struct Sending<'a>(&'a ReportPacks);

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        // Whoever waits learns of it, and sends alone.
        *self.0.pending() = None;
    }
}

/// Sends the reports of a worker until it is aborted. Each waits for others for as long as `linger`, or for those of the
/// same moment if it is zero.
pub(crate) async fn send_together(side: Arc<ActivitySide>, linger: Duration) {
    let reports = &side.reports;
    let _sending = Sending(reports);
    *reports.pending() = Some(Vec::new());
    loop {
        reports.to_send.notified().await;
        if linger.is_zero() {
            // Whoever is about to report as well gets the turn to do so.
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(linger).await;
        }
        let pending = reports.pending().as_mut().map(std::mem::take);
        for pack in packs(pending.unwrap_or_default()) {
            // One that is not stored yet does not hold up the next ones.
            tokio::spawn(send(pack, side.connection.clone(), Arc::clone(&side.metrics)));
        }
    }
}

/// Puts reports of the same partition together, in order, at most one of each workflow into a pack: by the place of an
/// event it is known what of it a workflow has taken in. Who is alone is told so.
fn packs(pending: Vec<Pending>) -> Vec<Vec<Pending>> {
    let mut by_partition: BTreeMap<u32, Vec<Vec<Pending>>> = BTreeMap::new();
    // By workflow, the first pack that none of its reports is in.
    let mut free: HashMap<WorkflowId, usize> = HashMap::new();
    for it in pending {
        let packs = by_partition.entry(it.report.partition).or_default();
        let number = free.entry(it.report.workflow_id.clone()).or_default();
        while packs.get(*number).is_some_and(|pack| pack.len() == MAX_PACK) {
            *number += 1;
        }
        if packs.len() == *number {
            packs.push(Vec::new());
        }
        packs[*number].push(it);
        *number += 1;
    }
    let (together, alone): (Vec<_>, Vec<_>) =
        by_partition.into_values().flatten().partition(|pack| pack.len() > 1);
    for it in alone.into_iter().flatten() {
        let _ = it.went.send(Went::Alone);
    }
    together
}

/// Sends a pack until it is stored. If NATS refuses it for good, each goes alone, and so is refused for itself.
async fn send(pack: Vec<Pending>, connection: Connection, metrics: Arc<Metrics>) {
    let Some(first) = pack.first() else { return };
    let subject = subject::event(connection.namespace(), &first.report.workflow_id, &EventAddress::Reports);
    let message_id = format!("reports-{}", Uuid::now_v7());
    let (index, body) = join(&pack);
    let report = ReportToSend { subject, message_id, index: Some(index), body };
    // Until everybody who waits for it has ended.
    let wanted = || pack.iter().any(|it| !it.went.is_closed());
    let went = match send_until_stored(&report, &connection, &metrics, wanted).await {
        Ok(Stored::Now | Stored::Before) => {
            metrics.reports_packed.inc_by(pack.len() as u64);
            Went::Stored
        }
        Err(NotStored::Refused(_)) => Went::Alone,
        Err(NotStored::Unwanted) => return,
    };
    for it in pack {
        let _ = it.went.send(went);
    }
}

fn join(pack: &[Pending]) -> (String, Bytes) {
    let mut index = PackIndex::default();
    let mut body = BytesMut::with_capacity(pack.iter().map(|it| it.report.joined.len()).sum());
    for (place, it) in pack.iter().enumerate() {
        index.push(place, it.report.joined.len());
        body.extend_from_slice(&it.report.joined);
    }
    (index.header(), body.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(partition: u32, id: &str) -> (Pending, oneshot::Receiver<Went>) {
        let (went, told) = oneshot::channel();
        let workflow_id = WorkflowId::new(id).unwrap();
        let report = PackedReport { partition, workflow_id, joined: Bytes::copy_from_slice(id.as_bytes()) };
        (Pending { report, went }, told)
    }

    fn shown(packs: &[Vec<Pending>]) -> Vec<String> {
        packs.iter().map(|pack| String::from_utf8(join(pack).1.to_vec()).unwrap()).collect()
    }

    #[test]
    fn reports_of_one_partition_go_together_but_not_two_of_one_workflow() {
        let ids = [(1, "a"), (2, "b"), (1, "c"), (1, "a"), (3, "d"), (1, "c"), (2, "e"), (1, "a")];
        let (pending, mut told): (Vec<_>, Vec<_>) =
            ids.into_iter().map(|(partition, id)| report(partition, id)).unzip();
        let packs = packs(pending);
        assert_eq!(shown(&packs), ["ac", "ac", "be"]);
        assert_eq!(join(&packs[0]).0, "0:1,1:1");
        let alone: Vec<usize> = told
            .iter_mut()
            .enumerate()
            .filter_map(|(place, told)| told.try_recv().is_ok().then_some(place))
            .collect();
        assert_eq!(alone, [4, 7]);
    }

    #[test]
    fn no_pack_has_more_than_may_be_in_one() {
        let ids: Vec<String> = (0..=MAX_PACK + 1).map(|number| number.to_string()).collect();
        let (pending, _told): (Vec<_>, Vec<_>) = ids.iter().map(|id| report(1, id)).unzip();
        let lengths: Vec<usize> = packs(pending).iter().map(Vec::len).collect();
        assert_eq!(lengths, [MAX_PACK, 2]);
    }
}
