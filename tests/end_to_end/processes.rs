//! Orchestrators and workers that end in good order, that are killed, that freeze and come back.

use futures_util::StreamExt;
use serde_json::json;
use stepwell::shared::history::{Event, Record};
use stepwell_tests::cluster::Cluster;
use stepwell_tests::http;
use stepwell_tests::ledger::Phase;
use stepwell_tests::patience::{eventually, in_time, until};
use stepwell_tests::workflows::Settled;
use stepwell_tests::workflows::activities::{Call, one_activity};
use stepwell_tests::workflows::lifecycle::{GO, chain, echoes, waits};
use stepwell_tests::workflows::waiting::{NUMBER, collects};

use crate::stage::{Cache, PROGRAM, Stage, owns, result, together, warm_and_cold};

warm_and_cold!(a_worker_that_is_asked_to_end_finishes_or_hands_back, an_orchestrator_hands_over_at_once);

async fn a_worker_that_is_asked_to_end_finishes_or_hands_back(cache: Cache) {
    let Stage { cluster, orchestrator, worker } =
        Stage::with("hand-back", &cache.worker().drain(5_000)).await;
    let client = &cluster.client;
    let call = |gate: &str| Call::of("wait_at", json!(gate));
    let finishes = client.start(one_activity, "finishes", call("soon")).await.expect("it starts");
    let handed_back = client.start(one_activity, "handed-back", call("later")).await.expect("it starts");
    for id in ["finishes", "handed-back"] {
        until("it is at work", || cluster.ledger.count(id, "wait_at", Phase::Started) == 1).await;
    }
    let waiting = client.start(waits, "waiting", ()).await.expect("it starts");
    cluster.until_described("it waits", &waiting, |it| it.summary.history_length >= 1).await;
    let successor = cluster.worker(&cache.worker()).await;
    worker.ask_to_end();
    cluster.gates.open("soon");
    assert_eq!(result(&finishes).await, Settled::Ok(json!("soon")));
    let status = worker.ended().await;
    assert!(status.success(), "{status}");
    assert_eq!(cluster.ledger.count("finishes", "wait_at", Phase::Started), 1, "it could finish");
    // The other one was told to stop, and the successor makes the next attempt; the gate opens for it.
    until("the next attempt", || cluster.ledger.count("handed-back", "wait_at", Phase::Started) == 2).await;
    assert_eq!(cluster.ledger.count("handed-back", "wait_at", Phase::Cancelled), 1);
    cluster.gates.open("later");
    assert_eq!(result(&handed_back).await, Settled::Ok(json!("later")));
    let by: Vec<u32> = cluster.ledger.read().iter().filter(|it| it.attempt == 2).map(|it| it.pid).collect();
    assert_eq!(by, [successor.pid(), successor.pid()]);
    // The run that was in the memory of the first worker goes on in the second.
    waiting.signal(GO, 11).await.expect("it is open");
    assert_eq!(result(&waiting).await, 11);
    Stage { cluster, orchestrator, worker: successor }.finish().await;
}

#[tokio::test]
async fn processes_end_when_they_are_asked_to_though_the_server_is_gone() {
    let Stage { mut cluster, orchestrator, worker } = Stage::new("server-gone", Cache::Warm).await;
    let waiting = cluster.client.start(waits, "waiting", ()).await.expect("it starts");
    cluster.until_described("it waits", &waiting, |it| it.summary.history_length >= 1).await;
    cluster.server.kill();
    together([orchestrator.stop(), worker.stop()]).await;
    cluster.server.restart().expect("the server starts");
    let orchestrator = cluster.orchestrator().await;
    let worker = cluster.worker(&Cache::Warm.worker()).await;
    waiting.signal(GO, 5).await.expect("it is open");
    assert_eq!(result(&waiting).await, 5);
    Stage { cluster, orchestrator, worker }.finish().await;
}

