//! Sharing the partitions with the other orchestrators: looks at who is there, and has what follows from it
//! done. What follows is decided in the core.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use stepwell_connection::crash::{self, Boundary};
use stepwell_orchestrator_core::ownership::{Ownership, Step};
use stepwell_shared::ids::MemberId;
use stepwell_shared::subject::owners_changed;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::error::OrchestratorError;
use crate::ground::Ground;
use crate::keeper::{Keeper, Order, Report, announce_change};
use crate::membership::{Membership, Over};
use crate::owners_bucket::{self, Reading};
use crate::taken_together::TakenTogether;
use crate::validity::Validity;

/// How long it may take to give back what is left when a membership is over.
const LONGEST_STOP: Duration = Duration::from_secs(15);

/// How often is looked, as a share of the lease.
const LOOKS_PER_LEASE: u32 = 10;

/// The longest time between two looks, however long the lease is.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long the reading of who owns what may take. What was known before is gone by after that.
const LONGEST_READ: Duration = Duration::from_secs(2);

/// Shares the partitions until `shutdown`, then gives everything back.
///
/// # Errors
/// When what is stored contradicts what was seen; nothing may be decided then.
pub(crate) async fn own(ground: &Ground, shutdown: &CancellationToken) -> Result<(), OrchestratorError> {
    while !shutdown.is_cancelled() {
        let lease = ground.options.lease;
        let membership = tokio::select! {
            membership = Membership::join(ground.pulse.connection(), lease) => membership,
            () = shutdown.cancelled() => return Ok(()),
        };
        announce_change(ground).await;
        Term::run(ground, membership, shutdown).await?;
    }
    Ok(())
}

/// One membership, from joining to its end.
struct Term<'a> {
    ground: &'a Ground,
    id: MemberId,
    validity: Validity,
    ownership: Ownership,
    /// As the bucket was read last.
    reading: Reading,
    /// The last renewal that this process has read itself.
    renewal_seen: u64,
    began: Instant,
    keepers: BTreeMap<u32, watch::Sender<Order>>,
    tasks: JoinSet<()>,
    reports: mpsc::UnboundedSender<Report>,
    halted: Option<OrchestratorError>,
}

impl<'a> Term<'a> {
    async fn run(
        ground: &'a Ground,
        membership: Membership,
        shutdown: &CancellationToken,
    ) -> Result<(), OrchestratorError> {
        let lease_ms = u64::try_from(ground.options.lease.as_millis()).unwrap_or(u64::MAX);
        let id = membership.id().clone();
        let (reports, mut reported) = mpsc::unbounded_channel();
        let mut term = Term {
            ground,
            ownership: Ownership::new(id.clone(), ground.settings.partitions, lease_ms),
            validity: membership.validity(),
            id,
            reading: Reading::default(),
            renewal_seen: 0,
            began: Instant::now(),
            keepers: BTreeMap::new(),
            tasks: JoinSet::new(),
            reports,
            halted: None,
        };
        let (leaving, told) = watch::channel(false);
        let done = CancellationToken::new();
        ground.pulse.signs().show();
        let keep = membership.keep(ground.pulse.signs().clone(), told, done.clone().cancelled_owned());
        let mut kept = ground.pulse.spawn(keep);
        let mut over = None;
        tokio::select! {
            () = term.share(&mut reported, &leaving, shutdown) => {}
            ended = &mut kept => over = ended.ok(),
        }
        term.stop(&mut reported).await;
        done.cancel();
        let over = match over {
            Some(over) => Some(over),
            None => kept.await.ok(),
        };
        if let Some(Over { id, revision }) = over {
            crash::at(Boundary::BeforeLeaving);
            if let Err(error) = owners_bucket::remove_member(&ground.connection, &id, revision).await {
                tracing::debug!(%error, "this orchestrator's key was not removed; others do it");
            }
            crash::at(Boundary::Left);
            announce_change(ground).await;
        }
        term.halted.map_or(Ok(()), Err)
    }

