//! The hold: a key in the bucket `owners` that makes all orchestrators give their partitions back for as long as it
//! is written again and again. Whoever dies with it lets it run out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use stepwell_connection::owners::{self, Source};
use stepwell_connection::provision::Settings;
use stepwell_connection::{Connection, PublishError};
use stepwell_shared::encoding::{VERSION, encode};
use stepwell_shared::headers::EXPECTED_LAST_SUBJECT_SEQUENCE;
use stepwell_shared::ownership::Hold;
use stepwell_shared::subject::{Bucket, HOLD_KEY};
use tokio::task::JoinHandle;

use crate::exit::{Exit, Failure};

/// How often the hold is renewed, as a share of the lease. Orchestrators want it once a second at least.
const RENEWALS_PER_LEASE: u32 = 6;

/// The longest time between two renewals.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A hold that is renewed until it is released or dropped.
pub(crate) struct Holding {
    connection: Connection,
    renewals: JoinHandle<()>,
    shared: Arc<Mutex<Renewed>>,
    lease: Duration,
}

/// How the renewals go.
struct Renewed {
    revision: u64,
    at: Instant,
    lost: Option<String>,
}

impl Holding {
    /// Takes the hold. One that somebody else renews is left to them.
    pub(crate) async fn take(
        connection: &Connection,
        settings: &Settings,
        lease: Duration,
        reason: &str,
    ) -> Result<Self, Failure> {
        let expected = free(connection, settings, lease).await?;
        let hold = Hold { v: VERSION, reason: reason.to_owned(), beat: 0 };
        let at = Instant::now();
        let revision = write(connection, &hold, expected).await.map_err(|error| match error {
            PublishError::WrongLastSequence => {
                Failure::new(Exit::Conflict, "somebody else took the hold at the same moment; try again")
            }
            PublishError::StorageFull { .. }
            | PublishError::Refused { .. }
            | PublishError::NoResponders
            | PublishError::UnknownOutcome
            | PublishError::Closed => {
                Failure::new(Exit::Failure, format!("the orchestrators cannot be held: {error}"))
            }
        })?;
        let shared = Arc::new(Mutex::new(Renewed { revision, at, lost: None }));
        let renewals = tokio::spawn(renew(connection.clone(), hold, Arc::clone(&shared), lease));
        Ok(Self { connection: connection.clone(), renewals, shared, lease })
    }

    /// Whether it has held without a gap until now.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let renewed = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = match &renewed.lost {
            Some(reason) => reason.clone(),
            None if renewed.at.elapsed() > self.lease => "it could not be renewed in time".to_owned(),
            None => return Ok(()),
        };
        let text =
            format!("the hold was lost: {lost}; the orchestrators may have gone on, so this is no backup");
        Err(Failure::new(Exit::Failure, text))
    }

    /// Lets the orchestrators go on at once.
    pub(crate) async fn release(self) {
        self.renewals.abort();
        let revision = self.shared.lock().unwrap_or_else(PoisonError::into_inner).revision;
        if let Err(error) = remove(&self.connection, revision).await {
            eprintln!("the hold could not be removed, it runs out within a lease time: {error}");
        }
        let changed = stepwell_shared::subject::owners_changed(self.connection.namespace());
        let _ = self.connection.client().publish(changed, bytes::Bytes::new()).await;
        let _ = self.connection.client().flush().await;
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.renewals.abort();
    }
}

/// The revision of a hold that nobody renews; 0 when there is none.
async fn free(connection: &Connection, settings: &Settings, lease: Duration) -> Result<u64, Failure> {
    let look = async || owners::read(connection, settings.partitions, Source::Leader).await;
    let failed = |error| Failure::new(Exit::Failure, format!("the bucket owners cannot be read: {error}"));
    let Some(first) = look().await.map_err(failed)?.hold else { return Ok(0) };
    let until = Instant::now() + lease;
    while Instant::now() < until {
        tokio::time::sleep(lease / RENEWALS_PER_LEASE).await;
        match look().await.map_err(failed)?.hold {
            None => return Ok(0),
            Some(seen) if seen.revision == first.revision => {}
            Some(seen) => {
                let reason = seen.value.map_or_else(|| "of unknown reason".to_owned(), |hold| hold.reason);
                let text = format!("somebody else holds the orchestrators ({reason}); wait for its end");
                return Err(Failure::new(Exit::Conflict, text));
            }
        }
    }
    Ok(first.revision)
}

async fn renew(connection: Connection, mut hold: Hold, shared: Arc<Mutex<Renewed>>, lease: Duration) {
    let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        tokio::time::sleep((lease / RENEWALS_PER_LEASE).min(LONGEST_PAUSE)).await;
        let expected = lock().revision;
        let at = Instant::now();
        hold.beat += 1;
        match write(&connection, &hold, expected).await {
            Ok(revision) => {
                let mut renewed = lock();
                if at.duration_since(renewed.at) > lease {
                    renewed.lost = Some("it could not be renewed in time".to_owned());
                }
                (renewed.revision, renewed.at) = (revision, at);
            }
            Err(error) => {
                // It may have been stored after all; then the next one would be refused. Nothing is worth that.
                lock().lost = Some(error.to_string());
                return;
            }
        }
    }
}

async fn write(connection: &Connection, hold: &Hold, expected: u64) -> Result<u64, PublishError> {
    let subject = Bucket::Owners.subject(connection.namespace(), HOLD_KEY);
    let mut headers = HeaderMap::new();
    headers.insert(EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
    let sent = connection.publisher().publish(subject, Some(headers), encode(hold).into()).await?;
    Ok(sent.await?.sequence)
}

/// Removes a key of the bucket without a trace, unless it was written again after `revision`.
async fn remove(connection: &Connection, revision: u64) -> Result<(), String> {
    let name = Bucket::Owners.stream_name(connection.namespace());
    let stream = connection.jetstream().get_stream_no_info(name).await.map_err(|error| error.to_string())?;
    let subject = Bucket::Owners.subject(connection.namespace(), HOLD_KEY);
    let purged = stream.purge().filter(subject).sequence(revision + 1).await;
    purged.map(|_| ()).map_err(|error| error.to_string())
}
