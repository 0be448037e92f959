//! Signals: typed, in order, buffered from the start, never twice; and conditions over them.

use serde_json::json;
use stepwell::shared::error_code::ErrorCode;
use stepwell_tests::ledger::Phase;
use stepwell_tests::patience::until;
use stepwell_tests::workflows::waiting::{Counted, LOOK, NUMBER, collects, counts_to, looks_late, picky};

use crate::stage::{Cache, Stage, result, warm_and_cold};

warm_and_cold!(
    signals_come_in_order_and_none_is_lost,
    signals_wait_until_they_are_asked_for,
    a_signal_of_the_wrong_type_is_said_to_be,
    a_repeated_signal_counts_once,
    a_condition_holds_or_time_is_up,
);

async fn signals_come_in_order_and_none_is_lost(cache: Cache) {
    let stage = Stage::new("signal-order", cache).await;
    let client = &stage.cluster.client;
    let numbers: Vec<i64> = (0..50).collect();
    let handle = client.start(collects, "c", numbers.len()).await.expect("it starts");
    for number in &numbers {
        handle.signal(NUMBER, *number).await.expect("it is open");
    }
    assert_eq!(result(&handle).await, numbers);
    let late = handle.signal(NUMBER, 1).await.expect_err("it is closed");
    assert_eq!(late.code(), Some(ErrorCode::AlreadyClosed));
    // As fast as they can be published, by a client that waits for nothing but storage.
    let handle = client.start(collects, "fast", 300).await.expect("it starts");
    let mut acks = Vec::new();
    for number in 0..300 {
        let body = json!({"v": 1, "payload": number}).to_string();
        let subject = "stepwell.default.workflow.fast.signal.number";
        let sent = client.connection().jetstream().publish(subject, body.into()).await.expect("it is sent");
        acks.push(async move { sent.await.expect("it is stored") });
    }
    crate::stage::together(acks).await;
    assert_eq!(result(&handle).await, (0..300).collect::<Vec<i64>>());
    stage.finish().await;
}

async fn signals_wait_until_they_are_asked_for(cache: Cache) {
    let stage = Stage::new("signal-early", cache).await;
    let Stage { cluster, orchestrator, worker } = stage;
    // No worker: the code has not even begun when they come.
    worker.stop().await;
    let handle = cluster.client.start(looks_late, "l", ()).await.expect("it starts");
    for number in [3, 1, 2] {
        handle.signal(NUMBER, number).await.expect("it is open");
    }
    handle.signal(LOOK, ()).await.expect("it is open");
    let worker = cluster.worker(&cache.worker()).await;
    assert_eq!(result(&handle).await, [3, 1, 2]);
    // A signal in the same moment as the start, from a client without the SDK.
    let subject = |rest: &str| format!("stepwell.default.workflow.early.{rest}");
    cluster.publish(&subject("start.looks_late"), r#"{"v":1}"#).await;
    cluster.publish(&subject("signal.number"), r#"{"v":1,"payload":9}"#).await;
    cluster.publish(&subject("signal.look"), r#"{"v":1}"#).await;
    let early = cluster.client.workflow(looks_late, "early");
    cluster.until_described("the start is taken in", &early, |_| true).await;
    assert_eq!(result(&early).await, [9]);
    Stage { cluster, orchestrator, worker }.finish().await;
}

async fn a_signal_of_the_wrong_type_is_said_to_be(cache: Cache) {
    let stage = Stage::new("signal-type", cache).await;
    let handle = stage.cluster.client.start(picky, "p", ()).await.expect("it starts");
    handle.signal_untyped("number", "seven").await.expect("it is open");
    handle.signal_untyped("nobody_listens", 1).await.expect("it is open");
    handle.signal_untyped("number", json!({"n": 7})).await.expect("it is open");
    handle.signal(NUMBER, 7).await.expect("it is open");
    let (complaints, number) = result(&handle).await;
    assert_eq!((complaints.len(), number), (2, 7));
    assert!(complaints[0].contains("signal `number` is not a `i64`"), "{complaints:?}");
    stage.finish().await;
}

async fn a_repeated_signal_counts_once(cache: Cache) {
    let stage = Stage::new("signal-twice", cache).await;
    let cluster = &stage.cluster;
    let handle = cluster.client.start(collects, "c", 3).await.expect("it starts");
    let signal = |payload: i64, request: &str| json!({"id": "c", "name": "number", "payload": payload, "request_id": request});
    let first = cluster.ask("signal", &signal(1, "r-1")).await;
    let again = cluster.ask("signal", &signal(1, "r-1")).await;
    assert_eq!((&first["ok"]["duplicate"], &again["ok"]["duplicate"]), (&json!(false), &json!(true)));
    assert_eq!(first["ok"]["run_id"], again["ok"]["run_id"]);
    cluster.ask("signal", &signal(2, "r-2")).await;
    cluster.ask("signal", &signal(1, "r-1")).await;
    cluster.ask("signal", &signal(3, "r-3")).await;
    assert_eq!(result(&handle).await, [1, 2, 3]);
    stage.finish().await;
}

async fn a_condition_holds_or_time_is_up(cache: Cache) {
    let stage = Stage::new("condition", cache).await;
    let client = &stage.cluster.client;
    let reached = client.start(counts_to, "reached", (10, 3_600_000)).await.expect("it starts");
    let late = client.start(counts_to, "late", (10, 300)).await.expect("it starts");
    late.signal(NUMBER, 4).await.expect("it is open");
    for _ in 0..3 {
        reached.signal(NUMBER, 4).await.expect("it is open");
    }
    assert_eq!(result(&reached).await, Counted::Goal(12));
    assert_eq!(result(&late).await, Counted::TooLate(4));
    until("nothing else ran", || stage.cluster.ledger.count("late", "note", Phase::Started) == 0).await;
    stage.finish().await;
}
