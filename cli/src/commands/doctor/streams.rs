//! The namespace's streams and buckets: there, configured as they must be, replicated, not full.

use std::collections::BTreeMap;

use async_nats::jetstream::stream::{Config, Info};
use serde::Deserialize;
use serde_json::json;
use stepwell_connection::Connection;
use stepwell_connection::provision::{
    Difference, ProvisionError, ProvisionOptions, differences, layout, settings, stream_info,
};
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::subject::{self, Stream};

use super::report::Report;
use crate::api::Api;
use crate::text;

/// Share of a stream's limit in use that is worth a warning, in percent.
const FULL_WARNING_PERCENT: u64 = 75;

/// What the verdict on durability needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Streams {
    /// The fewest replicas that one of them has.
    pub(super) replicas: usize,
}

/// Looks at all of them; `None` when they cannot be seen.
pub(super) async fn check(api: &Api, report: &mut Report) -> Option<Streams> {
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
    report.ok("namespace", format!("{}, {} partitions", connection.namespace(), settings.partitions));
    let replicas = match stream_info(connection, &Stream::History.name(connection.namespace())).await {
        Ok(Some(history)) => history.config.num_replicas,
        Ok(None) | Err(_) => 1,
    };
    let options = ProvisionOptions { replicas, ..ProvisionOptions::default() };
    let mut fewest = replicas;
    for wanted in layout(connection.namespace(), &settings, &options) {
        if let Some(info) = one(connection, &wanted, report).await {
            fewest = fewest.min(info.config.num_replicas);
        }
    }
    rejected(connection, report).await;
    Some(Streams { replicas: fewest })
}

async fn one(connection: &Connection, wanted: &Config, report: &mut Report) -> Option<Info> {
    let name = &wanted.name;
    let info = match stream_info(connection, name).await {
        Ok(Some(info)) => info,
        Ok(None) => {
            report.problem(name, "does not exist", "an orchestrator creates it when it starts");
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
        let found = format!("{found} of {}", bytes(limit));
        report.warning(name, found, "new work is refused when it is full; start workers or raise max_bytes");
    } else if all.is_empty() {
        report.ok(name, found);
    } else {
        report.warning(name, format!("{found}; {}", text(false)), "streams should have the same replicas");
    }
    Some(info)
}

fn summary(info: &Info) -> String {
    let replicas = text::count(info.config.num_replicas.try_into().unwrap_or(u64::MAX), "replica");
    let retention = format!("{:?}", info.config.retention).to_lowercase();
    let messages = text::count(info.state.messages, "message");
    format!("{messages}, {}, {replicas}, {retention}", bytes(info.state.bytes))
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

/// A size for people.
pub(super) fn bytes(size: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if size < 1024 {
        return format!("{size} B");
    }
    let mut tenths = size.saturating_mul(10) / 1024;
    let mut unit = 0;
    while tenths >= 10 * 1024 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_for_people() {
        let cases = [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_536, "1.5 KiB"),
            (10 << 30, "10.0 GiB"),
            (5 << 50, "5120.0 TiB"),
        ];
        for (size, text) in cases {
            assert_eq!(bytes(size), text);
        }
    }
}
