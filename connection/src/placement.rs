//! Asking a cluster for a new stream. Just after its start the leader has not heard of every server yet, and
//! finds no place for one; a moment later it does.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::connection::{Connection, JetStreamError};

/// "no suitable peers for placement": also what a cluster says that has too few servers, or no room.
const NO_PLACE: u64 = 10005;

/// Longest wait for a place. Servers tell of themselves every few seconds, and sooner when they have just started.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pause between two tries.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Sends a request of the JetStream API that makes a stream; again, while the cluster has no place for it.
pub(crate) async fn make<T: DeserializeOwned>(
    connection: &Connection,
    verb: String,
    body: &impl Serialize,
) -> Result<T, JetStreamError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match connection.api(verb.clone(), body).await {
            Err(JetStreamError::Refused { err_code: NO_PLACE, .. }) if Instant::now() < deadline => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            made => return made,
        }
    }
}
