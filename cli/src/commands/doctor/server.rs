//! The NATS server: version, JetStream, storage, clock.

use std::time::{Instant, SystemTime};

use serde::Deserialize;
use stepwell_connection::provision::check_server;
use stepwell_connection::{Connection, ConnectionOptions};
use stepwell_shared::subject::Stream;

use super::report::Report;
use crate::api::Api;
use crate::text;
use crate::times::{millis, span};

/// From here on correctness fixes of clustered JetStream are in that older versions lack.
const RECOMMENDED: (i64, i64, i64) = (2, 14, 6);

/// Share of the storage in use that is worth a warning, in percent.
pub(super) const STORAGE_WARNING_PERCENT: u64 = 75;

/// Difference between two clocks that is worth a warning, in milliseconds. Timers fire by the
/// orchestrator's clock.
const CLOCK_WARNING_MS: u64 = 1_000;

pub(super) async fn check(api: &Api, options: &ConnectionOptions, report: &mut Report) {
    let connection = api.connection();
    let info = connection.client().server_info();
    let found = format!("nats-server {} at {}", info.version, options.display_url());
    if let Err(error) = check_server(connection).await {
        return report.problem("server", found, &error.to_string());
    }
    let (major, minor, patch) = RECOMMENDED;
    if connection.client().is_server_compatible(major, minor, patch) {
        report.ok("server", found);
    } else {
        report.note("server", found, "it works; 2.14.6 and newer have fixes for replicated streams");
    }
    storage(connection, report).await;
    clock(connection, report).await;
}

#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    storage: u64,
    #[serde(default)]
    limits: Limits,
}

#[derive(Deserialize, Default)]
struct Limits {
    #[serde(default)]
    max_storage: i64,
}

async fn storage(connection: &Connection, report: &mut Report) {
    let account: Account = match connection.api("INFO".into(), &()).await {
        Ok(account) => account,
        Err(error) => return report.warning("storage", format!("not known: {error}"), ""),
    };
    let used = text::bytes(account.storage);
    match u64::try_from(account.limits.max_storage) {
        Ok(limit) if limit > 0 => {
            let found = format!("{used} of {} in use", text::bytes(limit));
            if account.storage.saturating_mul(100) / limit >= STORAGE_WARNING_PERCENT {
                report.warning(
                    "storage",
                    found,
                    "new work is refused when it is full; raise the account's limit",
                );
            } else {
                report.ok("storage", found);
            }
        }
        Ok(_) | Err(_) => report.ok("storage", format!("{used} in use, no limit for this account")),
    }
}

#[derive(Deserialize)]
struct WithTime {
    ts: Option<String>,
}

/// Compares this machine's clock with the server's, by the time stamp in an answer.
async fn clock(connection: &Connection, report: &mut Report) {
    let name = Stream::Events.name(connection.namespace());
    let (asked, began) = (SystemTime::now(), Instant::now());
    let answer = connection.api::<WithTime>(format!("STREAM.INFO.{name}"), &()).await;
    let round_trip = began.elapsed();
    let server = answer.ok().and_then(|answer| humantime::parse_rfc3339(&answer.ts?).ok());
    let Some(server) = server else { return };
    // The server looked at its clock somewhere between the question and the answer.
    let here = asked + round_trip / 2;
    let apart = here.duration_since(server).unwrap_or_else(|error| error.duration());
    let apart = millis(apart.saturating_sub(round_trip / 2));
    if apart >= CLOCK_WARNING_MS {
        let found = format!("this machine and the NATS server are {} apart", span(apart));
        report.warning("clock", found, "timers fire by the orchestrator's clock; let NTP set the clocks");
    } else {
        report.ok("clock", "agrees with the NATS server's");
    }
}
