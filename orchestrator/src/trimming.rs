//! Trimming EVENTS of what no partition needs any more. The owner of the first partition does it.

use std::time::{Duration, Instant};

use stepwell_connection::JetStreamError;
use stepwell_shared::subject::Stream;

use crate::checkpoints;
use crate::ground::Ground;

/// How often EVENTS is trimmed. What is done stays for at least so long: workers look there for reports on
/// tasks that a server which was killed gives out again.
const TRIM_EVERY: Duration = Duration::from_secs(30);

/// How many events that are done stay readable, for people who look for them.
const KEEP: u64 = 10_000;

/// When EVENTS was trimmed last, and up to where everything was done then.
pub(crate) struct Trimming {
    last: Instant,
    done_then: u64,
}

impl Trimming {
    pub(crate) fn new() -> Self {
        Self { last: Instant::now(), done_then: 0 }
    }

    /// Trims if it is time to.
    pub(crate) async fn trim(&mut self, ground: &Ground) {
        if self.last.elapsed() < TRIM_EVERY || ground.owned.get(0).is_none() {
            return;
        }
        self.last = Instant::now();
        match trim(ground, self.done_then.saturating_sub(KEEP)).await {
            Ok(done) => self.done_then = done,
            Err(error) => tracing::warn!(%error, "EVENTS could not be trimmed; trying again later"),
        }
    }
}

/// Trims up to `up_to`; returns up to where everything is done now, by all partitions.
async fn trim(ground: &Ground, up_to: u64) -> Result<u64, JetStreamError> {
    let other = |error: String| JetStreamError::Other(error);
    let connection = &ground.connection;
    let all = checkpoints::read_all(connection).await?;
    let done = |partition: u32| all.get(&partition).map_or(0, |checkpoint| checkpoint.sequence);
    if up_to > 0 {
        let name = Stream::Events.name(connection.namespace());
        let stream = connection.jetstream().get_stream_no_info(name).await;
        let stream = stream.map_err(|error| other(error.to_string()))?;
        stream.purge().sequence(up_to).await.map_err(|error| other(error.to_string()))?;
    }
    Ok((0..ground.settings.partitions).map(done).min().unwrap_or(0))
}
