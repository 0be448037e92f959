//! Waiting until everything has come to rest after the faults, and what is written down when it does not.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;
use stepwell::Client;
use stepwell_connection::Connection;
use stepwell_connection::page::read_page;
use stepwell_shared::encoding::decode;
use stepwell_shared::subject::{self, Bucket, Stream, parse_timer_key};
use stepwell_shared::summary::RunSummary;

use super::book::Book;
use super::faults::{Fault, Kind};
use super::fleet::Fleet;

/// How often it is looked whether everything has come to rest.
const LOOK: Duration = Duration::from_millis(200);

/// Longest wait for one answer while somebody looks at what has stalled.
const ANSWER: Duration = Duration::from_secs(5);

/// Longest wait for a replica that has not everything yet.
const REPLICA_WAIT: Duration = Duration::from_secs(60);

/// Runs that are described when something has stalled.
const MOST_DESCRIBED: usize = 20;

/// How long the marker stays that says that a key of the timers was removed; see [`came_back`].
const MARKER_MS: u64 = 60_000;

/// How much of the end of each log is kept then.
const LOG_TAIL_BYTES: usize = 6_000;

/// Waits until every workflow is closed and nothing is left to be done; what is not, when it takes too long.
pub(crate) async fn come_to_rest(
    client: &Client,
    book: &Book,
    fleet: &mut Fleet,
    partitions: u32,
    faults: &[Fault],
    bound: Duration,
) -> Result<Duration, String> {
    let began = Instant::now();
    loop {
        fleet.tend();
        let restless = restless(client, book, partitions, faults).await;
        let Some(restless) = restless else { return Ok(began.elapsed()) };
        if began.elapsed() > bound {
            return Err(format!("not at rest after {bound:?}: {restless}"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What is still to be done.
async fn restless(client: &Client, book: &Book, partitions: u32, faults: &[Fault]) -> Option<String> {
    let unfinished = book.unfinished();
    if !unfinished.is_empty() {
        let some = unfinished.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        return Some(format!("{} workflows are not closed: {some}", unfinished.len()));
    }
    if let Some(sent) = book.open().signals.iter().find(|sent| !sent.settled) {
        return Some(format!("a signal to {} is not stored", sent.workflow_id));
    }
    match left_over(client, partitions, faults).await {
        Ok(left) => left,
        Err(error) => Some(error),
    }
}

/// What lies on the streams though every workflow is closed.
async fn left_over(client: &Client, partitions: u32, faults: &[Fault]) -> Result<Option<String>, String> {
    let connection = client.connection();
    let namespace = connection.namespace();
    for shard in connection.shards().await.map_err(|error| error.to_string())?.all() {
        let name = Stream::Tasks(shard).name(namespace);
        let tasks = info(connection, &format!("STREAM.INFO.{name}")).await?;
        let tasks = tasks["state"]["messages"].as_u64().unwrap_or(u64::MAX);
        if tasks > 0 {
            return Ok(Some(format!("{tasks} tasks are left on {name}")));
        }
    }
    let (left, _) = timers(client, faults).await?;
    if let Some(key) = left.first() {
        return Ok(Some(format!("{} timers are left, such as {key}", left.len())));
    }
    not_taken_in(client, partitions).await
}

/// What JetStream says of something.
async fn info(connection: &Connection, verb: &str) -> Result<Value, String> {
    let info = connection.api::<Value>(verb.to_owned(), &()).await;
    info.map_err(|error| format!("{verb} cannot be asked: {error}"))
}

/// The keys of timers that are there: those that should not be, and those of which the server had forgotten that
/// they were removed.
pub(crate) async fn timers(client: &Client, faults: &[Fault]) -> Result<(Vec<String>, Vec<String>), String> {
    let connection = client.connection();
    let bucket = connection.bucket(Bucket::Timers).await.map_err(|error| error.to_string())?;
    let state = connection.bucket(Bucket::State).await.map_err(|error| error.to_string())?;
    let keys = bucket.keys().await.map_err(|error| error.to_string())?;
    let keys: Vec<Result<String, _>> = futures_util::StreamExt::collect(keys).await;
    let (mut left, mut back) = (Vec::new(), Vec::new());
    for key in keys {
        let key = key.map_err(|error| error.to_string())?;
        let mut closed_at_ms = None;
        if let Some((_, id)) = parse_timer_key(&key) {
            let value = state.get(subject::state_key(&id)).await.map_err(|error| error.to_string())?;
            let summary = value.and_then(|value| decode::<RunSummary>(&value).ok());
            closed_at_ms = summary.and_then(|summary| summary.closed_at_ms);
        }
        if came_back(closed_at_ms, faults) { back.push(key) } else { left.push(key) }
    }
    Ok((left, back))
}

/// Whether a key may be there only because a server was killed: what was purged with a marker that has a time to
/// live is there again when the server is killed after the marker has gone (seen with 2.12.8 and 2.15.1). Such a
/// timer wakes its closed run in vain once.
fn came_back(closed_at_ms: Option<u64>, faults: &[Fault]) -> bool {
    let last = faults.iter().filter(|fault| kills_servers(fault.kind)).map(|fault| fault.to_ms).max();
    closed_at_ms.is_some_and(|closed| last.is_some_and(|last| last >= closed + MARKER_MS))
}

fn kills_servers(kind: Kind) -> bool {
    match kind {
        Kind::ServerKilled | Kind::LeaderKilled | Kind::AllServersKilled => true,
        Kind::OrchestratorKilled
        | Kind::WorkerKilled
        | Kind::OrchestratorPaused
        | Kind::WorkerPaused
        | Kind::ServerPaused
        | Kind::OrchestratorParted
        | Kind::WorkerParted
        | Kind::NodeParted
        | Kind::ConsumerDeleted
        | Kind::OrchestratorRestarted
        | Kind::WorkerRestarted
        | Kind::FleetResized => false,
    }
}

#[derive(Deserialize)]
struct Checkpoint {
    sequence: u64,
}

/// Events that no checkpoint covers.
async fn not_taken_in(client: &Client, partitions: u32) -> Result<Option<String>, String> {
    let connection = client.connection();
    let owners = connection.bucket(Bucket::Owners).await.map_err(|error| error.to_string())?;
    for partition in 0..partitions {
        let subject = format!("stepwell.{}.event.{partition}.>", connection.namespace());
        let last = last_sequence(client, &subject).await?;
        let value = owners.get(format!("checkpoint.{partition}")).await.map_err(|error| error.to_string())?;
        let done = value.and_then(|value| decode::<Checkpoint>(&value).ok()).map_or(0, |it| it.sequence);
        if done < last {
            return Ok(Some(format!("partition {partition}: event {last} is stored, {done} is done")));
        }
    }
    Ok(None)
}

async fn last_sequence(client: &Client, subject: &str) -> Result<u64, String> {
    let connection = client.connection();
    let stream = Stream::Events.name(connection.namespace());
    let body = serde_json::json!({ "last_by_subj": subject });
    match connection.api::<Value>(format!("STREAM.MSG.GET.{stream}"), &body).await {
        Ok(answer) => Ok(answer["message"]["seq"].as_u64().unwrap_or(u64::MAX)),
        Err(error) if error.not_found() => Ok(0),
        Err(error) => Err(format!("EVENTS cannot be read: {error}")),
    }
}

/// All messages of a stream, of which `subject` fits every one, with their subjects. Any replica may answer, so it
/// is asked again until everything has come that the leader knows of.
pub(crate) async fn all_messages(
    client: &Client,
    stream: Stream,
    subject: &str,
) -> Result<Vec<(String, u64, Vec<u8>)>, String> {
    let connection = client.connection();
    let verb = format!("STREAM.INFO.{}", stream.name(connection.namespace()));
    let info = connection.api::<Value>(verb, &()).await;
    let info = info.map_err(|error| format!("{stream} cannot be looked at: {error}"))?;
    let empty = info["state"]["messages"] == 0;
    let last = if empty { 0 } else { info["state"]["last_seq"].as_u64().unwrap_or(0) };
    let mut messages = Vec::new();
    let mut next = 1;
    let began = Instant::now();
    loop {
        let page = read_page(client.connection(), stream, subject, next).await;
        let page = page.map_err(|error| format!("{stream} cannot be read: {error}"))?;
        for message in page.messages {
            next = message.sequence + 1;
            let subject = message.headers.as_ref().and_then(|headers| headers.get("Nats-Subject"));
            let subject = subject.map(|subject| subject.as_str().to_owned()).unwrap_or_default();
            messages.push((subject, message.sequence, message.body.to_vec()));
        }
        if next > last && !page.more {
            return Ok(messages);
        }
        if began.elapsed() > REPLICA_WAIT {
            return Err(format!(
                "message {last} of {stream} did not come; the last that came is before {next}"
            ));
        }
        if !page.more {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Everything that helps to find out why something has stalled, in a file of the folder.
pub(crate) async fn dump(client: &Client, book: &Book, logs: &[PathBuf], folder: &Path) -> PathBuf {
    let mut text = String::new();
    for id in book.unfinished().into_iter().take(MOST_DESCRIBED) {
        let handle = client.workflow_untyped(id.clone());
        let described = tokio::time::timeout(ANSWER, handle.describe()).await;
        let _ = writeln!(text, "== {id}\n{described:#?}");
        let history = tokio::time::timeout(ANSWER, handle.history()).await;
        if let Ok(Ok(history)) = history {
            let _ = writeln!(text, "{}", serde_json::to_string_pretty(&history).unwrap_or_default());
        }
    }
    let connection = client.connection();
    let namespace = connection.namespace();
    let shards = connection.shards().await.unwrap_or_default();
    let sharded = shards.all().flat_map(|shard| [Stream::History(shard), Stream::Tasks(shard)]);
    for stream in [Stream::Events, Stream::Rejected].into_iter().chain(sharded) {
        let name = stream.name(namespace);
        for verb in [format!("STREAM.INFO.{name}"), format!("CONSUMER.LIST.{name}")] {
            let asked = connection.api::<Value>(verb.clone(), &());
            let answer = tokio::time::timeout(ANSWER, asked).await;
            let _ = writeln!(text, "== {verb}\n{answer:#?}");
        }
    }
    for log in logs {
        let bytes = std::fs::read(log).unwrap_or_default();
        let tail = &bytes[bytes.len().saturating_sub(LOG_TAIL_BYTES)..];
        let _ = writeln!(text, "== end of {}\n{}", log.display(), String::from_utf8_lossy(tail));
    }
    let path = folder.join("stalled.txt");
    if let Err(error) = std::fs::write(&path, text) {
        eprintln!("what has stalled cannot be written down: {error}");
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_excused_only_by_a_server_that_was_killed_long_after() {
        let fault = |kind: Kind, to_ms: u64| Fault {
            kind,
            victim: String::new(),
            pid: None,
            from_ms: 0,
            to_ms,
            proof: None,
        };
        let killed = [fault(Kind::ServerKilled, 100_000)];
        assert!(came_back(Some(40_000), &killed));
        assert!(!came_back(Some(40_001), &killed), "the marker is there still");
        assert!(!came_back(None, &killed), "the run is open");
        assert!(!came_back(Some(40_000), &[fault(Kind::OrchestratorKilled, 100_000)]));
    }
}
