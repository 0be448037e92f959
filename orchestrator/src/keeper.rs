//! One partition from the writing of its lease to its giving back: take, work, stop, release.

use std::sync::Arc;
use std::time::Duration;

use stepwell_connection::crash::{self, Boundary};
use stepwell_shared::encoding::VERSION;
use stepwell_shared::ids::MemberId;
use stepwell_shared::ownership::Lease;
use stepwell_shared::subject::{lease_key, owners_changed};
use tokio::sync::{mpsc, watch};

use crate::engine::Engine;
use crate::error::OrchestratorError;
use crate::ground::Ground;
use crate::owners_bucket;
use crate::taken_together::TakenTogether;
use crate::validity::Validity;

/// Pause before a partition that could not be begun with is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// What a keeper is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Work,
    /// Finish what is under way, then give the lease back.
    HandOver,
    /// Stop at once.
    Stop,
}

/// What a keeper has to say.
#[derive(Debug)]
pub(crate) enum Report {
    /// The lease is written.
    Took { partition: u32, epoch: u64, revision: u64 },
    /// It is not, as far as it is known.
    NotTaken { partition: u32 },
    /// Nothing of the partition is left here.
    Gone { partition: u32 },
    /// Nobody may go on.
    Halted(OrchestratorError),
}

/// A lease that is to be taken.
pub(crate) struct Keeper {
    pub(crate) ground: Ground,
    pub(crate) me: MemberId,
    pub(crate) validity: Validity,
    pub(crate) partition: u32,
    pub(crate) epoch: u64,
    pub(crate) expected: u64,
    /// The holder that is taken for dead, and the revision at which it was seen last.
    pub(crate) from: Option<(MemberId, u64)>,
    /// The last revision of a hold that was seen, and is over.
    pub(crate) hold: u64,
    pub(crate) orders: watch::Receiver<Order>,
    pub(crate) reports: mpsc::UnboundedSender<Report>,
}

impl Keeper {
    /// Does it all. `together`: the partitions that are taken with it. Reports are few: some per partition and life.
    pub(crate) async fn keep(mut self, together: Arc<TakenTogether>) {
        let partition = self.partition;
        let Some(revision) = self.take().await else {
            self.report(Report::NotTaken { partition });
            return;
        };
        tracing::info!(partition, epoch = self.epoch, "this orchestrator owns a partition");
        self.report(Report::Took { partition, epoch: self.epoch, revision });
        let engine = self.start(&together).await;
        // What was read is not to be kept for as long as the partition is.
        drop(together);
        if let Some(engine) = engine {
            self.work(engine).await;
        }
        // Whoever has taken it meanwhile keeps it.
        let free = Lease { v: VERSION, holder: None, epoch: self.epoch };
        crash::at(Boundary::BeforeRelease);
        let released =
            owners_bucket::write(&self.ground.connection, &lease_key(partition), &free, revision).await;
        match released {
            Ok(_) => {
                crash::at(Boundary::Released);
                tracing::info!(partition, epoch = self.epoch, "this orchestrator gave a partition back");
                announce_change(&self.ground).await;
            }
            Err(error) => tracing::debug!(partition, %error, "a lease was not given back"),
        }
        self.report(Report::Gone { partition });
    }

    async fn take(&self) -> Option<u64> {
        let connection = &self.ground.connection;
        match owners_bucket::hold_revision(connection).await {
            Ok(revision) if revision <= self.hold => {}
            // Somebody holds all orchestrators; whoever answered before was behind.
            Ok(_) => return None,
            Err(error) => {
                tracing::warn!(%error, "it cannot be confirmed that nobody holds the orchestrators");
                return None;
            }
        }
        if let Some((holder, seen)) = &self.from {
            match owners_bucket::revision_of(connection, holder).await {
                Ok(revision) if revision <= *seen => {}
                // It is alive; whoever answered before was behind.
                Ok(_) => return None,
                Err(error) => {
                    tracing::warn!(%error, "it cannot be confirmed that an orchestrator is gone");
                    return None;
                }
            }
        }
        if !self.validity.holds() {
            return None;
        }
        let lease = Lease { v: VERSION, holder: Some(self.me.clone()), epoch: self.epoch };
        let key = lease_key(self.partition);
        crash::at(Boundary::BeforeLease);
        match owners_bucket::write(connection, &key, &lease, self.expected).await {
            Ok(revision) => {
                crash::at(Boundary::LeaseStored);
                Some(revision)
            }
            Err(error) => {
                tracing::info!(partition = self.partition, %error, "a lease was not taken");
                None
            }
        }
    }

    /// Begins to work; `None` when that is not wanted any more.
    async fn start(&mut self, together: &TakenTogether) -> Option<Engine> {
        loop {
            let mut orders = self.orders.clone();
            let started = tokio::select! {
                started = Engine::start(&self.ground, self.partition, together, self.validity.part()) => started,
                () = no_longer(&mut orders) => return None,
            };
            match started {
                Ok(engine) => return Some(engine),
                Err(error @ OrchestratorError::StreamRegressed { .. }) => {
                    self.report(Report::Halted(error));
                    return None;
                }
                Err(
                    error @ (OrchestratorError::Connect(_)
                    | OrchestratorError::Provision(_)
                    | OrchestratorError::Start { .. }
                    | OrchestratorError::HttpAccess { .. }
                    | OrchestratorError::Http { .. }),
                ) => {
                    tracing::warn!(partition = self.partition, %error, "taking over failed; trying again");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = no_longer(&mut self.orders) => return None,
            }
        }
    }

    async fn work(&mut self, mut engine: Engine) {
        self.ground.owned.insert(engine.shell());
        engine.tell_of_workers().await;
        let halted = tokio::select! {
            () = no_longer(&mut self.orders) => None,
            reason = engine.halted() => Some(reason),
        };
        let order = *self.orders.borrow();
        self.ground.owned.remove(self.partition);
        match (halted, order) {
            (Some(reason), _) => {
                engine.abort().await;
                self.report(Report::Halted(reason));
            }
            (None, Order::HandOver) => engine.stop().await,
            (None, Order::Stop | Order::Work) => engine.abort().await,
        }
    }

    fn report(&self, report: Report) {
        // Nobody listens when the process ends.
        let _ = self.reports.send(report);
    }
}

/// Tells the other members that it is worth to look.
pub(crate) async fn announce_change(ground: &Ground) {
    let subject = owners_changed(ground.connection.namespace());
    let _ = ground.connection.client().publish(subject, bytes::Bytes::new()).await;
}

/// Returns when something else than work is wanted.
async fn no_longer(orders: &mut watch::Receiver<Order>) {
    // An owner that is gone wants nothing more.
    let _ = orders.wait_for(|order| *order != Order::Work).await;
}
