//! The namespace's streams and buckets: there, configured as they must be, replicated, not full.

use std::collections::BTreeMap;

use async_nats::jetstream::stream::{Config, Info, PersistenceMode};
use serde::Deserialize;
use serde_json::{Value, json};
use stepwell_connection::Connection;
use stepwell_connection::provision::{
    Difference, ProvisionError, ProvisionOptions, Settings, differences, layout, settings, stream_info,
};
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::{self, Stream};

use super::report::Report;
use crate::api::Api;
use crate::text;
use crate::times::{millis, span};

/// Share of a stream's limit in use that is worth a warning, in percent.
const FULL_WARNING_PERCENT: u64 = 75;

/// What the verdict on durability needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Streams {
    /// The fewest replicas that one of them has.
    pub(super) replicas: usize,
    /// The most replicas of one of them that are not up to date now.
    pub(super) missing: usize,
}

/// Looks at all of them; `None` when they cannot be seen.
pub(super) async fn check(api: &Api, report: &mut Report) -> Option<(Streams, Settings)> {
    let connection = api.connection();
    let settings = match settings(connection).await {
        Ok(settings) => settings,
        Err(error) => {
            let told = matches!(error, ProvisionError::NotProvisioned { .. });
            let advice = if told { "" } else { "the streams cannot be checked without its settings" };
            report.problem("namespace", error.to_string(), advice);
            return None;
        }
    };
    let shards = match settings.shards.count() {
        1 => String::new(),
        count => format!(", {count} shards"),
    };
    report.ok("namespace", format!("{}, {} partitions{shards}", connection.namespace(), settings.partitions));
    let replicas =
        match stream_info(connection, &Stream::History(Shard::FIRST).name(connection.namespace())).await {
            Ok(Some(history)) => history.config.num_replicas,
            Ok(None) | Err(_) => 1,
        };
    let options = ProvisionOptions { replicas, ..ProvisionOptions::default() };
    let mut seen = Streams { replicas, missing: 0 };
    for wanted in layout(connection.namespace(), &settings, &options) {
        if let Some(info) = one(connection, &wanted, report).await {
            seen.replicas = seen.replicas.min(info.config.num_replicas);
            seen.missing = seen.missing.max(lagging(&info).len());
        }
    }
    rejected(connection, report).await;
    Some((seen, settings))
}

async fn one(connection: &Connection, wanted: &Config, report: &mut Report) -> Option<Info> {
    let name = &wanted.name;
    let info = match stream_info(connection, name).await {
        Ok(Some(info)) => info,
        Ok(None) => {
            let advice = "orchestrators refuse to start when it was there before: restore a backup, or see \
                          \"The orchestrator does not start\" in docs/errors.md";
            report.problem(name, "does not exist", advice);
            return None;
        }
        Err(error) => {
            report.problem(name, error.to_string(), "");
            return None;
        }
    };
    let found = summary(&info);
    let all = differences(wanted, &info.config);
    let text = |fatal: bool| {
        let those = all.iter().filter(|difference| difference.fatal == fatal);
        those.map(Difference::to_string).collect::<Vec<_>>().join("; ")
    };
    let lagging = lagging(&info);
    let limit = u64::try_from(info.config.max_bytes).unwrap_or(0);
    if all.iter().any(|difference| difference.fatal) {
        report.problem(name, format!("{found}; {}", text(true)), "orchestrators refuse to start like this");
    } else if !lagging.is_empty() {
        let found = format!("{found}; not up to date: {}", lagging.join(", "));
        report.warning(name, found, "look after these servers; with one more away the stream stands still");
    } else if limit > 0 && info.state.bytes.saturating_mul(100) / limit >= FULL_WARNING_PERCENT {
        report.warning(name, found, "new work is refused when it is full; start workers or raise max_bytes");
    } else if all.is_empty() {
        report.ok(name, found);
    } else {
        report.warning(name, format!("{found}; {}", text(false)), "streams should have the same replicas");
    }
    report.details(details(&info));
    Some(info)
}

