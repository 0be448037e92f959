//! What nats-server tells over its monitoring port and not over NATS: how often it syncs its files to disk, and how
//! much it may store. Only asked when the command line names an address.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::report::Report;
use super::server::STORAGE_WARNING_PERCENT;
use crate::text;
use crate::times::{millis, span};

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Longest answer that is read. Without accounts and streams it has about a thousand bytes.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// When written data reaches the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sync {
    /// Before it is acknowledged.
    Always,
    /// Every so often.
    Every(Duration),
    /// It was not to be found out.
    Unknown,
}

/// Asks every server of `urls`; returns the worst that one of them says.
pub(super) async fn check(urls: &[String], report: &mut Report) -> Sync {
    if urls.is_empty() {
        report.note(
            "sync interval",
            "unknown: it is not visible to clients; nats-server's default is two minutes",
            "name the monitoring port of each server to look at it: --monitor http://HOST:8222",
        );
        return Sync::Unknown;
    }
    let mut worst = Sync::Always;
    for url in urls {
        let sync = match ask(url).await {
            Ok(answer) => tell(url, &answer, report),
            Err(reason) => {
                report.warning(&format!("monitor {url}"), format!("cannot be asked: {reason}"), "");
                Sync::Unknown
            }
        };
        worst = worst.max(sync);
    }
    worst
}

#[derive(Debug, Deserialize)]
struct Jsz {
    #[serde(default)]
    config: Config,
    #[serde(default)]
    storage: u64,
    #[serde(default)]
    reserved_storage: u64,
}

#[derive(Debug, Default, Deserialize)]
struct Config {
    #[serde(default)]
    max_storage: i64,
    /// Nanoseconds.
    #[serde(default)]
    sync_interval: u64,
    #[serde(default)]
    sync_always: bool,
}

async fn ask(url: &str) -> Result<Jsz, String> {
    // Fails only when one is installed already, by the NATS client for example: then that one is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let text = |error: reqwest::Error| error.without_url().to_string();
    let client = reqwest::Client::builder().timeout(TIMEOUT).build().map_err(text)?;
    let mut answer = client.get(format!("{}/jsz", url.trim_end_matches('/'))).send().await.map_err(text)?;
    if !answer.status().is_success() {
        return Err(format!("it answers {}", answer.status()));
    }
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(text)? {
        if body.len() + part.len() > MAX_ANSWER_BYTES {
            return Err(format!("it answers with more than {MAX_ANSWER_BYTES} bytes"));
        }
        body.extend_from_slice(&part);
    }
    serde_json::from_slice(&body).map_err(|error| format!("this is no nats-server's /jsz: {error}"))
}

fn tell(url: &str, answer: &Jsz, report: &mut Report) -> Sync {
    let Jsz { config, storage, reserved_storage } = answer;
    let name = format!("storage of {url}");
    let most = u64::try_from(config.max_storage).unwrap_or(0);
    let found = format!(
        "{} of {} in use, {} reserved",
        text::bytes(*storage),
        text::bytes(most),
        text::bytes(*reserved_storage)
    );
    if most > 0 && storage.saturating_mul(100) / most >= STORAGE_WARNING_PERCENT {
        report.warning(&name, found, "new work is refused when it is full; raise max_file or make room");
    } else {
        report.ok(&name, found);
    }
    report.details(json!({ "used": storage, "reserved": reserved_storage, "max_file": config.max_storage }));
    let name = format!("sync of {url}");
    let interval = Duration::from_nanos(config.sync_interval);
    let sync = if config.sync_always {
        report.ok(&name, "always: every write is synced to disk before it is acknowledged");
        Sync::Always
    } else if interval.is_zero() {
        report.note(&name, "unknown: the server does not say", "");
        Sync::Unknown
    } else {
        let found = format!("every {}", span(millis(interval)));
        report.note(&name, found, "see below what that means in a power cut");
        Sync::Every(interval)
    };
    report.details(json!({ "sync_always": config.sync_always, "sync_interval_ns": config.sync_interval }));
    sync
}
