//! Very many of one thing: timers that come due in the same second, also while everything is down, and signals to one
//! run. Nothing is lost, nothing happens twice or early, memory stays bounded, and other work goes on.
//!
//! The numbers are small unless `STEPWELL_TEST_MANY=1`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::json;
use stepwell::shared::command::Command;
use stepwell::shared::encoding::decode;
use stepwell::shared::error_code::ErrorCode;
use stepwell::shared::history::{Event, Record};
use stepwell::shared::ids::{Namespace, WorkflowId};
use stepwell::shared::limits::DEFAULT_PARTITIONS;
use stepwell::shared::rejection::Rejection;
use stepwell::shared::subject::{self, Stream, partition};
use stepwell_connection::clock::now_ms;
use stepwell_connection::page::{StoredMessage, read_page};
use stepwell_tests::cluster::{Cluster, shards};
use stepwell_tests::http;
use stepwell_tests::patience::PATIENCE;
use stepwell_tests::processes::Process;
use stepwell_tests::workflows::lifecycle::chain;
use stepwell_tests::workflows::waiting::{NUMBER, collects};

use crate::stage::{Cache, PROGRAM, Stage, many, result, together};

/// A debug build's memory while it works at all of them.
const MAX_KIB: u64 = 1_024 * 1024;

/// How long it may take until a run sleeps, for each of them. If it takes longer, it is tried with more.
const TO_FALL_ASLEEP: Duration = Duration::from_millis(3);

/// How often it is tried.
const TRIES: u32 = 4;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// How much time is left at least when all are asleep, in milliseconds: enough to kill everything.
const TO_GO_DOWN_MS: u64 = 1_000;

/// Who sends signals at the same time.
const SENDERS: usize = 16;

/// How many signals each of them sends that the run does not wait for.
const TOO_MANY: usize = 10;

#[tokio::test]
async fn very_many_timers_of_the_same_moment_all_fire_once() {
    let cluster = Cluster::start("herd", PROGRAM).await;
    let address = http::free_address();
    let orchestrator = cluster.orchestrator_with(&["--listen", &address]);
    cluster.answered().await;
    let worker = cluster.worker(&Cache::Warm.worker()).await;
    let herd = Herd::put_to_sleep(&cluster, &address, many(1_000, 100_000)).await;
    herd.its_time().await;
    let began = Instant::now();
    let other = cluster.client.start(chain, "other", 3).await.expect("it starts");
    assert_eq!(result(&other).await.len(), 3);
    println!("other work was done after {:?}", began.elapsed());
    herd.wakes(&cluster).await;
    bounded("the orchestrator", &orchestrator);
    Stage { cluster, orchestrator, worker }.stop().await;
}

#[tokio::test]
async fn very_many_timers_that_came_due_while_everything_was_down_all_fire_once() {
    let mut cluster = Cluster::start("herd-down", PROGRAM).await;
    let address = http::free_address();
    let orchestrator = cluster.orchestrator_with(&["--listen", &address]);
    cluster.answered().await;
    let worker = cluster.worker(&Cache::Warm.worker()).await;
    let herd = Herd::put_to_sleep(&cluster, &address, many(1_000, 100_000)).await;
    orchestrator.kill();
    worker.kill();
    cluster.server.kill();
    assert!(now_ms() < herd.at_ms, "everything was down before its time");
    herd.its_time().await;
    cluster.server.restart().expect("the server starts again");
    let worker = cluster.worker(&Cache::Warm.worker()).await;
    let orchestrator = cluster.orchestrator().await;
    let other = cluster.client.start(chain, "other", 3).await.expect("it starts");
    assert_eq!(result(&other).await.len(), 3);
    herd.wakes(&cluster).await;
    bounded("the orchestrator that took over", &orchestrator);
    Stage { cluster, orchestrator, worker }.stop().await;
}

/// Runs that sleep until the same moment.
struct Herd {
    ids: BTreeSet<String>,
    at_ms: u64,
}

