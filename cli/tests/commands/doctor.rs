//! What the doctor sees.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_nats::jetstream::consumer::{FromConsumer, pull};
use async_nats::jetstream::stream::{Config, PersistenceMode};
use futures_util::StreamExt;
use serde_json::Value;
use stepwell_connection::ConnectionOptions;
use stepwell_connection::provision::ensure_queue;
use stepwell_nats_server::{NatsServer, find};
use stepwell_shared::encoding::VERSION;
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::subject::{self, EventAddress};

use stepwell_shared::ownership::Checkpoint;
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::{Bucket, checkpoint_key};

use crate::support::{Dev, Process, command, eventually, stepwell};
use crate::worker;

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name);
    check.unwrap_or_else(|| panic!("no {name} in {report}"))
}

fn status_of(report: &Value, name: &str) -> String {
    check(report, name)["status"].as_str().unwrap().to_owned()
}

fn orchestrator(url: &str) -> Process {
    let arguments = ["orchestrator", "--no-http"];
    let process = Process(command(url, &arguments).stderr(Stdio::null()).spawn().unwrap());
    eventually("the orchestrator", || (stepwell(url, &["workers"]).code == 0).then_some(()));
    process
}

/// A server with a monitoring port, and where that is. `jetstream` is put into its JetStream block.
fn monitored(jetstream: &str) -> (NatsServer, String) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let store = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("monitored-{port}"));
    let _ = std::fs::remove_dir_all(&store);
    // A second block takes the place of the first one, with everything in it.
    let config = format!("http: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {store:?}\n{jetstream} }}");
    let server = NatsServer::builder(find().unwrap()).store_dir(&store).config(config).start().unwrap();
    (server, format!("http://127.0.0.1:{port}"))
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
    assert_eq!(status_of(&report, "consumer default"), "ok");
    assert_eq!(check(&report, "consumer default")["details"]["ack_wait_ms"], 15_000);
    assert_eq!(status_of(&report, "checkpoints"), "ok");
    // Nobody can see it over NATS, so nobody pretends to.
    assert_eq!(status_of(&report, "sync interval"), "note");
    assert!(report["durability"]["power_cut"].as_str().unwrap().contains("not visible from here"));
    // A queue with work and without workers.
    drop(worker);
    let connection = dev.connect().await;
    let task = subject::task(connection.namespace(), &worker::name("lonely"), Shard::FIRST);
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

#[test]
fn who_owns_what_is_told_and_a_partition_without_an_owner_is_a_problem() {
    let (server, _) = monitored("");
    let url = server.url();
    let first = orchestrator(&url);
    let owned = |count: usize| {
        let report: Value = stepwell(&url, &["doctor", "-o", "json"]).json();
        let details = &check(&report, "partitions")["details"];
        let all = details["without_owner"].as_array().unwrap().is_empty();
        let owners = details["owners"].as_object().unwrap();
        // Evenly, as soon as they have come to terms.
        let even = owners.values().all(|has| has.as_array().unwrap().len() == 16 / count);
        (all && owners.len() == count && even).then_some(report)
    };
    let report = eventually("one owner of everything", || owned(1));
    assert_eq!(status_of(&report, "partitions"), "ok");
    let second = orchestrator(&url);
    let report = eventually("two owners", || owned(2));
    let members = report["checks"].as_array().unwrap().iter();
    assert_eq!(members.filter(|check| check["name"].as_str().unwrap().starts_with("member ")).count(), 2);
    drop((first, second));
    let report: Value = stepwell(&url, &["doctor", "-o", "json"]).json();
    assert_eq!(status_of(&report, "partitions"), "problem");
    assert_eq!(check(&report, "partitions")["details"]["without_owner"].as_array().unwrap().len(), 16);
}

