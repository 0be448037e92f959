//! This process as a member of those that share the partitions: a key of its own in the `owners` bucket,
//! renewed again and again. When it was not renewed in time the membership is over for good; the process
//! joins as another member then.

use std::time::{Duration, Instant};

use stepwell_connection::clock::now_ms;
use stepwell_connection::crash::{self, Boundary};
use stepwell_connection::{Connection, PublishError};
use stepwell_shared::encoding::VERSION;
use stepwell_shared::ids::MemberId;
use stepwell_shared::ownership::Member;
use stepwell_shared::subject::member_key;
use tokio::sync::watch;

use crate::owners_bucket;
use crate::pulse::Signs;
use crate::validity::Validity;

/// How often the key is renewed, as a share of the lease.
const RENEWALS_PER_LEASE: u32 = 4;

/// How soon a renewal that failed is tried again, as a share of the lease.
const TRIES_PER_LEASE: u32 = 10;

/// A membership that has begun.
pub(crate) struct Membership {
    connection: Connection,
    id: MemberId,
    value: Member,
    revision: u64,
    lease: Duration,
    validity: Validity,
}

/// How a membership ended.
pub(crate) struct Over {
    pub(crate) id: MemberId,
    /// The revision of its key that was written last, as far as it is known.
    pub(crate) revision: u64,
}

impl Membership {
    /// Joins. Tries until NATS takes the key.
    pub(crate) async fn join(connection: &Connection, lease: Duration) -> Self {
        loop {
            let id = MemberId::new(uuid::Uuid::now_v7().to_string()).expect("a UUID is a valid member id");
            let value = Member {
                v: VERSION,
                host: host(),
                process: std::process::id(),
                since_ms: now_ms(),
                beat: 0,
                leaving: false,
            };
            let asked = Instant::now();
            crash::at(Boundary::BeforeJoining);
            match owners_bucket::write(connection, &member_key(&id), &value, 0).await {
                Ok(revision) => {
                    crash::at(Boundary::Joined);
                    let validity = Validity::new(good_until(asked, lease));
                    return Self { connection: connection.clone(), id, value, revision, lease, validity };
                }
                Err(error) => tracing::warn!(%error, "the orchestrators cannot be joined; trying again"),
            }
            tokio::time::sleep(lease / TRIES_PER_LEASE).await;
        }
    }

    pub(crate) fn id(&self) -> &MemberId {
        &self.id
    }

    /// Until when this member may act.
    pub(crate) fn validity(&self) -> Validity {
        self.validity.clone()
    }

    /// Renews until the membership is over, until `done`, or until the rest of the process shows no signs of life.
    /// From when `leaving` says so on, everybody is told that it is ending.
    pub(crate) async fn keep(
        mut self,
        signs: Signs,
        mut leaving: watch::Receiver<bool>,
        done: impl Future<Output = ()>,
    ) -> Over {
        let mut done = std::pin::pin!(done);
        let mut wait = self.lease / RENEWALS_PER_LEASE;
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                () = &mut done => break,
                () = tokio::time::sleep(wait) => {}
                Ok(()) = leaving.changed() => {}
            }
            if signs.silent() {
                tracing::error!("this orchestrator hangs, or its connection for work does; others take over");
                break;
            }
            self.value.leaving = *leaving.borrow_and_update();
            wait = self.lease / RENEWALS_PER_LEASE;
            let asked = Instant::now();
            // What has not answered by then is tried again: it must not use up the time that is left.
            let renewal = tokio::time::timeout(self.lease / RENEWALS_PER_LEASE, self.renew());
            match renewal.await.unwrap_or(Err(PublishError::UnknownOutcome)) {
                Ok(()) if self.validity.extend(good_until(asked, self.lease)) => renewed = asked,
                Ok(()) => {
                    tracing::warn!("this orchestrator was renewed too late");
                    break;
                }
                Err(PublishError::WrongLastSequence) => {
                    // A renewal of unknown outcome may have landed.
                    match owners_bucket::revision_of(&self.connection, &self.id).await {
                        // What is known now is good for the next try, at once.
                        Ok(revision) if revision > self.revision => {
                            self.revision = revision;
                            wait = Duration::ZERO;
                        }
                        Ok(_) => {
                            tracing::warn!("this orchestrator's key was removed");
                            break;
                        }
                        Err(error) => {
                            tracing::warn!(%error, "this orchestrator's key cannot be read");
                            wait = self.lease / TRIES_PER_LEASE;
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "this orchestrator could not be renewed; trying again");
                    wait = self.lease / TRIES_PER_LEASE;
                }
            }
            // Others count from the last renewal that they can have seen, which is no earlier.
            if Instant::now() > good_until(renewed, self.lease) {
                tracing::warn!("this orchestrator was not renewed in time");
                break;
            }
        }
        self.validity.end_all();
        Over { id: self.id, revision: self.revision }
    }

    async fn renew(&mut self) -> Result<(), PublishError> {
        let value = Member { beat: self.value.beat + 1, ..self.value.clone() };
        let key = member_key(&self.id);
        crash::at(Boundary::BeforeRenewal);
        self.revision = owners_bucket::write(&self.connection, &key, &value, self.revision).await?;
        crash::at(Boundary::Renewed);
        self.value = value;
        Ok(())
    }
}

/// A quarter of the lease is left for messages on their way and for clocks that run at different speeds.
fn good_until(asked: Instant, lease: Duration) -> Instant {
    asked + lease * 3 / 4
}

/// The name of this machine, for people; empty when it is not known.
fn host() -> String {
    std::fs::read_to_string("/etc/hostname")
        .map(|name| name.trim().chars().take(64).collect())
        .unwrap_or_default()
}
