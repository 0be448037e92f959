//! The worker without an SDK takes part in a run.

use std::path::Path;
use std::process::Command;

use async_nats::HeaderMap;
use serde_json::json;
use stepwell::{FailureKind, WorkflowHandle};
use stepwell_tests::cluster::Cluster;
use stepwell_tests::processes::Process;
use stepwell_tests::workflows::Settled;
use stepwell_tests::workflows::activities::{Call, one_activity};

use crate::stage::{Cache, Stage, result};

/// Says that the first attempt of the first step has begun, as a worker would that was given the task by a
/// server which does not remember it. The token is no one's; that it is stored is what counts.
async fn begin_elsewhere<O>(cluster: &Cluster, run: &WorkflowHandle<O>) {
    let run_id = run.run_id().expect("it was started here");
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", format!("started-{run_id}/1/1"));
    let subject = format!("stepwell.default.workflow.{}.activity.{run_id}.1", run.id());
    let body = json!({"v": 1, "attempt": 1, "token": "", "outcome": {"started": {}}}).to_string();
    let jetstream = cluster.client.connection().jetstream();
    let sent = jetstream.publish_with_headers(subject, headers, body.into()).await;
    sent.expect("it can be sent").await.expect("it is stored");
}

#[tokio::test]
async fn a_worker_in_python_takes_part() {
    let Some(python) = std::env::var_os("STEPWELL_PYTHON") else {
        eprintln!(
            "skipped: STEPWELL_PYTHON is not set; point it at a python3 that has nats-py, or run cargo xtask test"
        );
        return;
    };
    let python = Path::new(&python);
    let importable = Command::new(python).args(["-c", "import nats"]).status();
    assert!(importable.is_ok_and(|status| status.success()), "{} has no nats-py", python.display());
    let stage = Stage::new("python", Cache::Warm).await;
    let cluster = &stage.cluster;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/python_worker/worker.py");
    let call = |activity: &str| Call {
        queue: Some("snakes".to_owned()),
        schedule_to_start: Some(60_000),
        ..Call::of(activity, json!("one two  three"))
    };
    let mut at_most_once = Call { schedule_to_start: None, ..call("count_words") };
    at_most_once.retry.maximum_attempts = Some(1);
    let begun = cluster.client.start(one_activity, "begun", at_most_once.clone()).await.expect("it starts");
    begin_elsewhere(cluster, &begun).await;
    let arguments = [script.to_string_lossy().into_owned(), "snakes".to_owned()];
    let worker = Process::start("python", python, &arguments, &cluster.server.url(), cluster.folder());
    let once = cluster.client.start(one_activity, "once", at_most_once).await.expect("it starts");
    assert_eq!(result(&once).await, Settled::Ok(json!(3)));
    let id = "ids with spaces. and dots";
    let counted = cluster.client.start(one_activity, id, call("count_words")).await.expect("it starts");
    assert_eq!(result(&counted).await, Settled::Ok(json!(3)));
    let reversed = cluster.client.start(one_activity, "r", call("reverse_text")).await.expect("it starts");
    assert_eq!(result(&reversed).await, Settled::Ok(json!("eerht  owt eno")));
    let mut wrong = Call { input: json!(7), ..call("count_words") };
    wrong.retry.maximum_attempts = Some(2);
    let wrong = cluster.client.start(one_activity, "w", wrong).await.expect("it starts");
    let settled = result(&wrong).await;
    assert_eq!(settled.failure_kind(), Some(FailureKind::Application), "{settled:?}");
    let settled = result(&begun).await;
    assert_eq!(settled.failure_kind(), Some(FailureKind::Lost), "it was begun elsewhere: {settled:?}");
    drop(worker);
    stage.finish().await;
}
