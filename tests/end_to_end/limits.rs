//! Large things: payloads up to their limit and beyond it, many activities at once, records that do not fit
//! into one message.

use serde_json::json;
use stepwell::shared::history::StallKind;
use stepwell::shared::limits::{MAX_MESSAGE_BYTES, MAX_PAYLOAD_BYTES};
use stepwell::{FailureKind, RequestError, StartError};
use stepwell_tests::workflows::Settled;
use stepwell_tests::workflows::activities::{Call, one_activity};
use stepwell_tests::workflows::concurrency::{FanOut, fan_out};
use stepwell_tests::workflows::lifecycle::{echoes, waits};

use crate::stage::{Cache, Stage, result, warm_and_cold};

warm_and_cold!(
    payloads_may_be_large_but_not_too_large,
    a_thousand_activities_are_joined,
    results_that_fill_many_messages_are_joined,
);

async fn payloads_may_be_large_but_not_too_large(cache: Cache) {
    let stage = Stage::new("payloads", cache).await;
    let (cluster, client) = (&stage.cluster, &stage.cluster.client);
    // A JSON text has two quotes.
    let largest = json!("x".repeat(MAX_PAYLOAD_BYTES - 2));
    let too_large = json!("x".repeat(MAX_PAYLOAD_BYTES - 1));
    let handle = client.start(echoes, "largest", largest.clone()).await.expect("it starts");
    assert!(result(&handle).await == largest, "it comes back as it went in");
    let refused = client.start(echoes, "too-large", too_large.clone()).await.expect_err("too large");
    assert!(matches!(&refused, StartError::Request(RequestError::Payload(_))), "{refused}");
    assert!(refused.to_string().contains(&MAX_PAYLOAD_BYTES.to_string()), "{refused}");
    // A client that does not check is told.
    let body = json!({"id": "too-large", "type": "echoes", "input": too_large});
    let answer = cluster.ask("start", &body).await;
    assert_eq!(answer["error"]["code"], "payload_too_large", "{answer}");
    let waiting = client.start(waits, "waits", ()).await.expect("it starts");
    let answer = cluster.ask("signal", &json!({"id": "waits", "name": "go", "payload": too_large})).await;
    assert_eq!(answer["error"]["code"], "payload_too_large", "{answer}");
    waiting.signal_untyped("go", 5).await.expect("it is open");
    assert_eq!(result(&waiting).await, 5);
    // The largest result of an activity, and one that is larger.
    let fits = Call::of("text_of", json!(MAX_PAYLOAD_BYTES - 2));
    let handle = client.start(fan_out, "fits", FanOut { count: 0, texts: (2, MAX_PAYLOAD_BYTES - 2) });
    assert_eq!(result(&handle.await.expect("it starts")).await.1, 2 * (MAX_PAYLOAD_BYTES - 2));
    let larger = Call { input: json!(MAX_PAYLOAD_BYTES), ..fits };
    let handle = client.start(one_activity, "larger", larger).await.expect("it starts");
    let Settled::Failed { kind, message, .. } = result(&handle).await else { panic!("it is too large") };
    assert_eq!(kind, FailureKind::Payload);
    assert!(message.contains("text_of") && message.contains(&MAX_PAYLOAD_BYTES.to_string()), "{message}");
    // A workflow that returns more than a payload may hold is held up, visibly: its work is not lost.
    let just_below = Call::of("text_of", json!(MAX_PAYLOAD_BYTES - 4));
    client.start(one_activity, "returns", just_below).await.expect("it starts");
    let stall = cluster.until_stuck("returns").await.stall.expect("a reason");
    assert_eq!(stall.kind, StallKind::InvalidTurn);
    assert!(stall.message.contains("its result"), "{}", stall.message);
    stage.finish().await;
}

async fn a_thousand_activities_are_joined(cache: Cache) {
    let stage = Stage::with("thousand", &cache.worker().slots(64)).await;
    let client = &stage.cluster.client;
    let handle = client.start(fan_out, "f", FanOut { count: 1_000, texts: (0, 0) }).await.expect("it starts");
    assert_eq!(result(&handle).await.0, 1_000 * 1_001);
    let records = handle.history().await.expect("a history");
    let turns = records.iter().filter(|record| record.turn.is_some()).count();
    assert!(turns < 1_000, "results that wait are handed over together: {turns} turns");
    stage.finish().await;
}

async fn results_that_fill_many_messages_are_joined(cache: Cache) {
    let stage = Stage::new("large-results", cache).await;
    let client = &stage.cluster.client;
    let handle =
        client.start(fan_out, "f", FanOut { count: 0, texts: (16, 400_000) }).await.expect("it starts");
    assert_eq!(result(&handle).await.1, 16 * 400_000);
    stage.finish().await;
}

#[tokio::test]
async fn ten_thousand_activities_make_a_record_of_several_messages() {
    let stage = Stage::with("ten-thousand", &Cache::Warm.worker().slots(64)).await;
    let client = &stage.cluster.client;
    let plan = FanOut { count: 10_000, texts: (0, 0) };
    let handle = client.start(fan_out, "f", plan).await.expect("it starts");
    assert_eq!(result(&handle).await.0, 10_000 * 10_001);
    let records = handle.history().await.expect("a history");
    let first = serde_json::to_vec(&records[0]).expect("JSON").len();
    assert!(first > MAX_MESSAGE_BYTES, "the first record has only {first} bytes");
    // A worker and an orchestrator that never saw it read the chain.
    let Stage { cluster, orchestrator, worker } = stage;
    orchestrator.kill();
    worker.kill();
    let orchestrator = cluster.orchestrator().await;
    let worker = cluster.worker(&Cache::Warm.worker()).await;
    let unknown = handle.query_untyped("none", ()).await.expect_err("it answers no queries").to_string();
    assert!(unknown.contains("the run's code answers none"), "{unknown}");
    Stage { cluster, orchestrator, worker }.finish().await;
}
