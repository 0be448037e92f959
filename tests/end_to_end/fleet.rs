//! Very many workers that are lost at the same moment, in the middle of their tasks, and come back at the same moment.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use stepwell::shared::history::Event;
use stepwell::shared::shard::Shards;
use stepwell::{FailureKind, RetryPolicy};
use stepwell_tests::checks::most_at_once;
use stepwell_tests::cluster::{Cluster, shards};
use stepwell_tests::ledger::Phase;
use stepwell_tests::patience::until;
use stepwell_tests::workflows::Settled;
use stepwell_tests::workflows::activities::{Call, one_activity};

use crate::stage::{Cache, PROGRAM, many, result, together};

/// How many activities a worker runs at once.
const SLOTS: usize = 4;

/// How soon a task of a dead worker is given to another one. 15 s without more.
const ACK_WAIT: Duration = Duration::from_secs(2);

/// Where all tasks wait until the workers are killed.
const GATE: &str = "after the loss";

/// Every so manieth step is not tried twice.
const ONCE: usize = 10;

#[tokio::test]
async fn very_many_workers_that_are_lost_and_come_back_at_once_go_on_in_order() {
    if shards() != Shards::ONE {
        return println!("left out: the limit of a queue is one of each shard");
    }
    let workers = many(8, 20);
    // Fewer than there are slots: the limit of the queue counts.
    let at_work = workers * SLOTS / 2;
    let cluster = Cluster::start("fleet", PROGRAM).await;
    cluster
        .queue(|config| {
            config.ack_wait = ACK_WAIT;
            config.max_ack_pending = i64::try_from(at_work).expect("a small number");
        })
        .await;
    let orchestrator = cluster.orchestrator().await;
    let setup = Cache::Warm.worker().slots(SLOTS);
    let first = together((0..workers).map(|_| cluster.worker(&setup))).await;
    let start = |number: usize| {
        let call = Call::of("insist", json!(GATE));
        let once = RetryPolicy { maximum_attempts: Some(1), ..call.retry.clone() };
        let call = if number.is_multiple_of(ONCE) { Call { retry: once, ..call } } else { call };
        let started = cluster.client.start(one_activity, format!("task-{number}"), call);
        async move { (number, started.await.expect("it starts")) }
    };
    let mut runs = together((0..at_work).map(start)).await;
    let begun = || {
        let entries = cluster.ledger.read().into_iter().filter(|entry| entry.phase == Phase::Started);
        entries.map(|entry| (entry.workflow_id, entry.attempt, entry.pid)).collect::<BTreeSet<_>>()
    };
    // All of these are lost, those that are not tried twice among them; the others wait.
    until("all tasks that may be at work to be", || begun().len() >= at_work).await;
    runs.extend(together((at_work..at_work * 3).map(start)).await);
    let lost = begun();
    for worker in first {
        worker.kill();
    }
    assert_eq!(lost.len(), at_work, "no more than the queue allows");
    let back = together((0..workers).map(|_| cluster.worker(&setup))).await;
    let mut most_pending = cluster.queue_state().await.num_ack_pending;
    cluster.gates.open(GATE);
    let ended = together(runs.iter().map(|(_, run)| result(run)));
    let mut ended = std::pin::pin!(ended);
    let ended = loop {
        tokio::select! {
            ended = &mut ended => break ended,
            state = cluster.queue_state() => most_pending = most_pending.max(state.num_ack_pending),
        }
    };
    println!("at most {most_pending} of {at_work} tasks were with workers");
    assert!((1..=at_work).contains(&most_pending), "{most_pending}");
    let lost: BTreeSet<String> = lost.into_iter().map(|(id, ..)| id).collect();
    for ((number, run), ended) in runs.iter().zip(ended) {
        let was_lost = lost.contains(run.id());
        if was_lost && number % ONCE == 0 {
            assert_eq!(ended.failure_kind(), Some(FailureKind::Lost), "{} is not tried twice", run.id());
        } else {
            assert_eq!(ended, Settled::Ok(json!(GATE)), "{}", run.id());
        }
        let records = run.history().await.expect("a history");
        let events = records.iter().flat_map(|record| &record.events);
        let again = events.filter(|event| matches!(event, Event::AttemptFailed { .. })).count();
        assert_eq!(again, usize::from(was_lost && number % ONCE != 0), "{}: attempts that failed", run.id());
    }
    assert!(runs.iter().any(|(number, run)| number % ONCE == 0 && lost.contains(run.id())));
    let slots = most_at_once(&cluster.ledger.read(), "insist");
    assert!(slots <= SLOTS, "{slots} at once in one worker");
    cluster.check().await;
    for process in back {
        process.stop().await;
    }
    orchestrator.stop().await;
}