fn summary(info: &Info) -> String {
    let replicas = text::count(info.config.num_replicas.try_into().unwrap_or(u64::MAX), "replica");
    let retention = format!("{:?}", info.config.retention).to_lowercase();
    let messages = text::count(info.state.messages, "message");
    let size = match u64::try_from(info.config.max_bytes) {
        Ok(limit) if limit > 0 => format!("{} of {}", text::bytes(info.state.bytes), text::bytes(limit)),
        Ok(_) | Err(_) => text::bytes(info.state.bytes),
    };
    let persisted = if is_async(info) { "async" } else { "default" };
    let window = span(millis(info.config.duplicate_window));
    format!(
        "{messages}, {size}, {replicas}{}, {retention}, persist_mode {persisted}, duplicates known for {window}",
        place(info)
    )
}

fn is_async(info: &Info) -> bool {
    match info.config.persist_mode {
        None | Some(PersistenceMode::Default) => false,
        Some(PersistenceMode::Async) => true,
    }
}

/// Where it lies, if the servers form a cluster.
fn place(info: &Info) -> String {
    let Some(cluster) = &info.cluster else { return String::new() };
    let Some(name) = &cluster.name else { return String::new() };
    let leader = cluster.leader.as_deref().unwrap_or("nobody");
    format!(" in {} led by {}", text::cut(name, 40), text::cut(leader, 40))
}

fn details(info: &Info) -> Value {
    let cluster = info.cluster.as_ref();
    let peers = cluster.iter().flat_map(|cluster| &cluster.replicas);
    let peers: Vec<Value> = peers
        .map(|peer| json!({ "name": peer.name, "current": peer.current, "offline": peer.offline, "lag": peer.lag }))
        .collect();
    json!({
        "messages": info.state.messages,
        "bytes": info.state.bytes,
        "max_bytes": info.config.max_bytes,
        "first_sequence": info.state.first_sequence,
        "last_sequence": info.state.last_sequence,
        "replicas": info.config.num_replicas,
        "cluster": cluster.and_then(|cluster| cluster.name.clone()),
        "leader": cluster.and_then(|cluster| cluster.leader.clone()),
        "peers": peers,
        "duplicate_window_ms": millis(info.config.duplicate_window),
        "persist_mode": if is_async(info) { "async" } else { "default" },
        "consumers": info.state.consumer_count,
    })
}

fn lagging(info: &Info) -> Vec<String> {
    let peers = info.cluster.iter().flat_map(|cluster| &cluster.replicas);
    peers.filter(|peer| peer.offline || !peer.current).map(|peer| peer.name.clone()).collect()
}

#[derive(Deserialize)]
struct RejectedInfo {
    state: RejectedState,
}

#[derive(Deserialize)]
struct RejectedState {
    #[serde(default)]
    subjects: Option<BTreeMap<String, u64>>,
}

/// What was set aside, by reason. Requests that came too late or twice are an ordinary thing; messages
/// that cannot be read are not.
async fn rejected(connection: &Connection, report: &mut Report) {
    let name = Stream::Rejected.name(connection.namespace());
    let filter = json!({ "subjects_filter": subject::all_rejected(connection.namespace()) });
    let info: Result<RejectedInfo, _> = connection.api(format!("STREAM.INFO.{name}"), &filter).await;
    let Ok(info) = info else { return };
    let by_subject = info.state.subjects.unwrap_or_default();
    if by_subject.is_empty() {
        return report.ok("rejected", "nothing was set aside");
    }
    let code_of = |subject: &str| subject.rsplit('.').next().unwrap_or_default().to_owned();
    let by_code: Vec<(String, u64)> =
        by_subject.iter().map(|(subject, count)| (code_of(subject), *count)).collect();
    let counts: Vec<String> = by_code.iter().map(|(code, count)| format!("{count} {code}")).collect();
    let found = format!("set aside in the last 7 days: {}", counts.join(", "));
    let advice = "`stepwell rejected list` shows them with the reasons";
    if by_code.iter().all(|(code, _)| ORDINARY_REJECTIONS.iter().any(|one| one.name() == code)) {
        report.note("rejected", found, advice);
    } else {
        report.warning("rejected", found, advice);
    }
}

/// Reasons that need nobody's attention: whoever sent the message was told.
const ORDINARY_REJECTIONS: [ErrorCode; 5] = [
    ErrorCode::AlreadyOpen,
    ErrorCode::AlreadyClosed,
    ErrorCode::NotFound,
    ErrorCode::NotStuck,
    ErrorCode::AttemptOver,
];