    /// Looks again and again, until everything is given back after `shutdown`, or nobody may go on.
    async fn share(
        &mut self,
        reported: &mut mpsc::UnboundedReceiver<Report>,
        leaving: &watch::Sender<bool>,
        shutdown: &CancellationToken,
    ) {
        let every = (self.ground.options.lease / LOOKS_PER_LEASE).min(LONGEST_PAUSE);
        let mut looks = tokio::time::interval(every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let changes = owners_changed(self.ground.connection.namespace());
        // Without them it takes until the next look.
        let mut changes = self.ground.connection.client().subscribe(changes).await.ok();
        while self.halted.is_none() {
            let changed = async {
                match &mut changes {
                    Some(changes) => changes.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shutdown.cancelled(), if !*leaving.borrow() => {
                    self.ownership.leave();
                    leaving.send_replace(true);
                }
                Some(report) = reported.recv() => {
                    self.take_in(report);
                    continue;
                }
                _ = looks.tick() => {}
                change = changed => {
                    if change.is_none() {
                        changes = None;
                    }
                }
            }
            self.look().await;
            if *leaving.borrow() && self.ownership.is_idle() {
                return;
            }
        }
    }

    async fn look(&mut self) {
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let read = owners_bucket::read(&self.ground.connection);
        match tokio::time::timeout(LONGEST_READ, read).await {
            Ok(Ok(reading)) => {
                self.reading = reading;
                self.show_sign();
            }
            Ok(Err(error)) => tracing::warn!(%error, "it cannot be read who owns what; trying again"),
            Err(_) => tracing::warn!("it takes too long to read who owns what; trying again"),
        }
        let steps = self.ownership.look(&self.reading.snapshot, now_ms);
        let taken = steps.iter().filter_map(|step| match step {
            Step::Take { partition, .. } => Some(*partition),
            Step::HandOver { .. } | Step::Lose { .. } | Step::Bury { .. } => None,
        });
        // Whoever had them has ended.
        let together = Arc::new(TakenTogether::new(taken.collect(), self.ground.settings.partitions));
        for step in steps {
            match step {
                Step::Take { partition, epoch, expected, from } => {
                    let (orders, ordered) = watch::channel(Order::Work);
                    self.keepers.insert(partition, orders);
                    let keeper = Keeper {
                        ground: self.ground.clone(),
                        me: self.id.clone(),
                        validity: self.validity.clone(),
                        partition,
                        epoch,
                        expected,
                        from,
                        hold: self.reading.hold_revision,
                        orders: ordered,
                        reports: self.reports.clone(),
                    };
                    self.tasks.spawn(keeper.keep(Arc::clone(&together)));
                }
                Step::HandOver { partition, .. } => self.order(partition, Order::HandOver),
                Step::Lose { partition } => {
                    tracing::warn!(partition, "another orchestrator has taken a partition from this one");
                    self.order(partition, Order::Stop);
                }
                Step::Bury { member, revision } => {
                    tracing::info!(%member, "an orchestrator has been gone for long; its key is removed");
                    let connection = self.ground.connection.clone();
                    self.tasks.spawn(async move {
                        if let Err(error) = owners_bucket::remove_member(&connection, &member, revision).await
                        {
                            tracing::debug!(%error, "the key was not removed; trying again");
                        }
                    });
                }
            }
        }
        while self.tasks.try_join_next().is_some() {}
        self.ground
            .metrics
            .partitions_owned
            .set(i64::try_from(self.ground.owned.count()).unwrap_or(i64::MAX));
    }

    /// This process goes on when the work's own connection brings it the renewals that it makes on the other one. One
    /// that brings what is old, or nothing, is no good for work either.
    fn show_sign(&mut self) {
        let renewal = self.reading.snapshot.members.get(&self.id).map_or(0, |member| member.revision);
        if renewal > self.renewal_seen {
            self.renewal_seen = renewal;
            self.ground.pulse.signs().show();
        }
    }

    fn order(&self, partition: u32, order: Order) {
        if let Some(orders) = self.keepers.get(&partition) {
            orders.send_replace(order);
        }
    }

    fn take_in(&mut self, report: Report) {
        match report {
            Report::Took { partition, epoch, revision } => self.ownership.took(partition, epoch, revision),
            Report::NotTaken { partition } => {
                self.ownership.not_taken(partition);
                self.keepers.remove(&partition);
            }
            Report::Gone { partition } => {
                self.ownership.handed_over(partition);
                self.keepers.remove(&partition);
            }
            Report::Halted(error) => {
                tracing::error!(%error, "this orchestrator stops");
                self.halted.get_or_insert(error);
            }
        }
    }

    /// Stops whatever is left, at once.
    async fn stop(&mut self, reported: &mut mpsc::UnboundedReceiver<Report>) {
        for orders in self.keepers.values() {
            orders.send_replace(Order::Stop);
        }
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LONGEST_STOP, all).await.is_err() {
            tracing::warn!("some partitions could not be given back in time");
            self.tasks.shutdown().await;
        }
        while let Ok(report) = reported.try_recv() {
            self.take_in(report);
        }
        self.ground.metrics.partitions_owned.set(0);
    }
}
