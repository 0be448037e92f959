//! Cancellation of activities by workflow code and by losing a race is in `concurrency`; here is what an
//! activity sees of it while it runs.

use std::time::Duration;

use serde_json::json;
use stepwell::Status;
use stepwell_tests::ledger::Phase;
use stepwell_tests::patience::until;
use stepwell_tests::workflows::activities::{Call, one_activity};

use crate::stage::{Cache, Stage, failure, result, together, warm_and_cold};

warm_and_cold!(a_cancellation_reaches_activities_wherever_they_are);

async fn a_cancellation_reaches_activities_wherever_they_are(cache: Cache) {
    let stage = Stage::new("cancelling", cache).await;
    let (client, ledger) = (&stage.cluster.client, &stage.cluster.ledger);
    let elsewhere = stage.cluster.worker(&cache.worker().queue("elsewhere").no_workflows()).await;
    let running = Call::of("wait_at", json!("never"));
    let on_another_queue = Call { queue: Some("elsewhere".to_owned()), ..running.clone() };
    let mut between_attempts = Call::of("flaky", json!({"failures": 9, "error_type": "Busy"}));
    between_attempts.retry.initial_interval_ms = 3_600_000;
    let without_worker = Call { queue: Some("nobody".to_owned()), ..running.clone() };
    let cases = [
        ("running", running, Phase::Started),
        ("elsewhere", on_another_queue, Phase::Started),
        ("between", between_attempts, Phase::Failed),
        ("without", without_worker, Phase::Started),
    ];
    together(cases.map(|(id, call, phase)| async move {
        let activity = call.activity.clone();
        let handle = client.start(one_activity, id, call).await.expect("it starts");
        if id != "without" {
            until(id, || ledger.count(id, &activity, phase) == 1).await;
        }
        handle.cancel("stop").await.expect("it is open");
        // The code returns what became of the activity; it does not wait for its worker.
        let settled = result(&handle).await;
        assert_eq!(settled.failure_kind(), Some(stepwell::FailureKind::Cancelled), "{id}");
        if activity == "wait_at" && id != "without" {
            until(id, || ledger.count(id, &activity, Phase::Cancelled) == 1).await;
        }
    }))
    .await;
    assert_eq!(ledger.count("between", "flaky", Phase::Started), 1);
    // A timeout of the run is pushed just as well.
    let short = Duration::from_millis(200);
    let call = Call::of("wait_at", json!("never"));
    let handle = client.start(one_activity, "timeout", call).run_timeout(short).await.expect("it starts");
    assert_eq!(result(&handle).await.failure_kind(), Some(stepwell::FailureKind::Cancelled));
    until("timeout", || ledger.count("timeout", "wait_at", Phase::Cancelled) == 1).await;
    // Cancelled before its code was ever asked.
    let unserved = client.start_untyped("chain", "unserved", 1).queue("nobody").await.expect("it starts");
    stage.cluster.until_stuck("unserved").await;
    unserved.cancel("nobody will come").await.expect("it is open");
    let worker = stage.cluster.worker(&cache.worker().queue("nobody")).await;
    let (status, _) = failure(&unserved).await;
    assert_eq!(status, Status::Cancelled);
    worker.stop().await;
    elsewhere.stop().await;
    stage.finish().await;
}