async fn an_orchestrator_hands_over_at_once(cache: Cache) {
    let cluster = Cluster::start("hand-over", PROGRAM).await;
    // The lease is longer than anybody waits: only one that is handed over can be taken.
    let lease = ["--no-http", "--lease", "1h"];
    let first = cluster.orchestrator_with(&lease);
    cluster.answered().await;
    let worker = cluster.worker(&cache.worker()).await;
    let cluster = &cluster;
    let handles = together((0..10).map(|number| async move {
        let started = cluster.client.start(collects, format!("c{number}"), 2).await;
        started.expect("it starts")
    }))
    .await;
    for handle in &handles {
        handle.signal(NUMBER, 1).await.expect("it is open");
    }
    let second = cluster.orchestrator_with(&lease);
    first.stop().await;
    for handle in &handles {
        handle.signal(NUMBER, 2).await.expect("it is open");
    }
    for handle in &handles {
        assert_eq!(result(handle).await, [1, 2]);
    }
    cluster.check().await;
    worker.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn three_orchestrators_share_the_partitions_and_inherit_from_each_other() {
    let cluster = Cluster::start("shared", PROGRAM).await;
    let addresses = [http::free_address(), http::free_address(), http::free_address()];
    let listening = |at: usize| cluster.orchestrator_with(&["--listen", &addresses[at]]);
    let first = listening(0);
    owns(&addresses[0], 16.0).await;
    let worker = cluster.worker(&Cache::Warm.worker()).await;
    let handles: Vec<_> = together((0..48).map(|number| {
        let client = &cluster.client;
        async move { client.start(collects, format!("c{number}"), 4).await.expect("it starts") }
    }))
    .await;
    let signal = async |number: i64| {
        together(handles.iter().map(|handle| async move {
            handle.signal(NUMBER, number).await.expect("it is open");
        }))
        .await;
    };
    signal(0).await;
    let (second, third) = (listening(1), listening(2));
    signal(1).await;
    for (address, share) in shares(&addresses).await {
        assert!((5.0..=6.0).contains(&share), "{address} has {share}");
    }
    second.kill();
    signal(2).await;
    first.stop().await;
    owns(&addresses[2], 16.0).await;
    signal(3).await;
    for handle in &handles {
        assert_eq!(result(handle).await, [0, 1, 2, 3]);
    }
    Stage { cluster, orchestrator: third, worker }.finish().await;
}

/// What each of them owns, when everything is owned.
async fn shares(addresses: &[String]) -> Vec<(String, f64)> {
    eventually("everything is owned evenly", || async {
        let mut shares = Vec::new();
        for address in addresses {
            let (_, body) = http::get(address, "/metrics").await?;
            shares.push((address.clone(), http::metric(&body, "stepwell_partitions_owned", &[])?));
        }
        let sum: f64 = shares.iter().map(|(_, share)| share).sum();
        let even = shares.iter().all(|(_, share)| *share >= 5.0);
        (even && sum.to_bits() == 16f64.to_bits()).then_some(shares)
    })
    .await
}

#[tokio::test]
async fn another_one_takes_over_when_one_is_killed() {
    let cluster = Cluster::start("takeover", PROGRAM).await;
    let addresses = [http::free_address(), http::free_address()];
    let first = cluster.orchestrator_with(&["--listen", &addresses[0]]);
    cluster.answered().await;
    let second = cluster.orchestrator_with(&["--listen", &addresses[1]]);
    let worker = cluster.worker(&Cache::Warm.worker()).await;
    let handle = cluster.client.start(collects, "c", 20).await.expect("it starts");
    for number in 0..10 {
        handle.signal(NUMBER, number).await.expect("it is open");
    }
    for address in &addresses {
        owns(address, 8.0).await;
        let (status, _) = http::get(address, "/readyz").await.expect("it answers");
        assert_eq!(status, 200);
    }
    first.kill();
    // Sent while nobody may work at it: stored, and taken in by the successor.
    for number in 10..20 {
        let body = json!({"v": 1, "payload": number}).to_string();
        cluster.publish("stepwell.default.workflow.c.signal.number", body).await;
    }
    owns(&addresses[1], 16.0).await;
    assert_eq!(result(&handle).await, (0..20).collect::<Vec<_>>());
    let after = cluster.client.start(chain, "after", 3).await.expect("it starts");
    assert_eq!(result(&after).await.len(), 3);
    Stage { cluster, orchestrator: second, worker }.finish().await;
}

/// Answers the turn of a run of `echoes` that was given `held`.
async fn answer(nats: &async_nats::Client, turn: async_nats::Message) {
    let command = json!({"complete_run": {"result": "held"}});
    let answer = json!({"v": 1, "worker": "by-hand", "answer": {"commands": {"commands": [command]}}});
    let reply = turn.reply.expect("a question wants an answer");
    nats.publish(reply, answer.to_string().into()).await.expect("it can be sent");
    nats.flush().await.expect("the server answers");
}

#[tokio::test]
async fn an_orchestrator_that_was_frozen_is_fenced_when_it_wakes() {
    let cluster = Cluster::start("frozen", PROGRAM).await;
    let (first_address, second_address) = (http::free_address(), http::free_address());
    // Turns may take as long as they like.
    let patient =
        |address| cluster.orchestrator_with(&["--listen", address, "--workflow-task-timeout", "1h"]);
    let first = patient(&first_address);
    cluster.answered().await;
    let worker = cluster.worker(&Cache::Warm.worker()).await;
    owns(&first_address, 16.0).await;
    let count = 200;
    let handle = cluster.client.start(collects, "c", count).await.expect("it starts");
    let signals = async |range: std::ops::Range<usize>| {
        let jetstream = cluster.client.connection().jetstream();
        for number in range {
            let body = json!({"v": 1, "payload": number}).to_string();
            let subject = "stepwell.default.workflow.c.signal.number";
            let sent = jetstream.publish(subject, body.into()).await.expect("it is sent");
            sent.await.expect("it is stored");
        }
    };
    signals(0..50).await;
    // The worker of this run is the test, which does not answer the first one as long as it is active.
    let nats = cluster.client.connection().client();
    let turns = "stepwell.default.workflow-task.by-hand";
    let mut turns = nats.subscribe(turns).await.expect("turns can be made");
    let mut writes = nats.subscribe("stepwell.default.history.*.held").await.expect("writes can be seen");
    nats.flush().await.expect("the server answers");
    let start = json!({"v": 1, "queue": "by-hand", "input": "held"});
    cluster.publish("stepwell.default.workflow.held.start.echoes", start.to_string()).await;
    let asked_by_first = in_time("a question of the first one", turns.next()).await.expect("a turn");
    // In the middle of its work, with events read and not done.
    first.freeze();
    signals(50..100).await;
    let second = patient(&second_address);
    owns(&second_address, 16.0).await;
    let asked_by_second = in_time("a question of the second one", turns.next()).await.expect("a turn");
    answer(nats, asked_by_second).await;
    let held = cluster.client.workflow(echoes, "held");
    // Asks nobody: the first one would take every other question, and keep it.
    eventually("a result by the second one", || async { held.result().await.ok() }).await;
    // What the first one reads when it wakes is its answer, so that it writes before it knows of the other.
    answer(nats, asked_by_first).await;
    first.go_on();
    signals(100..200).await;
    let stored = held.history().await.expect("a history");
    let refused = async {
        loop {
            let write = writes.next().await.expect("a write");
            let record: Record = serde_json::from_slice(&write.payload).expect("a record");
            if record.run_id != stored[0].run_id {
                return record;
            }
        }
    };
    let refused = in_time("a write of the first one", refused).await;
    assert_eq!(refused.index, 1, "it would have been the same start once more");
    assert_eq!(held.history().await.expect("a history"), stored);
    let numbers: Vec<i64> = (0..200).collect();
    assert_eq!(result(&handle).await, numbers, "each once and in order");
    for address in [&first_address, &second_address] {
        owns(address, 8.0).await;
    }
    let records = handle.history().await.expect("a history");
    let signals = records.iter().flat_map(|record| &record.events);
    let taken = signals.filter(|event| matches!(event, Event::SignalReceived { .. })).count();
    assert_eq!(taken, count);
    first.stop().await;
    Stage { cluster, orchestrator: second, worker }.finish().await;
}

#[tokio::test]
async fn closed_runs_are_forgotten_when_their_retention_is_over() {
    let cluster = Cluster::start("retention", PROGRAM).await;
    let first = cluster.orchestrator().await;
    let worker = cluster.worker(&Cache::Warm.worker()).await;
    let closed = cluster.client.start(chain, "closed", 1).await.expect("it starts");
    result(&closed).await;
    let open = cluster.client.start(waits, "open", ()).await.expect("it starts");
    first.stop().await;
    let second = cluster.orchestrator_with(&["--no-http", "--retention", "1ms"]);
    cluster.answered().await;
    eventually("the closed run to be forgotten", || async {
        let runs = cluster.runs().await;
        (runs.len() == 1 && runs[0].workflow_id.as_str() == "open").then_some(())
    })
    .await;
    let gone = closed.history().await.expect_err("its history is gone, too");
    assert_eq!(gone.code(), Some(stepwell::shared::error_code::ErrorCode::NotFound));
    let again = cluster.client.start(chain, "closed", 2).await.expect("its id is free");
    assert_eq!(result(&again).await.len(), 2);
    open.signal(GO, 3).await.expect("it is open");
    assert_eq!(result(&open).await, 3);
    // There is no history to compare the ledger with.
    worker.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn everybody_waits_for_the_server_to_come_back() {
    let mut stage = Stage::new("server", Cache::Warm).await;
    let handle = stage.cluster.client.start(collects, "c", 4).await.expect("it starts");
    handle.signal(NUMBER, 1).await.expect("it is open");
    stage.cluster.kill_server();
    handle.signal(NUMBER, 2).await.expect("it is open");
    stage.cluster.server.stop();
    stage.cluster.server.restart().expect("the server starts again");
    handle.signal(NUMBER, 3).await.expect("it is open");
    handle.signal(NUMBER, 4).await.expect("it is open");
    assert_eq!(result(&handle).await, [1, 2, 3, 4]);
    assert!(stage.orchestrator.running() && stage.worker.running());
    stage.finish().await;
}