#[test]
fn how_often_a_server_syncs_is_read_from_its_monitoring_port() {
    for (jetstream, status, power_cut) in [
        ("", "note", "in the last 2m"),
        ("sync_interval: \"30s\"", "note", "in the last 30s"),
        ("sync_interval: always", "ok", "nothing that was acknowledged is lost"),
    ] {
        let (server, monitor) = monitored(jetstream);
        let _orchestrator = orchestrator(&server.url());
        let report: Value = stepwell(&server.url(), &["doctor", "-o", "json", "--monitor", &monitor]).json();
        assert_eq!(status_of(&report, &format!("sync of {monitor}")), status);
        assert_eq!(status_of(&report, &format!("storage of {monitor}")), "ok");
        let said = report["durability"]["power_cut"].as_str().unwrap();
        assert!(said.contains(power_cut), "{jetstream}: {said}");
    }
    // Whoever cannot be asked is not praised.
    let (server, _) = monitored("");
    let _orchestrator = orchestrator(&server.url());
    let report: Value =
        stepwell(&server.url(), &["doctor", "-o", "json", "--monitor", "http://127.0.0.1:1"]).json();
    assert_eq!(status_of(&report, "monitor http://127.0.0.1:1"), "warning");
    assert!(report["durability"]["power_cut"].as_str().unwrap().contains("not visible from here"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_acknowledges_before_it_writes_is_refused_by_doctor_and_orchestrator() {
    let (server, _) = monitored("");
    let url = server.url();
    drop(orchestrator(&url));
    let connection = ConnectionOptions::to_url(&url).connect("test").await.unwrap();
    let jetstream = connection.jetstream();
    let name = "STEPWELL_default_HISTORY";
    let config = jetstream.get_stream(name).await.unwrap().cached_info().config.clone();
    let config = Config { persist_mode: Some(PersistenceMode::Async), ..config };
    // The server does not let it be changed; an operator makes the stream anew.
    jetstream.update_stream(&config).await.unwrap_err();
    jetstream.delete_stream(name).await.unwrap();
    jetstream.create_stream(config).await.unwrap();
    let doctor = stepwell(&url, &["doctor"]);
    assert!(doctor.stdout.contains("persist_mode is async, expected default"), "{doctor:?}");
    doctor.failed(1);
    let refused = stepwell(&url, &["orchestrator", "--no-http"]).failed(1);
    assert!(
        refused.contains(name) && refused.contains("persist_mode is async, expected default"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_before_what_was_seen_in_it_and_what_takes_tasks_away_are_problems() {
    let (server, _) = monitored("");
    let url = server.url();
    drop(orchestrator(&url));
    let connection = ConnectionOptions::to_url(&url).connect("test").await.unwrap();
    let owners = connection.bucket(Bucket::Owners).await.unwrap();
    let beyond = Checkpoint { v: VERSION, sequence: 1_000_000, history: 0 };
    owners.put(checkpoint_key(3), serde_json::to_vec(&beyond).unwrap().into()).await.unwrap();
    let tasks = connection.jetstream().get_stream("STEPWELL_default_TASKS").await.unwrap();
    let thief = async_nats::jetstream::consumer::pull::Config {
        durable_name: Some("thief".into()),
        filter_subject: "stepwell.default.task.other".into(),
        ..Default::default()
    };
    tasks.create_consumer(thief).await.unwrap();
    let report: Value = stepwell(&url, &["doctor", "-o", "json"]).json();
    assert_eq!(status_of(&report, "checkpoints"), "problem");
    assert!(check(&report, "checkpoints")["found"].as_str().unwrap().contains("1000000 was already seen"));
    assert_eq!(status_of(&report, "consumer thief"), "problem");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_paused_is_named() {
    let (server, _) = monitored("");
    let url = server.url();
    let _orchestrator = orchestrator(&url);
    let connection = ConnectionOptions::to_url(&url).connect("test").await.unwrap();
    let queue = worker::name("mails");
    ensure_queue(&connection, &queue, Shard::FIRST).await.unwrap();
    let task = subject::task(connection.namespace(), &queue, Shard::FIRST);
    connection.publisher().publish(task, None, "{}".into()).await.unwrap().await.unwrap();
    let mails = || {
        let report: Value = stepwell(&url, &["doctor", "-o", "json"]).json();
        (status_of(&report, "consumer mails"), check(&report, "consumer mails").clone())
    };
    let (status, found) = mails();
    assert_eq!((status.as_str(), &found["details"]["passed_over"]), ("ok", &Value::from(0)), "{found}");
    let pause = serde_json::json!({ "pause_until": "2100-01-01T00:00:00Z" });
    let verb = "CONSUMER.PAUSE.STEPWELL_default_TASKS.mails".to_owned();
    connection.api::<Value>(verb, &pause).await.unwrap();
    let (status, found) = mails();
    assert_eq!((status.as_str(), &found["details"]["paused"]), ("warning", &Value::from(true)), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_a_consumer_has_passed_over_are_named() {
    let (server, _) = monitored("");
    let url = server.url();
    let _orchestrator = orchestrator(&url);
    let connection = ConnectionOptions::to_url(&url).connect("test").await.unwrap();
    let queue = worker::name("mails");
    let right = ensure_queue(&connection, &queue, Shard::FIRST).await.unwrap().cached_info().config.clone();
    let right = pull::Config::try_from_consumer_config(right).unwrap();
    let task = subject::task(connection.namespace(), &queue, Shard::FIRST);
    let wrong = pull::Config { filter_subject: format!("{task}-2"), ..right.clone() };
    let stream = "STEPWELL_default_TASKS";
    let consumer = connection.jetstream().update_consumer_on_stream(wrong, stream).await.unwrap();
    connection.publisher().publish(task, None, "{}".into()).await.unwrap().await.unwrap();
    // Whoever asks it for a task makes it go on to the end of the stream.
    let asked = consumer.batch().max_messages(1).expires(Duration::from_secs(1)).messages();
    let mut none = asked.await.unwrap();
    assert!(none.next().await.is_none());
    connection.jetstream().update_consumer_on_stream(right, stream).await.unwrap();
    let report: Value = stepwell(&url, &["doctor", "-o", "json"]).json();
    let found = check(&report, "consumer mails");
    assert_eq!(status_of(&report, "consumer mails"), "warning", "{found}");
    assert_eq!(found["details"]["passed_over"], 1, "{found}");
}
