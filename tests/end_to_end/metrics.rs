//! The metrics and health endpoints of orchestrator and worker answer, and count what happened.

use serde_json::json;
use stepwell_tests::cluster::Cluster;
use stepwell_tests::http;
use stepwell_tests::patience::eventually;
use stepwell_tests::workflows::activities::{Call, one_activity};
use stepwell_tests::workflows::lifecycle::{GO, chain, refuses, waits};

use crate::stage::{Cache, PROGRAM, Stage, failure, result, warm_and_cold};

warm_and_cold!(what_happened_is_counted);

async fn what_happened_is_counted(cache: Cache) {
    let cluster = Cluster::start("metrics", PROGRAM).await;
    let (orchestrator_at, worker_at) = (http::free_address(), http::free_address());
    let orchestrator = cluster.orchestrator_with(&["--listen", &orchestrator_at]);
    cluster.answered().await;
    let worker = cluster.worker(&cache.worker().slots(5).metrics(&worker_at)).await;
    for address in [&orchestrator_at, &worker_at] {
        let (status, _) = http::get(address, "/livez").await.expect("it lives");
        assert_eq!(status, 200);
        eventually("readiness", || async { http::get(address, "/readyz").await.filter(|it| it.0 == 200) })
            .await;
        assert_eq!(http::get(address, "/nonsense").await.expect("an answer").0, 404);
    }
    let client = &cluster.client;
    for number in 0..3 {
        let handle = client.start(chain, format!("c{number}"), 4).await.expect("it starts");
        result(&handle).await;
    }
    failure(&client.start(refuses, "r", json!(null)).await.expect("it starts")).await;
    let flaky = Call::of("flaky", json!({"failures": 2, "error_type": "Busy"}));
    result(&client.start(one_activity, "f", flaky).await.expect("it starts")).await;
    let waiting = client.start(waits, "w", ()).await.expect("it starts");
    let sleeping = client.start_untyped("naps", "s", json!([30])).await.expect("it starts");
    result(&sleeping).await;
    let unserved = client.start_untyped("chain", "u", 1).queue("nobody").await.expect("it starts");
    cluster.until_stuck("u").await;

    let expected: [(&str, &[&str], f64); 11] = [
        ("stepwell_runs_started_total", &["type=\"chain\""], 4.0),
        ("stepwell_runs_closed_total", &["type=\"chain\"", "status=\"completed\""], 3.0),
        ("stepwell_runs_closed_total", &["type=\"refuses\"", "status=\"failed\""], 1.0),
        ("stepwell_run_duration_seconds_count", &["type=\"chain\""], 3.0),
        ("stepwell_activity_attempts_total", &["activity=\"note\"", "outcome=\"completed\""], 12.0),
        ("stepwell_activity_attempts_total", &["activity=\"flaky\"", "outcome=\"failed\""], 2.0),
        ("stepwell_activity_retries_total", &["activity=\"flaky\""], 2.0),
        ("stepwell_activity_schedule_to_start_seconds_count", &["queue=\"default\""], 15.0),
        ("stepwell_activity_execution_seconds_count", &["activity=\"note\""], 12.0),
        ("stepwell_workflow_task_failures_total", &["reason=\"no_worker\""], 1.0),
        ("stepwell_partitions_owned", &[], 16.0),
    ];
    for (name, labels, least) in expected {
        // Counted after the fact that it counts; gauges are written now and then.
        eventually(&format!("{name} {labels:?} to be {least}"), || async {
            let (_, body) = http::get(&orchestrator_at, "/metrics").await?;
            http::metric(&body, name, labels).filter(|value| *value >= least)
        })
        .await;
    }
    waiting.signal(GO, 1).await.expect("it is open");
    result(&waiting).await;
    let (status, body) = http::get(&orchestrator_at, "/metrics").await.expect("metrics");
    assert_eq!(status, 200);
    for name in [
        "signals_total",
        "history_append_seconds_count",
        "workflow_task_seconds_count",
        "wakes_total",
        "timer_lag_seconds_count",
    ] {
        let value = http::metric(&body, &format!("stepwell_{name}"), &[]);
        assert!(value.is_some_and(|value| value >= 1.0), "{name}: {value:?}");
    }
    for name in ["events_backlog", "events_in_flight", "fenced_writes_total", "cached_runs", "timers_pending"]
    {
        assert!(http::metric(&body, &format!("stepwell_{name}"), &[]).is_some(), "{name}");
    }

    let (status, body) = http::get(&worker_at, "/metrics").await.expect("metrics");
    assert_eq!(status, 200);
    let worker_metric =
        |name: &str, labels: &[&str]| http::metric(&body, &format!("stepwell_worker_{name}"), labels);
    assert_eq!(
        worker_metric("activity_attempts_total", &["activity=\"note\"", "outcome=\"completed\""]),
        Some(12.0)
    );
    assert_eq!(
        worker_metric("activity_attempts_total", &["activity=\"flaky\"", "outcome=\"failed\""]),
        Some(2.0)
    );
    assert_eq!(worker_metric("activity_execution_seconds_count", &["activity=\"note\""]), Some(12.0));
    assert_eq!(worker_metric("activity_slots", &[]), Some(5.0));
    assert_eq!(worker_metric("activity_slots_used", &[]), Some(0.0));
    let turns = worker_metric("workflow_tasks_total", &["workflow=\"chain\"", "outcome=\"commands\""]);
    assert_eq!(turns, Some(15.0), "5 turns of 3 runs");
    let replays = worker_metric("workflow_replays_total", &[]).expect("replays");
    let hits = worker_metric("run_cache_hits_total", &[]).expect("hits");
    match cache {
        Cache::Warm => assert!(hits >= 12.0 && replays < 5.0, "{hits} hits, {replays} replays"),
        Cache::Cold => assert!(hits < 1.0 && replays >= 12.0, "{hits} hits, {replays} replays"),
    }
    // Runs that cannot go on are counted now and then, and when somebody takes over.
    let successor_at = http::free_address();
    let successor = cluster.orchestrator_with(&["--listen", &successor_at]);
    orchestrator.stop().await;
    eventually("the stuck run to be counted", || async {
        let (_, body) = http::get(&successor_at, "/metrics").await?;
        http::metric(&body, "stepwell_stuck_runs", &["reason=\"no_worker\""]).filter(|value| *value > 0.0)
    })
    .await;
    unserved.terminate("it was a test").await.expect("it is open");
    failure(&unserved).await;
    Stage { cluster, orchestrator: successor, worker }.finish().await;
}
