//! Workers are replaced while runs are open: by code that does something else, that panics, that waits for
//! what it must not wait for. Only the runs of that code are held up, and they go on when it is right again.

use stepwell::Status;
use stepwell::shared::history::StallKind;
use stepwell_tests::ledger::Phase;
use stepwell_tests::patience::{eventually, until};
use stepwell_tests::workflows::deploy::{Version, good::deploy};
use stepwell_tests::workflows::lifecycle::{GO, chain};

use crate::stage::{Cache, Stage, failure, result, warm_and_cold};

warm_and_cold!(
    changed_code_is_found_out_and_shown,
    a_panic_holds_up_one_run_and_nobody_else,
    a_foreign_wait_is_named,
);

/// Opens a run with the good code, replaces the worker by one with `version`, and gives the signal that it
/// waits for. Returns the reason why it cannot go on then, after checking that others can, and that it
/// goes on when the good code is back.
async fn stalls(name: &str, cache: Cache, version: Version, wanted: StallKind) -> String {
    let Stage { cluster, orchestrator, worker } = Stage::new(name, cache).await;
    let client = &cluster.client;
    let handle = client.start(deploy, "d", ()).await.expect("it starts");
    until("it waits for the signal", || cluster.ledger.count("d", "note", Phase::Finished) == 1).await;
    cluster.until_described("it waits", &handle, |it| it.pending_activities.is_empty()).await;
    worker.stop().await;
    let worker = cluster.worker(&cache.worker().version(version)).await;
    handle.signal(GO, 7).await.expect("it is open");
    // Visible in the list of stuck runs and in the description, with the same reason.
    let summary = eventually("the stall", || async {
        let stuck = cluster.stuck().await.into_iter().find(|run| run.workflow_id.as_str() == "d")?;
        (stuck.stall.as_ref()?.kind == wanted).then_some(stuck)
    })
    .await;
    assert_eq!(summary.status, Status::Running, "nobody fails it behind the user's back");
    let stall = summary.stall.expect("a reason");
    let described = handle.describe().await.expect("a description");
    assert_eq!(described.summary.stall.map(|stall| stall.kind), Some(wanted));
    assert!(!described.waiting_for.is_empty());
    // The same worker goes on with everybody else.
    let other = client.start(chain, "other", 3).await.expect("it starts");
    assert_eq!(result(&other).await.len(), 3);
    assert_eq!(cluster.ledger.count("d", "note", Phase::Started), 1, "and nothing was asked for twice");
    worker.stop().await;
    let worker = cluster.worker(&cache.worker()).await;
    assert_eq!(result(&handle).await, "before 7 after");
    assert_eq!(cluster.stuck().await.len(), 0);
    assert_eq!(cluster.ledger.count("d", "note", Phase::Started), 2);
    Stage { cluster, orchestrator, worker }.finish().await;
    stall.message
}

async fn changed_code_is_found_out_and_shown(cache: Cache) {
    let message = stalls("nondeterminism", cache, Version::Changed, StallKind::Nondeterminism).await;
    let both = message.contains("run_activity #1 `note`") && message.contains("run_activity #1 `double`");
    assert!(both, "what history has and what the code did: {message}");
    assert!(message.contains("deploy.rs"), "and where: {message}");
}

async fn a_panic_holds_up_one_run_and_nobody_else(cache: Cache) {
    let message = stalls("panic", cache, Version::Panics, StallKind::Panic).await;
    assert!(message.contains("nobody thought of 7") && message.contains("deploy.rs"), "{message}");
}

async fn a_foreign_wait_is_named(cache: Cache) {
    let message = stalls("foreign", cache, Version::Foreign, StallKind::ForeignWait).await;
    assert!(message.contains("ctx.sleep") && message.contains("deploy.rs"), "{message}");
}

#[tokio::test]
async fn a_stalled_run_can_be_cancelled_terminated_and_signalled() {
    let stage = Stage::with("stalled", &Cache::Warm.worker().version(Version::Missing)).await;
    let cluster = &stage.cluster;
    let first = cluster.client.start(deploy, "first", ()).await.expect("it starts");
    let second = cluster.client.start(deploy, "second", ()).await.expect("it starts");
    for id in ["first", "second"] {
        let stuck = cluster.until_stuck(id).await;
        assert_eq!(stuck.stall.map(|stall| stall.kind), Some(StallKind::UnknownType), "{id}");
    }
    first.terminate("no code for it").await.expect("it is open");
    assert_eq!(failure(&first).await.0, Status::Terminated);
    second.signal(GO, 1).await.expect("it is open");
    second.cancel("never mind").await.expect("it is open");
    let good = cluster.worker(&Cache::Warm.worker()).await;
    // With code the run is told of its cancellation before anything else.
    assert_eq!(failure(&second).await.0, Status::Cancelled);
    assert_eq!(cluster.stuck().await.len(), 0);
    good.stop().await;
    stage.finish().await;
}
