//! Which orchestrator is the active one: a key in the `owners` bucket, changed only by compare-and-set.
//!
//! The holder renews it; others watch. Whether it has expired is judged by how long the watcher has seen no
//! change on its own monotonic clock; wall clocks are never compared. The lease picks who works; what keeps
//! two from writing is the append to HISTORY.

use std::time::{Duration, Instant};

use async_nats::jetstream::kv;
use serde::{Deserialize, Serialize};
use stepwell_connection::{Connection, JetStreamError};
use stepwell_shared::encoding::{VERSION, decode, encode};
use stepwell_shared::subject::Bucket;

use crate::validity::Validity;

/// The lease's key.
const KEY: &str = "leader";

/// How often a standby looks, as a share of the lease.
const LOOKS_PER_LEASE: u32 = 10;

/// How often the holder renews, as a share of the lease.
const RENEWALS_PER_LEASE: u32 = 4;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Value {
    v: u32,
    holder: String,
    /// Goes up with each new holder.
    epoch: u64,
    /// The holder left in good order; nobody has to wait.
    released: bool,
}

/// A lease that this process holds.
pub(crate) struct Lease {
    bucket: kv::Store,
    holder: String,
    epoch: u64,
    revision: u64,
    length: Duration,
    renewed: Instant,
    validity: Validity,
}

impl Lease {
    /// Waits until the lease is free or has expired, and takes it.
    pub(crate) async fn acquire(
        connection: &Connection,
        holder: &str,
        length: Duration,
    ) -> Result<Self, JetStreamError> {
        let bucket = connection.bucket(Bucket::Owners).await?;
        let mut seen: Option<(u64, Instant)> = None;
        loop {
            let asked = Instant::now();
            match bucket.entry(KEY).await {
                Ok(entry) => {
                    let revision = entry.as_ref().map_or(0, |entry| entry.revision);
                    let value = entry.and_then(|entry| decode::<Value>(&entry.value).ok());
                    let since = match seen {
                        Some((known, since)) if known == revision => since,
                        Some(_) | None => asked,
                    };
                    seen = Some((revision, since));
                    let free = value.as_ref().is_none_or(|value| value.released);
                    if free || since.elapsed() > length {
                        let epoch = value.map_or(1, |value| value.epoch + 1);
                        let taken = Self::put(&bucket, holder, epoch, false, revision).await;
                        if let Ok(revision) = taken {
                            tracing::info!(holder, epoch, "this orchestrator is active");
                            let (holder, renewed) = (holder.to_owned(), asked);
                            let validity = Validity::new(renewed + length * 3 / 4);
                            return Ok(Self { bucket, holder, epoch, revision, length, renewed, validity });
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "the lease cannot be read; trying again"),
            }
            tokio::time::sleep(length / LOOKS_PER_LEASE).await;
        }
    }

    /// Until when the holder may act.
    pub(crate) fn validity(&self) -> Validity {
        self.validity.clone()
    }

    /// Renews the lease until it is lost; returns then.
    pub(crate) async fn keep(&mut self) {
        self.renew().await;
        self.validity.end();
    }

    async fn renew(&mut self) {
        let mut wait = self.length / RENEWALS_PER_LEASE;
        loop {
            tokio::time::sleep(wait).await;
            wait = self.length / RENEWALS_PER_LEASE;
            let asked = Instant::now();
            match Self::put(&self.bucket, &self.holder, self.epoch, false, self.revision).await {
                Ok(revision) => {
                    self.revision = revision;
                    self.renewed = asked;
                    if !self.validity.extend(asked + self.length * 3 / 4) {
                        tracing::warn!("the lease was renewed too late");
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(error, "the lease could not be renewed");
                    if self.lost().await {
                        return;
                    }
                    // Two failures in a row leave hardly any time.
                    wait = self.length / LOOKS_PER_LEASE;
                }
            }
            // A successor counts from the last renewal that it can have seen, which is no earlier.
            if self.renewed.elapsed() > self.length * 3 / 4 {
                return;
            }
        }
    }

    /// Lets a successor take over at once.
    pub(crate) async fn release(self) {
        let released = Self::put(&self.bucket, &self.holder, self.epoch, true, self.revision).await;
        if let Err(error) = released {
            tracing::warn!(error, "the lease could not be handed over; a successor waits until it expires");
        }
    }

    /// Whether somebody else holds it; a renewal of unknown outcome may also have landed.
    async fn lost(&mut self) -> bool {
        let Ok(Some(entry)) = self.bucket.entry(KEY).await else { return false };
        match decode::<Value>(&entry.value) {
            Ok(value) if value.holder == self.holder && value.epoch == self.epoch => {
                self.revision = entry.revision;
                false
            }
            Ok(_) | Err(_) => true,
        }
    }

    async fn put(
        bucket: &kv::Store,
        holder: &str,
        epoch: u64,
        released: bool,
        revision: u64,
    ) -> Result<u64, String> {
        let body = encode(&Value { v: VERSION, holder: holder.to_owned(), epoch, released });
        bucket.update(KEY, body.into(), revision).await.map_err(|error| error.to_string())
    }
}
