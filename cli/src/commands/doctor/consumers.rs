//! The consumers of TASKS, one for each queue: how much waits, and whether they are as workers make them.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::consumer::Info;
use futures_util::TryStreamExt as _;
use serde_json::json;
use stepwell_connection::Connection;
use stepwell_connection::provision::{ACK_WAIT, queue_mistakes};
use stepwell_connection::tasks::known_to;
use stepwell_shared::ids::Name;
use stepwell_shared::shard::{Shard, Shards};
use stepwell_shared::subject::Stream;

use super::processes::tasks_of;
use super::report::Report;
use crate::text;
use crate::times::{millis, span};

/// Most consumers that are looked at.
const MAX_CONSUMERS: usize = 1_000;

/// Longest wait for the list. Without the permission there is no answer.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn check(connection: &Connection, shards: Shards, report: &mut Report) {
    for shard in shards.all() {
        check_shard(connection, shard, report).await;
    }
}

async fn check_shard(connection: &Connection, shard: Shard, report: &mut Report) {
    let before = tasks_of(connection, shard).await;
    let consumers = match tokio::time::timeout(TIMEOUT, list(connection, shard)).await {
        Ok(Ok(consumers)) => consumers,
        Ok(Err(error)) => return report.note("consumers", format!("unknown: {error}"), ""),
        Err(_) => {
            let complaint = connection.complaint().unwrap_or_else(|| "no answer".into());
            return report.note("consumers", format!("unknown: {complaint}"), "");
        }
    };
    let after = tasks_of(connection, shard).await;
    for consumer in &consumers {
        let stored = |tasks: &BTreeMap<String, u64>| tasks.get(&consumer.name).copied().unwrap_or(0);
        // Tasks come and go meanwhile.
        let stored = stored(&before).min(stored(&after));
        let passed_over = stored.saturating_sub(known_to(consumer));
        one(connection, shard, consumer, passed_over, report);
    }
}

async fn list(connection: &Connection, shard: Shard) -> Result<Vec<Info>, String> {
    let name = Stream::Tasks(shard).name(connection.namespace());
    let stream = connection.jetstream().get_stream_no_info(name).await.map_err(|error| error.to_string())?;
    let mut list = stream.consumers();
    let mut consumers = Vec::new();
    while let Some(consumer) = list.try_next().await.map_err(|error| error.to_string())? {
        consumers.push(consumer);
        if consumers.len() >= MAX_CONSUMERS {
            break;
        }
    }
    Ok(consumers)
}

fn one(connection: &Connection, shard: Shard, info: &Info, passed_over: u64, report: &mut Report) {
    let config = &info.config;
    let of = shard.number().map(|number| format!(" of shard {number}")).unwrap_or_default();
    let name = format!("consumer {}{of}", text::cut(&info.name, 60));
    let cap = config.max_ack_pending;
    let found = format!(
        "{} waiting, {} with workers of {cap}, {} of them given out again, {} waiting for tasks, ack_wait {}",
        text::count(info.num_pending, "task"),
        info.num_ack_pending,
        info.num_redelivered,
        text::count(info.num_waiting as u64, "request"),
        span(millis(config.ack_wait)),
    );
    let full = u64::try_from(cap).is_ok_and(|cap| cap > 0 && info.num_ack_pending as u64 >= cap);
    if let Some(why) = foreign(connection, shard, info) {
        let advice =
            "it keeps tasks away from workers; a worker of the queue puts right what can be, else delete it";
        report.problem(&name, format!("{found}; {why}"), advice);
    } else if info.paused {
        let left = info.pause_remaining.map(|left| format!(" for another {}", span(millis(left))));
        let found = format!("{found}; paused{}", left.unwrap_or_default());
        report.warning(&name, found, "no tasks of the queue are given out; `nats consumer resume` ends that");
    } else if passed_over > 0 {
        let found =
            format!("{found}; {} on the stream that it does not know of", text::count(passed_over, "task"));
        let advice = "if it says so again, tasks were passed over; orchestrators make the consumer anew within half a \
                      minute, and all tasks are given out";
        report.warning(&name, found, advice);
    } else if full {
        let advice = "no more tasks of the queue are given out; its max_ack_pending is reached";
        report.warning(&name, found, advice);
    } else if config.ack_wait != ACK_WAIT {
        let found = format!("{found}; workers make it with {}", span(millis(ACK_WAIT)));
        report.note(&name, found, "a task of a dead worker is given out again after ack_wait");
    } else {
        report.ok(&name, found);
    }
    report.details(json!({
        "pending": info.num_pending,
        "ack_pending": info.num_ack_pending,
        "redelivered": info.num_redelivered,
        "waiting": info.num_waiting,
        "passed_over": passed_over,
        "paused": info.paused,
        "ack_wait_ms": millis(config.ack_wait),
        "max_ack_pending": cap,
    }));
}

/// Why a consumer is not one of those that workers make.
fn foreign(connection: &Connection, shard: Shard, info: &Info) -> Option<String> {
    let Ok(queue) = Name::new(&info.name) else { return Some("no queue can have that name".into()) };
    let mistakes = queue_mistakes(connection.namespace(), &queue, shard, &info.config);
    (!mistakes.is_empty()).then(|| mistakes.join("; "))
}
