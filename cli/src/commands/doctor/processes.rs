//! Orchestrators and workers: who answers, and whether somebody serves every queue that has work.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::StatusCode;
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::json;
use stepwell_connection::Connection;
use stepwell_connection::tasks::stored_tasks;
use stepwell_shared::announce::Announcement;
use stepwell_shared::api::WorkersAnswer;
use stepwell_shared::shard::Shard;
use stepwell_shared::subject;

use super::report::Report;
use crate::api::Api;

/// How the orchestrator's API calls itself among NATS services.
const SERVICE: &str = "stepwell";

/// How long after the last answer another one is waited for.
const QUIET: Duration = Duration::from_millis(500);

/// Most answers that are listened to.
const MAX_ANSWERS: usize = 1_000;

/// What was seen of orchestrators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Orchestrators {
    /// How many are there.
    pub(super) count: usize,
    /// Whether the API answers.
    pub(super) answering: bool,
}

pub(super) async fn check(api: &Api, report: &mut Report) -> Orchestrators {
    let count = services(api.connection()).await;
    let workers: Result<WorkersAnswer, _> = api.call("workers", &json!({})).await;
    match (&workers, count) {
        (Err(failure), _) => {
            let found = format!("the API does not answer: {}", failure.message());
            report.problem("orchestrators", found, "");
        }
        (Ok(_), 0 | 1) => {
            report.note(
                "orchestrators",
                "one answers",
                "a second one takes over within seconds when it is killed",
            );
        }
        (Ok(_), more) => report.ok("orchestrators", format!("{more} answer")),
    }
    if let Ok(WorkersAnswer { workers }) = &workers {
        report_workers(workers, &tasks(api.connection()).await, report);
    }
    Orchestrators { count, answering: workers.is_ok() }
}

/// Tells for every queue who serves it and how many tasks it has.
fn report_workers(workers: &[Announcement], tasks: &BTreeMap<String, u64>, report: &mut Report) {
    let mut by_queue: BTreeMap<&str, Vec<&Announcement>> = BTreeMap::new();
    for worker in workers {
        by_queue.entry(worker.queue.as_str()).or_default().push(worker);
    }
    if by_queue.is_empty() && tasks.is_empty() {
        report.note("workers", "none is known", "workflows that are started wait for one");
    }
    let queues: BTreeSet<&str> = by_queue.keys().copied().chain(tasks.keys().map(String::as_str)).collect();
    for queue in queues {
        let name = format!("queue {queue}");
        let open = tasks.get(queue).copied().unwrap_or(0);
        match by_queue.get(queue) {
            None => report.problem(
                &name,
                format!("{open} activity tasks and no worker"),
                "start a worker that serves the queue",
            ),
            Some(workers) => {
                let used: u32 = workers.iter().map(|worker| worker.slots_used).sum();
                let slots: u32 = workers.iter().map(|worker| worker.slots).sum();
                let found =
                    format!("{} workers, {used} of {slots} slots, {open} activity tasks", workers.len());
                report.ok(&name, found);
            }
        }
    }
}

#[derive(Deserialize)]
struct ServiceInfo {
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(default)]
    subject: String,
}

/// How many instances of the service answer for this namespace.
async fn services(connection: &Connection) -> usize {
    let client = connection.client();
    let inbox = client.new_inbox();
    let Ok(mut answers) = client.subscribe(inbox.clone()).await else { return 0 };
    let asked = client.publish_with_reply(format!("$SRV.INFO.{SERVICE}"), inbox, "".into()).await;
    if asked.is_err() {
        return 0;
    }
    let prefix = subject::api(connection.namespace(), "");
    let mut count = 0;
    for _ in 0..MAX_ANSWERS {
        let Ok(Some(answer)) = tokio::time::timeout(QUIET, answers.next()).await else { break };
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            break;
        }
        let ours = serde_json::from_slice::<ServiceInfo>(&answer.payload)
            .is_ok_and(|info| info.endpoints.iter().any(|endpoint| endpoint.subject.starts_with(&prefix)));
        count += usize::from(ours);
    }
    count
}

/// How many tasks each queue has that are not finished.
async fn tasks(connection: &Connection) -> BTreeMap<String, u64> {
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    for shard in connection.shards().await.unwrap_or_default().all() {
        for (queue, count) in tasks_of(connection, shard).await {
            *all.entry(queue).or_default() += count;
        }
    }
    all
}

/// How many of them lie in a shard.
pub(super) async fn tasks_of(connection: &Connection, shard: Shard) -> BTreeMap<String, u64> {
    let stored = stored_tasks(connection, shard, &subject::all_tasks(connection.namespace(), shard)).await;
    stored.map(|stored| stored.by_queue).unwrap_or_default()
}
