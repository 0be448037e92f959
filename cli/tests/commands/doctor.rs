//! What the doctor sees.

use serde_json::Value;
use stepwell_shared::encoding::VERSION;
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::subject::{self, EventAddress};

use crate::support::{Dev, eventually};
use crate::worker;

fn status_of(report: &Value, name: &str) -> String {
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name);
    check.unwrap_or_else(|| panic!("no {name} in {report}"))["status"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_deployment_has_no_problem_and_what_is_wrong_is_named() {
    let dev = Dev::start(&[]);
    let worker = worker::start(&dev).await;
    let text = dev.run(&["doctor"]).ok();
    assert!(text.contains("What failures would cost") && !text.contains("PROBLEM"), "{text}");
    let report: Value = dev.run(&["doctor", "-o", "json"]).json();
    // An older server is worth a note.
    assert!(["ok", "note"].contains(&status_of(&report, "server").as_str()));
    for name in ["namespace", "STEPWELL_default_EVENTS", "KV_STEPWELL_default_state", "runs"] {
        assert_eq!(status_of(&report, name), "ok", "{name}");
    }
    assert_eq!(status_of(&report, "queue default"), "ok");
    assert!(report["durability"]["power_cut"].as_str().unwrap().contains("sync_interval"));
    // A queue with work and without workers.
    drop(worker);
    let connection = dev.connect().await;
    let task = subject::task(connection.namespace(), &worker::name("lonely"));
    connection.publisher().publish(task, None, "{}".into()).await.unwrap().await.unwrap();
    // A message that nobody can read.
    let id = WorkflowId::new("w").unwrap();
    let cancel = subject::event(connection.namespace(), &id, &EventAddress::Cancel);
    let body = format!("{{\"v\":{}}}", VERSION + 1);
    connection.publisher().publish(cancel, None, body.into()).await.unwrap().await.unwrap();
    let rejected = eventually("a message set aside", || {
        let rejected = dev.run(&["rejected", "list"]).ok();
        (!rejected.is_empty()).then_some(rejected)
    });
    assert!(rejected.contains("unknown_version") && rejected.contains("{\"v\":2}"), "{rejected}");
    // Somebody changed a stream behind our back.
    connection.jetstream().delete_stream("KV_STEPWELL_default_heartbeats").await.unwrap();
    let sick = dev.run(&["doctor", "-o", "json"]);
    let report: Value = sick.json();
    assert_eq!(status_of(&report, "queue lonely"), "problem");
    assert_eq!(status_of(&report, "rejected"), "warning");
    assert_eq!(status_of(&report, "KV_STEPWELL_default_heartbeats"), "problem");
    assert!(sick.failed(1).contains("there are 2 problems"));
}
