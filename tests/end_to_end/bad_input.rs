//! What cannot be taken in is answered or set aside with a reason, listed, counted; it stalls nobody,
//! panics nothing, loses nothing.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::PullConsumer;
use futures_util::StreamExt;
use serde_json::{Value, json};
use stepwell_shared::ids::Namespace;
use stepwell_shared::subject::Stream;
use stepwell_tests::cluster::Cluster;
use stepwell_tests::http;
use stepwell_tests::patience::{eventually, in_time};
use stepwell_tests::workflows::lifecycle::{chain, waits};

use crate::stage::{Cache, PROGRAM, Stage, result};

/// Messages that anyone may publish, and the code of the reason for which each is set aside.
fn bad_messages() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let large = json!({"v": 1, "input": "x".repeat(600_000)}).to_string().into_bytes();
    let large_signal = json!({"v": 1, "payload": "x".repeat(600_000)}).to_string().into_bytes();
    let messages: [(&str, &[u8], &str); 29] = [
        // Starts.
        ("new.start.chain", b"not json", "malformed_body"),
        ("new.start.chain", b"", "malformed_body"),
        ("new.start.chain", b"\xff\xfe", "malformed_body"),
        ("new.start.chain", b"[1,2]", "malformed_body"),
        ("new.start.chain", br#"{"v":1,"input":3"#, "malformed_body"),
        ("new.start.chain", br#"{"input":3}"#, "malformed_body"),
        ("new.start.chain", br#"{"v":"one","input":3}"#, "malformed_body"),
        ("new.start.chain", br#"{"v":2,"input":3}"#, "unknown_version"),
        ("new.start.chain", br#"{"v":1,"queue":"a b"}"#, "malformed_body"),
        ("new.start.chain", br#"{"v":1,"run_timeout_ms":0}"#, "invalid_options"),
        ("new.start.chain", &large, "payload_too_large"),
        // Ids and names.
        ("new.begin.chain", br#"{"v":1}"#, "malformed_subject"),
        ("a.b.start.chain", br#"{"v":1}"#, "malformed_subject"),
        ("wild*card.start.chain", br#"{"v":1}"#, "malformed_subject"),
        ("great>er.start.chain", br#"{"v":1}"#, "malformed_subject"),
        ("bad=escape.start.chain", br#"{"v":1}"#, "malformed_subject"),
        ("=41.start.chain", br#"{"v":1}"#, "malformed_subject"),
        ("control=07.start.chain", br#"{"v":1}"#, "invalid_id"),
        ("new.start.no$name", br#"{"v":1}"#, "invalid_id"),
        // Signals and requests to stop.
        ("open.signal.go", b"seven", "malformed_body"),
        ("open.signal.go", br#"{"v":1,"payload":}"#, "malformed_body"),
        ("open.signal.go", br#"{"v":99}"#, "unknown_version"),
        ("open.signal.go", &large_signal, "payload_too_large"),
        ("nobody.signal.go", br#"{"v":1}"#, "not_found"),
        ("nobody.cancel", br#"{"v":1}"#, "not_found"),
        ("nobody.terminate", br#"{"v":1}"#, "not_found"),
        ("open.cancel", br#"{"reason":"no version"}"#, "malformed_body"),
        ("open.compensation.one", br#"{"v":1,"action":"skip"}"#, "malformed_subject"),
        ("open.compensation.1", br#"{"v":1,"action":"skip"}"#, "not_stuck"),
    ];
    messages.into_iter().map(|(subject, body, code)| (subject, body.to_vec(), code)).collect()
}

/// In the order in which the messages had arrived.
fn in_order(mut rejections: Vec<Value>) -> Vec<Value> {
    rejections.sort_by_key(|rejection| rejection["sequence"].as_u64());
    rejections
}

#[tokio::test]
async fn bad_messages_are_set_aside_listed_and_counted() {
    let cluster = Cluster::start("bad-input", PROGRAM).await;
    let address = http::free_address();
    let orchestrator = cluster.orchestrator_with(&["--listen", &address]);
    cluster.answered().await;
    let worker = cluster.worker(&Cache::Warm.worker()).await;
    let open = cluster.client.start(waits, "open", ()).await.expect("it starts");
    let mut wanted: BTreeMap<&str, u64> = BTreeMap::new();
    let messages = bad_messages();
    for (subject, body, code) in &messages {
        cluster.publish(&format!("stepwell.default.workflow.{subject}"), body.clone()).await;
        *wanted.entry(code).or_default() += 1;
    }
    let list = in_order(cluster.rejected(messages.len()).await);
    assert_eq!(list.len(), messages.len());
    for (rejection, (subject, body, code)) in list.iter().zip(&messages) {
        assert_eq!(rejection["code"], **code, "{subject}: {rejection}");
        assert_eq!(rejection["size"], body.len(), "{rejection}");
        let message = rejection["message"].as_str().expect("a reason");
        assert!(message.len() > 10, "{rejection}");
        assert!(rejection["preview"].as_str().expect("text").len() <= 4_096);
    }
    for (code, count) in wanted {
        let label = format!("code=\"{code}\"");
        let (_, body) = http::get(&address, "/metrics").await.expect("metrics");
        let counted = http::metric(&body, "stepwell_rejected_total", &[&label]);
        assert_eq!(counted, Some(count as f64), "{code}");
    }
    // Nobody was stalled, nothing was lost, and the ids can still be used.
    open.signal_untyped("go", 1).await.expect("it is open");
    assert_eq!(result(&open).await, 1);
    let new = cluster.client.start(chain, "new", 2).await.expect("it starts");
    assert_eq!(result(&new).await.len(), 2);
    assert_eq!(cluster.stuck().await.len(), 0);
    Stage { cluster, orchestrator, worker }.finish().await;
}

#[tokio::test]
async fn who_asks_is_answered() {
    let stage = Stage::new("answers", Cache::Warm).await;
    let cluster = &stage.cluster;
    let control = "bell\u{7}";
    let long = "x".repeat(201);
    let requests = [
        ("start", json!({"id": "", "type": "chain"}), "invalid_id"),
        ("start", json!({"id": control, "type": "chain"}), "invalid_id"),
        ("start", json!({"id": long, "type": "chain"}), "invalid_id"),
        ("start", json!({"id": "a", "type": "no dots. allowed"}), "invalid_id"),
        ("start", json!({"id": "a", "type": "chain", "queue": "*"}), "invalid_id"),
        ("start", json!({"id": "a"}), "malformed_body"),
        ("start", json!([1]), "malformed_body"),
        ("start", json!({"id": "a", "type": "chain", "run_timeout_ms": 0}), "invalid_options"),
        ("signal", json!({"id": "a", "name": "go"}), "not_found"),
        ("signal", json!({"id": "a", "name": "g o"}), "invalid_id"),
        ("cancel", json!({"id": "a"}), "not_found"),
        ("terminate", json!({"id": "a"}), "not_found"),
        ("query", json!({"id": "a", "name": "status"}), "not_found"),
        ("result", json!({"id": "a"}), "not_found"),
        ("describe", json!({"id": "a"}), "not_found"),
        ("history", json!({"id": "a"}), "not_found"),
        ("compensation", json!({"id": "a", "seq": 1, "action": "undo"}), "malformed_body"),
        ("list", json!({"status": ["sleeping"]}), "malformed_body"),
    ];
    for (verb, body, code) in requests {
        let answer = cluster.ask(verb, &body).await;
        assert_eq!(answer["error"]["code"], code, "{verb} {body}: {answer}");
        assert!(answer["error"]["message"].as_str().is_some_and(|text| text.len() > 10), "{answer}");
    }
    // A plain publisher that wants to know is told, too.
    let nats = cluster.client.connection().client();
    for (body, wanted) in
        [(r#"{"v":1,"input":1}"#, "accepted"), (r#"{"v":1,"input":1}"#, "rejected"), ("?", "rejected")]
    {
        let inbox = nats.new_inbox();
        let mut answers = nats.subscribe(inbox.clone()).await.expect("an inbox");
        let mut headers = HeaderMap::new();
        headers.insert("Stepwell-Answer-To", inbox.as_str());
        let subject = "stepwell.default.workflow.plain.start.waits";
        let sent = cluster.client.connection().jetstream();
        let sent = sent.publish_with_headers(subject, headers, body.into()).await.expect("it is sent");
        sent.await.expect("it is stored");
        let answer = in_time("a verdict", answers.next()).await.expect("a verdict");
        let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
        assert!(answer.get(wanted).is_some(), "{body}: {answer}");
    }
    stage.finish().await;
}

/// Takes the next task of the queue `default`, as a worker without an SDK does.
async fn next_task(cluster: &Cluster) -> Value {
    let jetstream = cluster.client.connection().jetstream();
    let (shard, _) = eventually("a task", || cluster.last_task()).await;
    let stream = Stream::Tasks(shard).name(&Namespace::default());
    let consumer: PullConsumer = eventually("the queue's consumer", || async {
        jetstream.get_consumer_from_stream("default", &stream).await.ok()
    })
    .await;
    let fetch = consumer.fetch().max_messages(1).expires(stepwell_tests::patience::PATIENCE);
    let mut messages = fetch.messages().await.expect("a pull");
    let message = in_time("a task", messages.next()).await.expect("a task").expect("a task");
    message.ack().await.expect("it is acknowledged");
    serde_json::from_slice(&message.payload).expect("JSON")
}

#[tokio::test]
async fn forged_late_and_senseless_reports_change_nothing() {
    let stage = Stage::with("forged", &Cache::Warm.worker().no_activities()).await;
    let cluster = &stage.cluster;
    let first = cluster.client.start(chain, "first", 2).await.expect("it starts");
    let task = next_task(cluster).await;
    let second = cluster.client.start(chain, "second", 1).await.expect("it starts");
    let other = next_task(cluster).await;
    let subject = |task: &Value, id: &str, step: &str| {
        let run = task["run_id"].as_str().expect("a run");
        format!("stepwell.default.workflow.{id}.activity.{run}.{step}")
    };
    let report = |task: &Value, token: &Value, result: &str| {
        json!({"v": 1, "attempt": task["attempt"], "token": token,
            "outcome": {"completed": {"result": result}}})
        .to_string()
    };
    let forged = json!("0123456789abcdef");
    let no_outcome = json!({"v": 1, "attempt": 1, "token": task["token"]}).to_string();
    let new_version =
        json!({"v": 7, "attempt": 1, "token": task["token"], "outcome": {"cancelled": {}}}).to_string();
    let next_attempt =
        json!({"v": 1, "attempt": 2, "token": task["token"], "outcome": {"cancelled": {}}}).to_string();
    let bad = [
        (subject(&task, "first", "1"), report(&task, &forged, "forged"), "wrong_token"),
        (subject(&task, "first", "1"), report(&task, &other["token"], "of another run"), "wrong_token"),
        (subject(&task, "first", "2"), report(&task, &task["token"], "of another step"), "wrong_token"),
        (subject(&task, "first", "undo-1"), report(&task, &task["token"], "of another step"), "wrong_token"),
        (subject(&other, "first", "1"), report(&other, &other["token"], "for another id"), "unknown_step"),
        (subject(&task, "first", "1"), next_attempt, "wrong_token"),
        (subject(&task, "first", "one"), report(&task, &task["token"], "no step"), "invalid_id"),
        (subject(&task, "first", "01"), report(&task, &task["token"], "no step"), "invalid_id"),
        (subject(&task, "first", "1"), "[]".to_owned(), "malformed_body"),
        (subject(&task, "first", "1"), no_outcome, "malformed_body"),
        (subject(&task, "first", "1"), new_version, "unknown_version"),
    ];
    for (subject, body, _) in &bad {
        cluster.publish(subject, body.as_bytes()).await;
    }
    let list = in_order(cluster.rejected(bad.len()).await);
    for (rejection, (subject, body, code)) in list.iter().zip(&bad) {
        assert_eq!(rejection["code"], *code, "{subject} {body}: {rejection}");
    }
    // The right one counts, once; the rest of the run goes its way.
    cluster.publish(&subject(&task, "first", "1"), report(&task, &task["token"], "right")).await;
    cluster.publish(&subject(&task, "first", "1"), report(&task, &task["token"], "late")).await;
    let next = next_task(cluster).await;
    assert_eq!(next["step"], "2");
    cluster.publish(&subject(&next, "first", "2"), report(&next, &next["token"], "end")).await;
    assert_eq!(result(&first).await, ["right", "end"]);
    let newest = &cluster.rejected(bad.len() + 1).await[0];
    assert_eq!(newest["code"], "attempt_over", "{newest}");
    cluster.publish(&subject(&other, "second", "1"), report(&other, &other["token"], "fine")).await;
    assert_eq!(result(&second).await, ["fine"]);
    // After the end of the run, too.
    cluster.publish(&subject(&next, "first", "2"), report(&next, &next["token"], "later still")).await;
    let newest = &cluster.rejected(bad.len() + 2).await[0];
    let code = newest["code"].as_str().expect("a code");
    assert!(["attempt_over", "already_closed"].contains(&code), "{newest}");
    stage.finish().await;
}
