//! The time that timers are due at and that people see. Never used to judge a lease.
//!
//! A wall clock may be set while a process runs, and two machines may disagree. So the process goes by its own
//! monotonic clock, begun at the wall clock's time, and compares it now and then with the wall clock and with
//! the server's: it moves only where **both** say so. One clock that jumps, by an hour or a day, moves nothing.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::Stream;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::connection::{Connection, JetStreamError};

/// How often the clocks are compared.
const COMPARE_EVERY: Duration = Duration::from_secs(10);

/// Smaller differences are those of the way to the server, and of clocks that are well kept.
const TOLERATED_MS: u64 = 50;

/// From such a difference between the wall clock and the server's on it is worth a word.
const NOTEWORTHY_MS: u64 = 2_000;

struct Clock {
    began: Instant,
    /// What the time was when the clock began, as it is believed now.
    base_ms: AtomicU64,
    /// How far the server's clock is ahead of the wall clock, as it was seen last.
    server_ahead_ms: AtomicI64,
    compared: AtomicBool,
}

static CLOCK: LazyLock<Clock> = LazyLock::new(|| Clock {
    began: Instant::now(),
    base_ms: AtomicU64::new(wall_ms()),
    server_ahead_ms: AtomicI64::new(0),
    compared: AtomicBool::new(false),
});

/// Milliseconds since 1970. Goes backwards only when both clocks say that it was wrong before.
#[must_use]
pub fn now_ms() -> u64 {
    CLOCK.base_ms.load(Ordering::Relaxed).saturating_add(elapsed_ms())
}

/// How far the server's clock is ahead of this machine's wall clock, in milliseconds, as it was seen last;
/// negative when it is behind, 0 before they were compared.
#[must_use]
pub fn server_ahead_ms() -> i64 {
    CLOCK.server_ahead_ms.load(Ordering::Relaxed)
}

/// Compares the clocks again and again, until it is dropped.
pub async fn keep(connection: Connection) {
    let mut noted = false;
    loop {
        tokio::time::sleep(COMPARE_EVERY).await;
        match compare(&connection).await {
            Ok(()) => {
                let apart_ms = server_ahead_ms();
                let apart = apart_ms.unsigned_abs() > NOTEWORTHY_MS;
                if apart && !noted {
                    tracing::warn!(
                        server_ahead_ms = apart_ms,
                        "this machine's clock and the NATS server's differ"
                    );
                }
                noted = apart;
            }
            Err(error) => tracing::debug!(%error, "the server could not be asked for the time"),
        }
    }
}

/// Compares the clocks once. To be done before anything else, so that a process does not begin with a wall
/// clock that is wrong.
///
/// # Errors
/// When the server does not say what time it is.
pub async fn compare(connection: &Connection) -> Result<(), JetStreamError> {
    #[derive(Deserialize)]
    struct Info {
        ts: String,
    }
    let name = Stream::Tasks(Shard::FIRST).name(connection.namespace());
    let asked = Instant::now();
    let info: Info = connection.api(format!("STREAM.INFO.{name}"), &()).await?;
    let way = asked.elapsed() / 2;
    let server = OffsetDateTime::parse(&info.ts, &Rfc3339);
    let server =
        server.map_err(|error| JetStreamError::Other(format!("its time cannot be read: {error}")))?;
    let server_ms = u64::try_from(server.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
    let (server_ms, wall_ms) = (server_ms.saturating_add(ms(way)), wall_ms());
    let ahead = i128::from(server_ms) - i128::from(wall_ms);
    CLOCK.server_ahead_ms.store(i64::try_from(ahead).unwrap_or(i64::MAX), Ordering::Relaxed);
    let corrected_ms = if CLOCK.compared.swap(true, Ordering::Relaxed) {
        corrected(now_ms(), server_ms, wall_ms)
    } else {
        first(server_ms, wall_ms)
    };
    CLOCK.base_ms.store(corrected_ms.saturating_sub(elapsed_ms()), Ordering::Relaxed);
    Ok(())
}

/// What the time is for a process that begins: the server's, so that all processes have the same; the earlier
/// one where they are far apart, because nothing may be done too early.
fn first(server: u64, wall: u64) -> u64 {
    if server.abs_diff(wall) <= NOTEWORTHY_MS { server } else { server.min(wall) }
}

/// What the time is, when the process's own clock says `own`: that, unless both others are later or both are
/// earlier; then the one that is nearer.
fn corrected(own: u64, server: u64, wall: u64) -> u64 {
    let (least, most) = (server.min(wall), server.max(wall));
    if own.saturating_add(TOLERATED_MS) < least {
        least
    } else if own > most.saturating_add(TOLERATED_MS) {
        most
    } else {
        own
    }
}

fn elapsed_ms() -> u64 {
    ms(CLOCK.began.elapsed())
}

fn wall_ms() -> u64 {
    ms(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn one_clock_that_jumps_moves_nothing() {
        let own = 100 * HOUR;
        for jumped in [0, own - 24 * HOUR, own - HOUR, own + HOUR, own + 24 * HOUR] {
            assert_eq!(corrected(own, jumped, own), own);
            assert_eq!(corrected(own, own, jumped), own);
        }
        assert_eq!(corrected(own, own + HOUR, own - HOUR), own, "they contradict each other");
    }

    #[test]
    fn where_both_agree_they_are_followed() {
        let own = 100 * HOUR;
        // The machine slept, or the clock had begun wrong.
        assert_eq!(corrected(own, own + HOUR, own + HOUR + 7), own + HOUR);
        assert_eq!(corrected(own, own - HOUR, own - HOUR - 7), own - HOUR);
        // The way to the server is no reason to move.
        assert_eq!(corrected(own, own + TOLERATED_MS, own + TOLERATED_MS), own);
        assert_eq!(corrected(own, own - TOLERATED_MS, own - TOLERATED_MS), own);
    }

    #[test]
    fn a_process_begins_with_the_servers_time_and_never_early() {
        let server = 100 * HOUR;
        assert_eq!(first(server, server + 1_000), server);
        assert_eq!(first(server, server - 1_000), server);
        assert_eq!(first(server, server + HOUR), server);
        assert_eq!(first(server, server - HOUR), server - HOUR);
    }

    #[test]
    fn it_begins_with_the_wall_clock() {
        assert!(now_ms().abs_diff(wall_ms()) < 1_000);
    }
}
