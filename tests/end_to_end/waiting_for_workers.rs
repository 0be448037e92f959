//! No worker for a queue or a type: the run waits, visibly, and goes on when one appears.

use serde_json::json;
use stepwell::shared::history::StallKind;
use stepwell_tests::cluster::Cluster;
use stepwell_tests::ledger::Phase;
use stepwell_tests::workflows::Settled;
use stepwell_tests::workflows::activities::{Call, one_activity};
use stepwell_tests::workflows::deploy::{Version, good::deploy};
use stepwell_tests::workflows::lifecycle::{GO, chain};

use crate::stage::{Cache, PROGRAM, Stage, result, warm_and_cold};

warm_and_cold!(
    a_run_waits_for_a_worker_of_its_queue,
    a_run_waits_for_a_worker_with_its_code,
    an_activity_waits_for_a_worker_of_its_queue,
    an_activity_waits_for_a_worker_with_its_code,
);

async fn a_run_waits_for_a_worker_of_its_queue(cache: Cache) {
    let cluster = Cluster::start("no-worker", PROGRAM).await;
    let orchestrator = cluster.orchestrator().await;
    let handle = cluster.client.start(chain, "w", 2).await.expect("it starts");
    let stuck = cluster.until_stuck("w").await.stall.expect("a reason");
    assert_eq!(stuck.kind, StallKind::NoWorker);
    assert!(stuck.message.contains("`default`"), "{}", stuck.message);
    let worker = cluster.worker(&cache.worker()).await;
    assert_eq!(result(&handle).await.len(), 2);
    // In the middle of a run, too; also when the orchestrator that knew of it is gone.
    let waits = cluster.client.start(deploy, "middle", ()).await.expect("it starts");
    cluster
        .until_described("it waits for its signal", &waits, |it| {
            it.summary.history_length >= 2 && it.pending_activities.is_empty()
        })
        .await;
    worker.stop().await;
    waits.signal(GO, 3).await.expect("it is open");
    cluster.until_stuck("middle").await;
    orchestrator.kill();
    let orchestrator = cluster.orchestrator().await;
    let worker = cluster.worker(&cache.worker()).await;
    assert_eq!(result(&waits).await, "before 3 after");
    assert_eq!(cluster.stuck().await.len(), 0);
    Stage { cluster, orchestrator, worker }.finish().await;
}

async fn a_run_waits_for_a_worker_with_its_code(cache: Cache) {
    let stage = Stage::with("no-code", &cache.worker().version(Version::Missing)).await;
    let handle = stage.cluster.client.start(deploy, "d", ()).await.expect("it starts");
    let stuck = stage.cluster.until_stuck("d").await.stall.expect("a reason");
    assert_eq!(stuck.kind, StallKind::UnknownType);
    assert!(stuck.message.contains("`deploy`"), "{}", stuck.message);
    let with_code = stage.cluster.worker(&cache.worker()).await;
    handle.signal(GO, 4).await.expect("it is open");
    assert_eq!(result(&handle).await, "before 4 after");
    with_code.stop().await;
    stage.finish().await;
}

async fn an_activity_waits_for_a_worker_of_its_queue(cache: Cache) {
    let stage = Stage::new("no-activity-worker", cache).await;
    let cluster = &stage.cluster;
    let call = Call { queue: Some("elsewhere".to_owned()), ..Call::of("note", json!("hello")) };
    let handle = cluster.client.start(one_activity, "a", call).await.expect("it starts");
    let described =
        cluster.until_described("it waits", &handle, |it| !it.pending_activities.is_empty()).await;
    let pending = &described.pending_activities[0];
    assert_eq!((pending.queue.as_str(), pending.attempt), ("elsewhere", 1));
    assert!(described.waiting_for.iter().any(|line| line.contains("note")), "{:?}", described.waiting_for);
    let elsewhere = cluster.worker(&cache.worker().queue("elsewhere").no_workflows()).await;
    assert_eq!(result(&handle).await, Settled::Ok(json!("hello")));
    elsewhere.stop().await;
    stage.finish().await;
}

async fn an_activity_waits_for_a_worker_with_its_code(cache: Cache) {
    let stage = Stage::new("no-activity-code", cache).await;
    let cluster = &stage.cluster;
    let setup = cache.worker().queue("elsewhere").no_workflows();
    let without = cluster.worker(&setup.clone().no_desk()).await;
    let mut call = Call { queue: Some("elsewhere".to_owned()), ..Call::of("note", json!("hello")) };
    call.retry.maximum_attempts = Some(1);
    let handle = cluster.client.start(one_activity, "a", call).await.expect("it starts");
    let described = cluster
        .until_described("it waits for a worker", &handle, |it| {
            it.pending_activities.iter().any(|pending| pending.state == "waiting_for_worker")
        })
        .await;
    assert!(
        described.waiting_for.iter().any(|line| line.contains("note") && line.contains("elsewhere")),
        "{:?}",
        described.waiting_for
    );
    // Others of the queue are served meanwhile.
    let other = Call { queue: Some("elsewhere".to_owned()), ..Call::of("double", json!(4)) };
    let other = cluster.client.start(one_activity, "other", other).await.expect("it starts");
    assert_eq!(result(&other).await, Settled::Ok(json!(8)));
    without.stop().await;
    let with_code = cluster.worker(&setup).await;
    assert_eq!(result(&handle).await, Settled::Ok(json!("hello")), "a refusal is no attempt");
    assert_eq!(cluster.ledger.count("a", "note", Phase::Started), 1);
    with_code.stop().await;
    stage.finish().await;
}
