//! Start, result, failure, cancel, terminate, timeouts of runs, determinism.

use std::time::Duration;

use serde_json::json;
use stepwell::shared::error_code::ErrorCode;
use stepwell::{RequestError, ResultError, StartError, Status};
use stepwell_tests::cluster::Cluster;
use stepwell_tests::ledger::Phase;
use stepwell_tests::patience::until;
use stepwell_tests::workflows::lifecycle::{
    GO, SEEN, Then, chain, cleans_up, echoes, observes, refuses, waits,
};

use crate::stage::{Cache, PROGRAM, Stage, failure, result, together, warm_and_cold};

warm_and_cold!(
    runs_complete_and_can_be_started_again,
    a_start_is_idempotent_by_its_request_id,
    a_failure_keeps_its_type_and_details,
    the_code_can_clean_up_when_it_is_cancelled,
    a_run_is_terminated_without_asking_its_code,
    a_run_ends_at_its_timeout,
    time_chance_and_identity_are_the_same_on_replay,
);

async fn runs_complete_and_can_be_started_again(cache: Cache) {
    let stage = Stage::new("complete", cache).await;
    let (client, ledger) = (&stage.cluster.client, &stage.cluster.ledger);
    // Ids are any text; what subjects cannot hold is escaped.
    let ids = ["plain", "with spaces and. dots", "wild * cards >", "größe/π", "=41", &"long".repeat(50)];
    together(ids.map(|id| async move {
        let handle = client.start(chain, id, 3).await.expect("it starts");
        assert_eq!(result(&handle).await, ["step 1", "step 2", "step 3"]);
        // From another handle, and another client.
        assert_eq!(result(&client.workflow(chain, id)).await.len(), 3);
        assert_eq!(ledger.count(id, "note", Phase::Finished), 3);
    }))
    .await;
    let first = client.workflow_untyped("plain").describe().await.expect("a description").summary;
    assert_eq!((first.status, first.queue.as_str()), (Status::Completed, "default"));
    let again = client.start(chain, "plain", 1).await.expect("a closed id can be used again");
    assert_eq!(result(&again).await, ["step 1"]);
    assert_ne!(again.run_id(), Some(&first.run_id));
    let other = Cluster::start("empty", PROGRAM).await;
    let elsewhere = other.client.start(chain, "plain", 1).timeout(Duration::from_millis(200)).await;
    assert!(
        matches!(elsewhere, Err(StartError::Request(RequestError::Unavailable { .. }))),
        "without an orchestrator: {elsewhere:?}"
    );
    stage.finish().await;
}

async fn a_start_is_idempotent_by_its_request_id(cache: Cache) {
    let stage = Stage::new("idempotent", cache).await;
    let client = &stage.cluster.client;
    let first = client.start(waits, "one", ()).request_id("r-1").await.expect("it starts");
    let again = client.start(waits, "one", ()).request_id("r-1").await.expect("the same start");
    assert_eq!(first.run_id(), again.run_id());
    match client.start(waits, "one", ()).request_id("r-2").await {
        Err(StartError::AlreadyOpen { id, run_id }) => {
            assert_eq!((id.as_str(), Some(&run_id)), ("one", first.run_id()));
        }
        other => panic!("{other:?}"),
    }
    first.signal(GO, 7).await.expect("it waits");
    assert_eq!(result(&first).await, 7);
    let closed = client.start(waits, "one", ()).request_id("r-1").await.expect("the same start still");
    assert_eq!(closed.run_id(), first.run_id());
    assert_eq!(result(&closed).await, 7);
    let starts = stage.cluster.runs().await;
    assert_eq!(starts.len(), 1, "{starts:?}");
    let next = client.start(waits, "one", ()).request_id("r-2").await.expect("another start");
    assert_ne!(next.run_id(), first.run_id());
    next.signal(GO, 8).await.expect("it waits");
    assert_eq!(result(&next).await, 8);
    stage.finish().await;
}

