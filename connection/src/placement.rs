//! Asking a cluster that has just started, or lost its leader. There is none for a moment; the next one has not heard of
//! every server yet, and finds no place for a new stream. A moment later it does.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::connection::{Connection, JetStreamError};

/// "no suitable peers for placement": also what a cluster says that has too few servers, or no room.
const NO_PLACE: u64 = 10005;

/// "JetStream system temporarily unavailable": the cluster has no leader.
pub(crate) const NO_LEADER: u64 = 10008;

/// Longest wait for a leader, and for a place. Servers tell of themselves every few seconds, and sooner when they have just started.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pause between two tries.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Sends a request of the JetStream API; again, while the cluster has no leader, or no place for a new stream.
pub(crate) async fn ask<T: DeserializeOwned>(
    connection: &Connection,
    verb: String,
    body: &impl Serialize,
) -> Result<T, JetStreamError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match connection.api(verb.clone(), body).await {
            Err(JetStreamError::Refused { err_code: NO_PLACE | NO_LEADER, .. })
                if Instant::now() < deadline =>
            {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            answer => return answer,
        }
    }
}