impl Herd {
    /// Waits until it is time to wake.
    async fn its_time(&self) {
        while now_ms() <= self.at_ms {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// So many runs, all of which are asleep when this returns, before it is time to wake.
    async fn put_to_sleep(cluster: &Cluster, address: &str, count: usize) -> Self {
        let publisher = cluster.client.connection().publisher();
        let mut lead =
            TO_FALL_ASLEEP * u32::try_from(count).expect("a small number") + Duration::from_secs(3);
        for number in 0..TRIES {
            let at_ms = now_ms() + u64::try_from(lead.as_millis()).expect("a short time");
            let ids: BTreeSet<String> = (0..count).map(|it| format!("sleeper-{number}-{it}")).collect();
            let body = json!({"v": 1, "queue": "default", "input": at_ms}).to_string();
            let mut sent = Vec::new();
            for id in &ids {
                let subject = format!("stepwell.default.workflow.{id}.start.sleeps_until");
                sent.push(publisher.publish(subject, None, body.clone().into()).await.expect("it is sent"));
            }
            for ack in sent {
                ack.await.expect("it is stored");
            }
            let mut asleep = false;
            while !asleep && now_ms() < at_ms {
                tokio::time::sleep(PAUSE).await;
                let metrics = http::get(address, "/metrics").await;
                let pending =
                    metrics.and_then(|(_, body)| http::metric(&body, "stepwell_timers_pending", &[]));
                asleep = pending.is_some_and(|pending| pending >= count as f64);
            }
            if asleep && now_ms() + TO_GO_DOWN_MS < at_ms {
                println!("{count} are asleep, {} ms before their time", at_ms.saturating_sub(now_ms()));
                return Self { ids, at_ms };
            }
            println!("it was time before all were asleep");
            lead *= 2;
        }
        panic!("{count} runs do not fall asleep within {lead:?}");
    }

    /// All of them wake: not early, once, and none is forgotten.
    async fn wakes(&self, cluster: &Cluster) {
        let began = Instant::now();
        let mut lives: BTreeMap<String, Life> = BTreeMap::new();
        let mut streams: Vec<_> = shards().all().map(|shard| (Stream::History(shard), 1)).collect();
        let mut last_news = Instant::now();
        while lives.values().filter(|life| life.ended).count() < self.ids.len() {
            let mut records = Vec::new();
            for (stream, from) in &mut streams {
                records.extend(stored(cluster, *stream, from).await);
            }
            if records.is_empty() {
                assert!(last_news.elapsed() < PATIENCE, "they do not all wake: {} are known", lives.len());
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            last_news = Instant::now();
            for message in records {
                let id = message.subject.rsplit('.').next().expect("a subject has tokens").to_owned();
                if self.ids.contains(&id) {
                    let record: Record = decode(&message.body).expect("a record");
                    lives.entry(id).or_default().take(&record);
                }
            }
        }
        let latest = lives.values().map(|life| life.woke_ms).max().unwrap_or_default();
        println!(
            "{} woke, the last one {} ms late; seen after {:?}",
            lives.len(),
            latest - self.at_ms,
            began.elapsed()
        );
        assert_eq!(lives.len(), self.ids.len());
        for (id, life) in lives {
            assert_eq!(life.fired, 1, "{id}: {life:?}");
            assert!(life.due_ms >= self.at_ms && life.woke_ms >= life.due_ms, "{id} woke early: {life:?}");
        }
    }
}

/// What is recorded of a sleeper.
#[derive(Debug, Default)]
struct Life {
    due_ms: u64,
    fired: usize,
    woke_ms: u64,
    ended: bool,
}

impl Life {
    fn take(&mut self, record: &Record) {
        for event in &record.events {
            if matches!(event, Event::TimerFired { .. }) {
                self.fired += 1;
                self.woke_ms = record.at_ms;
            }
        }
        for command in record.turn.iter().flat_map(|turn| &turn.commands) {
            if let Command::StartTimer { delay_ms, .. } = command {
                self.due_ms = record.at_ms + delay_ms;
            }
            self.ended |= matches!(command, Command::CompleteRun { .. });
        }
    }
}

#[tokio::test]
async fn very_many_signals_to_one_run_are_all_taken_in_and_hold_up_nobody() {
    let cluster = Cluster::start("flood", PROGRAM).await;
    let orchestrator = cluster.orchestrator().await;
    let worker = cluster.worker(&Cache::Warm.worker()).await;
    let per_sender = many(2_000, 50_000) / SENDERS;
    let hot = cluster.client.start(collects, "hot", per_sender * SENDERS).await.expect("it starts");
    let began = Instant::now();
    let sending = together((0..SENDERS).map(|sender| send(&cluster, sender, per_sender + TOO_MANY)));
    let beside = async {
        let neighbour = neighbour("hot");
        let run = cluster.client.start(chain, neighbour, 5).await.expect("it starts");
        assert_eq!(result(&run).await.len(), 5);
        println!("a neighbour was done after {:?}", began.elapsed());
    };
    let (sent, ()) = tokio::join!(sending, beside);
    let sent: BTreeMap<u64, i64> = sent.into_iter().flatten().collect();
    assert_eq!(sent.len(), SENDERS * (per_sender + TOO_MANY));
    let numbers = result(&hot).await;
    println!("{} signals were received after {:?}", numbers.len(), began.elapsed());
    let mut next = BTreeMap::new();
    for number in &numbers {
        let (sender, place) = (number / PER_SENDER, number % PER_SENDER);
        let expected = next.entry(sender).or_insert(0);
        assert_eq!(place, *expected, "what sender {sender} sent comes in order, once");
        *expected += 1;
    }
    let late = hot.signal(NUMBER, 0).await.expect_err("it is closed");
    assert_eq!(late.code(), Some(ErrorCode::AlreadyClosed), "{late}");
    // What was acknowledged is in the history or set aside with a reason, and nothing is both.
    let records = hot.history().await.expect("a history");
    let events = records.iter().flat_map(|record| &record.events);
    let signals = events.filter_map(|event| match event {
        Event::SignalReceived { payload, .. } => Some(payload.decode::<i64>().expect("a number")),
        _ => None,
    });
    let mut found: Vec<i64> = signals.collect();
    let taken = found.len();
    let (mut from, mut refused) = (1, BTreeSet::<i64>::new());
    until_all("what came too late to be set aside", sent.len() - taken, async || {
        for message in stored(&cluster, Stream::Rejected, &mut from).await {
            let rejection: Rejection = decode(&message.body).expect("a rejection");
            assert_eq!(rejection.code, ErrorCode::AlreadyClosed);
            refused.extend(sent.get(&rejection.sequence));
        }
        refused.len()
    })
    .await;
    println!("{taken} are in the history, {} are set aside", refused.len());
    found.extend(refused);
    found.sort_unstable();
    let mut all: Vec<i64> = sent.into_values().collect();
    all.sort_unstable();
    assert_eq!(found, all);
    bounded("the orchestrator", &orchestrator);
    bounded("the worker", &worker);
    Stage { cluster, orchestrator, worker }.finish().await;
}

/// What one sender sends is below this.
const PER_SENDER: i64 = 10_000;

/// Sends so many numbers in order; returns them by their places in EVENTS once they are acknowledged.
async fn send(cluster: &Cluster, sender: usize, count: usize) -> Vec<(u64, i64)> {
    let publisher = cluster.client.connection().publisher();
    let first = PER_SENDER * i64::try_from(sender).expect("a small number");
    let mut sent = Vec::new();
    for number in (first..).take(count) {
        let body = json!({"v": 1, "payload": number}).to_string();
        let subject = "stepwell.default.workflow.hot.signal.number".to_owned();
        sent.push((publisher.publish(subject, None, body.into()).await.expect("it is sent"), number));
    }
    let mut stored = Vec::new();
    for (ack, number) in sent {
        stored.push((ack.await.expect("it is stored").sequence, number));
    }
    stored
}

/// Another workflow id of the same partition.
fn neighbour(id: &str) -> String {
    let of = |text: &str| partition(&WorkflowId::new(text).expect("a valid id"), DEFAULT_PARTITIONS);
    let mut others = (0..).map(|number| format!("neighbour-{number}"));
    others.find(|other| of(other) == of(id)).expect("there are many")
}

/// The messages of a stream from `from` on, some of them at a time.
async fn stored(cluster: &Cluster, stream: Stream, from: &mut u64) -> Vec<StoredMessage> {
    let namespace = Namespace::default();
    let subject = match stream {
        Stream::Events => subject::event_source(&namespace),
        Stream::History(_) => subject::all_histories(&namespace),
        Stream::Tasks(shard) => subject::all_tasks(&namespace, shard),
        Stream::Rejected => subject::all_rejected(&namespace),
    };
    let page = read_page(cluster.client.connection(), stream, &subject, *from).await.expect("it can be read");
    if let Some(last) = page.messages.last() {
        *from = last.sequence + 1;
    }
    page.messages
}

/// Counts until there are so many, as long as there are more and more of them.
async fn until_all(what: &str, total: usize, mut count: impl AsyncFnMut() -> usize) {
    let (mut most, mut last_news) = (0, Instant::now());
    loop {
        let counted = count().await;
        if counted >= total {
            return;
        }
        if counted > most {
            (most, last_news) = (counted, Instant::now());
        }
        assert!(last_news.elapsed() < PATIENCE, "waited in vain for {what}: {counted} of {total}");
        tokio::time::sleep(PAUSE).await;
    }
}

fn bounded(who: &str, process: &Process) {
    if let Some(peak) = process.peak_kib() {
        println!("{who} used {peak} KiB at most");
        assert!(peak < MAX_KIB, "{who} used {peak} KiB");
    }
}