async fn a_failure_keeps_its_type_and_details(cache: Cache) {
    let stage = Stage::new("failure", cache).await;
    let client = &stage.cluster.client;
    let handle = client.start(refuses, "no", json!({"because": [1, 2]})).await.expect("it starts");
    let (status, why) = failure(&handle).await;
    assert_eq!((status, why.error_type.as_str()), (Status::Failed, "Refused"));
    assert_eq!(why.message, "it does not want to");
    assert_eq!(why.details.expect("details").json(), r#"{"because":[1,2]}"#);
    // An input that is not what the code takes holds the run up, visibly; it is not thrown away.
    client.start_untyped("chain", "wrong", "many").await.expect("it starts");
    let stuck = stage.cluster.until_stuck("wrong").await;
    let stall = stuck.stall.expect("a reason");
    assert!(stall.message.contains("the input of workflow `chain` is not a `u32`"), "{}", stall.message);
    // An echo in between: nobody else is held up.
    let echo = client.start(echoes, "echo", json!({"a": [null, 1.5]})).await.expect("it starts");
    assert_eq!(result(&echo).await, json!({"a": [null, 1.5]}));
    let missing = client.workflow(waits, "missing").result().await;
    assert!(matches!(missing, Err(ResultError::NotFound { .. })), "{missing:?}");
    let missing = client.workflow(waits, "missing").signal(GO, 1).await;
    assert_eq!(missing.expect_err("nobody is there").code(), Some(ErrorCode::NotFound));
    stage.finish().await;
}

async fn the_code_can_clean_up_when_it_is_cancelled(cache: Cache) {
    let stage = Stage::new("cancel", cache).await;
    let (client, ledger) = (&stage.cluster.client, &stage.cluster.ledger);
    let wanted =
        [(Then::Stop, Status::Cancelled), (Then::Fail, Status::Failed), (Then::Return, Status::Completed)];
    together(wanted.map(|(then, wanted)| async move {
        let id = format!("{then:?}");
        let handle = client.start(cleans_up, &id, then).await.expect("it starts");
        until("the work begins", || ledger.count(&id, "wait_at", Phase::Started) == 1).await;
        handle.cancel("enough").await.expect("it is open");
        match handle.result().await {
            Ok(text) => assert_eq!((text.as_str(), wanted), ("cleaned up true enough", Status::Completed)),
            Err(ResultError::Failed { status, .. }) => assert_eq!(status, wanted),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(ledger.count(&id, "note", Phase::Finished), 1, "only what was shielded ran");
        // The cancellation was pushed to the activity that was running.
        until("the work stops", || ledger.count(&id, "wait_at", Phase::Cancelled) == 1).await;
        let late = handle.cancel("again").await.expect_err("it is closed").code();
        assert_eq!(late, Some(ErrorCode::AlreadyClosed));
    }))
    .await;
    stage.finish().await;
}

async fn a_run_is_terminated_without_asking_its_code(cache: Cache) {
    let stage = Stage::new("terminate", cache).await;
    let (client, ledger) = (&stage.cluster.client, &stage.cluster.ledger);
    let handle = client.start(cleans_up, "t", Then::Stop).await.expect("it starts");
    until("the work begins", || ledger.count("t", "wait_at", Phase::Started) == 1).await;
    handle.terminate("no more").await.expect("it is open");
    let (status, why) = failure(&handle).await;
    assert_eq!(status, Status::Terminated);
    assert!(why.message.contains("no more"), "{why}");
    until("the work stops", || ledger.count("t", "wait_at", Phase::Cancelled) == 1).await;
    assert_eq!(ledger.count("t", "note", Phase::Started), 0);
    stage.finish().await;
}

async fn a_run_ends_at_its_timeout(cache: Cache) {
    let stage = Stage::new("run-timeout", cache).await;
    let (client, ledger) = (&stage.cluster.client, &stage.cluster.ledger);
    let short = Duration::from_millis(300);
    let run = client.start(cleans_up, "run", Then::Stop).run_timeout(short).await.expect("it starts");
    let execution = client.start(waits, "execution", ()).execution_timeout(short).await.expect("it starts");
    let roomy =
        client.start(chain, "roomy", 2).run_timeout(Duration::from_secs(600)).await.expect("it starts");
    let (status, why) = failure(&run).await;
    assert_eq!((status, why.error_type.as_str()), (Status::TimedOut, "RunTimeout"));
    assert_eq!(ledger.count("run", "note", Phase::Finished), 1, "the code may clean up");
    assert_eq!(failure(&execution).await.0, Status::TimedOut);
    assert_eq!(result(&roomy).await.len(), 2);
    stage.finish().await;
}

async fn time_chance_and_identity_are_the_same_on_replay(cache: Cache) {
    let stage = Stage::new("determinism", cache).await;
    let client = &stage.cluster.client;
    let handle = client.start(observes, "o", 6).await.expect("it starts");
    let seen = result(&handle).await;
    assert_eq!(seen.len(), 6);
    for pair in seen.windows(2) {
        assert!(pair[0].now_ms <= pair[1].now_ms, "{pair:?}");
        assert_ne!((pair[0].bits, &pair[0].uuid), (pair[1].bits, &pair[1].uuid));
        assert!((0.0..1.0).contains(&pair[0].number));
        assert!(pair[0].info.5 < pair[1].info.5, "the history grows");
    }
    let run_id = handle.run_id().expect("a started run").to_string();
    let info = &seen[0].info;
    assert_eq!((info.0.as_str(), &info.1, info.2.as_str()), ("o", &run_id, "observes"));
    // Another worker, which has nothing in memory, comes to the same values.
    let Stage { cluster, orchestrator, worker } = stage;
    worker.stop().await;
    let worker = cluster.worker(&cache.worker()).await;
    let replayed = handle.query(SEEN, ()).await.expect("it is answered by a replay");
    assert_eq!(replayed, seen);
    let other = cluster.client.start(observes, "p", 1).await.expect("it starts");
    assert_ne!(result(&other).await[0].bits, seen[0].bits, "runs differ");
    Stage { cluster, orchestrator, worker }.finish().await;
}
