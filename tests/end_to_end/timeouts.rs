//! The four timeouts of activities, and what becomes of attempts whose worker is gone.

use serde_json::json;
use stepwell::shared::history::Event;
use stepwell::{FailureKind, WorkflowHandle};
use stepwell_tests::ledger::Phase;
use stepwell_tests::patience::until;
use stepwell_tests::workflows::Settled;
use stepwell_tests::workflows::activities::{Call, one_activity};

use crate::stage::{Cache, Stage, result, together, warm_and_cold};

warm_and_cold!(each_timeout_ends_what_it_bounds, a_heartbeat_hands_over_how_far_it_was);

async fn each_timeout_ends_what_it_bounds(cache: Cache) {
    let stage = Stage::new("timeouts", cache).await;
    let (client, ledger) = (&stage.cluster.client, &stage.cluster.ledger);
    let never = || json!("never");
    let mut attempt = Call { start_to_close: Some(100), ..Call::of("wait_at", never()) };
    attempt.retry.maximum_attempts = Some(3);
    let mut deaf = Call { start_to_close: Some(100), ..Call::of("insist", json!("deaf")) };
    deaf.retry.maximum_attempts = Some(1);
    let total = Call { start_to_close: None, schedule_to_close: Some(300), ..Call::of("wait_at", never()) };
    let mut retries = Call {
        schedule_to_close: Some(60_000),
        ..Call::of("flaky", json!({"failures": 1_000_000, "error_type": "Busy"}))
    };
    retries.retry.initial_interval_ms = 60_000;
    let unserved = Call {
        queue: Some("nobody".to_owned()),
        schedule_to_start: Some(200),
        ..Call::of("note", json!("x"))
    };
    let silent = Call { heartbeat: Some(100), ..Call::of("wait_at", never()) };
    let silent = Call { retry: attempt.retry.clone(), ..silent };
    let cases = [
        ("attempt", attempt, FailureKind::StartToClose, 3, 3),
        ("deaf", deaf, FailureKind::StartToClose, 1, 1),
        ("total", total, FailureKind::ScheduleToClose, 1, 1),
        // There is no time for one more attempt: the last failure says more than the timeout would.
        ("retries", retries, FailureKind::Application, 1, 1),
        ("unserved", unserved, FailureKind::ScheduleToStart, 1, 0),
        ("silent", silent, FailureKind::Heartbeat, 3, 3),
    ];
    together(cases.map(|(id, call, wanted, attempts, most_begun)| async move {
        let activity = call.activity.clone();
        let handle = client.start(one_activity, id, call).await.expect("it starts");
        let settled = result(&handle).await;
        assert_eq!(settled.failure_kind(), Some(wanted), "{id}: {settled:?}");
        let failed: Vec<(u32, FailureKind)> = (1..=attempts).map(|attempt| (attempt, wanted)).collect();
        assert_eq!(failed_attempts(&handle).await, failed, "{id}");
        // The time of an attempt may be over before its code has begun.
        let begun = ledger.count(id, &activity, Phase::Started);
        assert!(begun <= most_begun, "{id}: begun {begun} times");
    }))
    .await;
    // Enough time changes nothing.
    let roomy = Call {
        schedule_to_start: Some(60_000),
        schedule_to_close: Some(60_000),
        heartbeat: Some(60_000),
        ..Call::of("note", json!("in time"))
    };
    let handle = client.start(one_activity, "roomy", roomy).await.expect("it starts");
    assert_eq!(result(&handle).await, Settled::Ok(json!("in time")));
    let alive = Call {
        start_to_close: Some(60_000),
        heartbeat: Some(2_000),
        ..Call::of("stay_alive", json!("alive"))
    };
    let handle = client.start(one_activity, "alive", alive).await.expect("it starts");
    until("it is alive", || ledger.count("alive", "stay_alive", Phase::Started) == 1).await;
    // The gate opens after a run that takes longer than this heartbeat.
    let mut once = Call { start_to_close: Some(2_500), ..Call::of("wait_at", never()) };
    once.retry.maximum_attempts = Some(1);
    result(&client.start(one_activity, "longer", once).await.expect("it starts")).await;
    stage.cluster.gates.open("alive");
    assert_eq!(result(&handle).await, Settled::Ok(json!("alive")));
    assert_eq!(ledger.count("alive", "stay_alive", Phase::Started), 1);
    // A deaf attempt must not hold up the end of the worker.
    stage.cluster.gates.open("deaf");
    stage.finish().await;
}

async fn a_heartbeat_hands_over_how_far_it_was(cache: Cache) {
    let stage = Stage::new("heartbeat", cache).await;
    let (client, ledger) = (&stage.cluster.client, &stage.cluster.ledger);
    let call =
        Call { start_to_close: Some(60_000), heartbeat: Some(2_000), ..Call::of("lose_heart", json!(5)) };
    let handle = client.start(one_activity, "h", call).await.expect("it starts");
    assert_eq!(result(&handle).await, Settled::Ok(json!([2, 5])), "attempt 2 knows of step 5");
    assert_eq!(ledger.count("h", "lose_heart", Phase::Started), 2);
    let records = handle.history().await.expect("a history");
    let mut failed = records.iter().flat_map(|record| &record.events).filter_map(|event| match event {
        Event::AttemptFailed { failure, heartbeat, .. } => Some((failure.kind, heartbeat.clone())),
        _ => None,
    });
    let (kind, heartbeat) = failed.next().expect("one attempt failed");
    assert_eq!((kind, heartbeat.expect("details").json()), (FailureKind::Heartbeat, "5"));
    stage.finish().await;
}

/// The attempts of a run's activity that are recorded as failed, the last one included, and why.
async fn failed_attempts<O>(handle: &WorkflowHandle<O>) -> Vec<(u32, FailureKind)> {
    let records = handle.history().await.expect("a history");
    let events = records.iter().flat_map(|record| &record.events);
    let failed = events.filter_map(|event| match event {
        Event::AttemptFailed { attempt, failure, .. } | Event::ActivityFailed { attempt, failure, .. } => {
            Some((*attempt, failure.kind))
        }
        _ => None,
    });
    failed.collect()
}

#[tokio::test]
async fn what_a_dead_worker_held_is_tried_again_but_not_if_once_is_all() {
    let stage = Stage::new("lost", Cache::Warm).await;
    let Stage { cluster, orchestrator, worker } = stage;
    let client = &cluster.client;
    let once = Call {
        retry: stepwell::RetryPolicy { maximum_attempts: Some(1), ..Default::default() },
        ..Call::of("wait_at", json!("gate"))
    };
    let beating = Call { heartbeat: Some(30_000), ..Call::of("wait_at", json!("gate")) };
    let once = client.start(one_activity, "once", once).await.expect("it starts");
    let again = client.start(one_activity, "again", beating).await.expect("it starts");
    for id in ["once", "again"] {
        until("it is at work", || cluster.ledger.count(id, "wait_at", Phase::Started) == 1).await;
    }
    worker.kill();
    let worker = cluster.worker(&Cache::Warm.worker()).await;
    // The task is handed on after its 15 s, as the next attempt if there may be one.
    until("the second attempt", || cluster.ledger.count("again", "wait_at", Phase::Started) == 2).await;
    let settled = result(&once).await;
    assert_eq!(settled.failure_kind(), Some(FailureKind::Lost), "{settled:?}");
    assert_eq!(cluster.ledger.count("once", "wait_at", Phase::Started), 1, "at most once");
    cluster.gates.open("gate");
    assert_eq!(result(&again).await, Settled::Ok(json!("gate")));
    Stage { cluster, orchestrator, worker }.finish().await;
}
