//! Looks now and then at the streams of the namespace: somebody may change one, or remove it, while everything runs.
//! An orchestrator would refuse to start with it as it is then; one that runs goes on, says so loudly, and counts.

use std::time::Duration;

use stepwell_connection::provision::wrong_streams;

use crate::ground::Ground;

/// How often they are looked at; a short request for each.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Looks until it is aborted.
pub(crate) async fn watch(ground: Ground) {
    let mut known = Vec::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let wrong = match wrong_streams(&ground.connection, &ground.settings).await {
            Ok(wrong) => wrong,
            Err(error) => {
                tracing::debug!(%error, "the streams could not be looked at; trying again later");
                continue;
            }
        };
        ground.metrics.streams_wrong.set(i64::try_from(wrong.len()).unwrap_or(i64::MAX));
        if wrong == known {
            continue;
        }
        for (stream, what) in &wrong {
            tracing::error!(
                stream,
                what,
                "a stream is not as it must be; work may be lost until it is as it was"
            );
        }
        if wrong.is_empty() {
            tracing::info!("the streams are as they must be again");
        }
        known = wrong;
    }
}
