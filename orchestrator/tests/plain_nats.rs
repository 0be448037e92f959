//! The orchestrator seen from plain NATS: no SDK on either side. The test itself is the workflow worker, the
//! activity worker and the client, and speaks JSON.

use std::time::Duration;

use async_nats::jetstream;
use futures_util::StreamExt;
use serde_json::{Value, json};
use stepwell_connection::ConnectionOptions;
use stepwell_nats_server::NatsServer;
use stepwell_orchestrator::{Options, OrchestratorError};
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::subject::partition;
use tokio_util::sync::CancellationToken;

/// Longest wait for anything; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(30);

struct World {
    client: async_nats::Client,
    jetstream: jetstream::Context,
    stop: CancellationToken,
    orchestrator: tokio::task::JoinHandle<()>,
    server: NatsServer,
    _folder: TempFolder,
}

struct TempFolder(std::path::PathBuf);

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl World {
    async fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("stepwell-{name}-{}", std::process::id()));
        let server = NatsServer::builder(stepwell_nats_server::find().expect("nats-server"))
            .store_dir(&folder)
            .start()
            .expect("nats-server starts");
        let client = async_nats::connect(server.url()).await.expect("connects");
        let stop = CancellationToken::new();
        let (orchestrator, jetstream) = (start_orchestrator(&server, &stop), jetstream::new(client.clone()));
        let world = Self { client, jetstream, stop, orchestrator, server, _folder: TempFolder(folder) };
        world.ready().await;
        world
    }

    /// Waits until an orchestrator answers.
    async fn ready(&self) {
        tokio::time::timeout(PATIENCE, async {
            while self.client.request("stepwell.default.api.list", "".into()).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the orchestrator answers");
    }

    async fn ask(&self, verb: &str, body: Value) -> Value {
        let subject = format!("stepwell.default.api.{verb}");
        let answer = tokio::time::timeout(PATIENCE, self.client.request(subject, body.to_string().into()));
        let answer = answer.await.expect("in time").expect("an answer");
        serde_json::from_slice(&answer.payload).expect("JSON")
    }

    /// Answers workflow tasks of a queue with what `code` makes of the task and the turn's events.
    async fn workflow_worker(&self, queue: &str, code: fn(&Value, &[Value]) -> Value) {
        let subject = format!("stepwell.default.workflow-task.{queue}");
        let mut tasks = self.client.queue_subscribe(subject, queue.to_owned()).await.expect("subscribes");
        let client = self.client.clone();
        tokio::spawn(async move {
            while let Some(message) = tasks.next().await {
                let task: Value = serde_json::from_slice(&message.payload).expect("JSON");
                let events = task["work"]["turn"]["events"].as_array().cloned().unwrap_or_default();
                let answer = code(&task, &events);
                let reply = json!({"v": 1, "worker": "w-1", "answer": answer});
                let _ = client.publish(message.reply.expect("a reply"), reply.to_string().into()).await;
            }
        });
        self.client.flush().await.expect("flushed");
    }

    async fn next_activity(&self, queue: &str) -> (jetstream::Message, Value) {
        // The orchestrator makes the consumer with the queue's first task.
        let consumer: jetstream::consumer::PullConsumer = tokio::time::timeout(PATIENCE, async {
            loop {
                match self.jetstream.get_consumer_from_stream(queue, "STEPWELL_default_TASKS").await {
                    Ok(consumer) => return consumer,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        })
        .await
        .expect("the queue's consumer");
        let mut messages =
            consumer.fetch().max_messages(1).expires(PATIENCE).messages().await.expect("a pull");
        let message = messages.next().await.expect("a task").expect("a task");
        let task = serde_json::from_slice(&message.payload).expect("JSON");
        (message, task)
    }

    async fn report(&self, task: &Value, outcome: Value) {
        let subject = format!(
            "stepwell.default.workflow.{}.activity.{}.{}",
            task["workflow_id"].as_str().expect("a text"),
            task["run_id"].as_str().expect("a text"),
            task["step"].as_str().expect("a text")
        );
        let body = json!({"v": 1, "attempt": task["attempt"], "token": task["token"], "outcome": outcome});
        self.publish(&subject, &body.to_string()).await;
    }

    /// Publishes reports in the form that they have in a pack.
    async fn publish_pack(&self, id: &str, reports: &[String]) {
        let subject = format!("stepwell.default.workflow.{id}.activity.-.pack");
        let index: Vec<String> =
            reports.iter().enumerate().map(|(place, report)| format!("{place}:{}", report.len())).collect();
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Stepwell-Pack", index.join(","));
        let sent = self.jetstream.publish_with_headers(subject, headers, reports.concat().into());
        sent.await.expect("sent").await.expect("stored");
    }

    async fn publish(&self, subject: &str, body: &str) {
        let ack = self.jetstream.publish(subject.to_owned(), body.to_owned().into()).await.expect("sent");
        ack.await.expect("stored");
    }

    /// Waits until so many records of a run are stored.
    async fn records(&self, id: &str, count: usize) -> Vec<Value> {
        tokio::time::timeout(PATIENCE, async {
            loop {
                let answer = self.ask("history", json!({"id": id})).await;
                let records = answer["ok"]["records"].as_array().expect("records").clone();
                if records.len() >= count {
                    return records;
                }
            }
        })
        .await
        .expect("records")
    }

    async fn rejected(&self, count: usize) -> Vec<Value> {
        tokio::time::timeout(PATIENCE, async {
            loop {
                let answer = self.ask("rejected", json!({})).await;
                let list = answer["ok"]["rejected"].as_array().expect("a list").clone();
                if list.len() >= count {
                    return list;
                }
            }
        })
        .await
        .expect("rejections")
    }

    async fn finish(self) {
        self.stop.cancel();
        self.orchestrator.await.expect("the orchestrator stops in good order");
    }
}

fn start_orchestrator(server: &NatsServer, stop: &CancellationToken) -> tokio::task::JoinHandle<()> {
    let (connection, stop) = (ConnectionOptions::to_url(&server.url()), stop.clone());
    let options = Options { no_http: true, ..Options::default() };
    tokio::spawn(async move {
        stepwell_orchestrator::run(&connection, options, stop).await.expect("runs");
    })
}

/// A report as it lies in a pack.
fn packed(task: &Value, result: &str) -> String {
    let text = |field: &str| task[field].as_str().expect("a text").replace(' ', "=20");
    let body = json!({"v": 1, "attempt": task["attempt"], "token": task["token"],
                      "outcome": {"completed": {"result": result}}});
    format!("{}.activity.{}.{}\n{body}", text("workflow_id"), text("run_id"), text("step"))
}

fn activity(seq: u32, kind: &str) -> Value {
    json!({"run_activity": {"seq": seq, "type": kind, "queue": "default", "input": seq, "options": {"start_to_close_ms": 10000}}})
}

/// Two activities, one after the other, then a signal.
fn two_steps_and_a_signal(_: &Value, events: &[Value]) -> Value {
    let mut commands = Vec::new();
    for event in events {
        let object = event.as_object().expect("an event");
        let (kind, event) = object.iter().next().expect("one kind");
        match kind.as_str() {
            "run_started" => commands.push(activity(1, "first")),
            "activity_completed" if event["seq"] == 1 => commands.push(activity(2, "second")),
            "activity_completed" => {}
            "signal_received" => commands.push(json!({"complete_run": {"result": event["payload"]}})),
            "cancel_requested" => commands.push(json!({"cancel_run": {"failure": {"kind": "cancelled", "type": "Cancelled", "message": "told to"}}})),
            other => panic!("unexpected {other}"),
        }
    }
    json!({"commands": {"commands": commands}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_from_start_to_result() {
    let world = World::new("plain").await;
    world.workflow_worker("default", two_steps_and_a_signal).await;
    world.publish("stepwell.default.workflow.order-1.start.order", r#"{"v":1,"input":{"x":1}}"#).await;
    for _ in 0..2 {
        let (message, task) = world.next_activity("default").await;
        world.report(&task, json!({"completed": {"result": "done"}})).await;
        message.ack().await.expect("acked");
    }
    let receipt = world.ask("signal", json!({"id": "order-1", "name": "go", "payload": 42})).await;
    assert_eq!(receipt["ok"]["duplicate"], false, "{receipt}");
    let result = world.ask("result", json!({"id": "order-1", "wait_ms": 20000})).await;
    assert_eq!(result["ok"]["status"], "completed", "{result}");
    assert_eq!(result["ok"]["result"], 42);
    let history = world.ask("history", json!({"id": "order-1"})).await;
    let records = history["ok"]["records"].as_array().expect("records");
    assert_eq!(records.len(), 4, "{history}");
    let list = world.ask("list", json!({})).await;
    assert_eq!(list["ok"]["total"], 1, "{list}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_set_aside_and_stalls_nobody() {
    let world = World::new("bad").await;
    world.workflow_worker("default", two_steps_and_a_signal).await;
    let bad = [
        ("a.start.order", "not json", "malformed_body"),
        ("a.start.order", r#"{"v":9}"#, "unknown_version"),
        ("a.start.order", r#"{"input":1}"#, "malformed_body"),
        ("a.b.start.order", r#"{"v":1}"#, "malformed_subject"),
        ("a=zz.start.order", r#"{"v":1}"#, "malformed_subject"),
        ("a=0A.start.order", r#"{"v":1}"#, "invalid_id"),
        ("a.start.or$der", r#"{"v":1}"#, "invalid_id"),
        ("nobody.signal.go", r#"{"v":1}"#, "not_found"),
        ("nobody.cancel", r#"{"v":1}"#, "not_found"),
        (
            "nobody.activity.run.1",
            r#"{"v":1,"attempt":1,"token":"x","outcome":{"cancelled":{}}}"#,
            "wrong_token",
        ),
    ];
    for (subject, body, _) in bad {
        world.publish(&format!("stepwell.default.workflow.{subject}"), body).await;
    }
    let list = world.rejected(bad.len()).await;
    let mut found: Vec<_> = list.iter().map(|it| it["code"].as_str().unwrap().to_owned()).collect();
    let mut wanted: Vec<_> = bad.iter().map(|(_, _, code)| (*code).to_owned()).collect();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    let open = world.ask("start", json!({"id": "a", "type": "order"})).await;
    assert_eq!(open["ok"]["duplicate"], false, "{open}");
    let again = world.ask("start", json!({"id": "a", "type": "order"})).await;
    assert_eq!(again["error"]["code"], "already_open", "{again}");
    assert_eq!(again["error"]["run_id"], open["ok"]["run_id"]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_counts_once_and_only_with_its_token() {
    let world = World::new("token").await;
    world.workflow_worker("default", two_steps_and_a_signal).await;
    world.ask("start", json!({"id": "t", "type": "order"})).await;
    let (message, task) = world.next_activity("default").await;
    let mut forged = task.clone();
    forged["token"] = json!("00000000000000000000000000000000");
    world.report(&forged, json!({"completed": {"result": "forged"}})).await;
    world.report(&task, json!({"completed": {"result": "first"}})).await;
    world.report(&task, json!({"completed": {"result": "second"}})).await;
    message.ack().await.expect("acked");
    let (_, next) = world.next_activity("default").await;
    assert_eq!(next["type"], "second");
    let codes: Vec<_> = world.rejected(2).await.iter().map(|it| it["code"].clone()).collect();
    assert_eq!(codes, [json!("attempt_over"), json!("wrong_token")]);
    let history = world.ask("history", json!({"id": "t"})).await;
    assert_eq!(history["ok"]["records"][1]["events"][0]["activity_completed"]["result"], "first");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_report_of_a_pack_counts_for_itself() {
    let world = World::new("pack").await;
    world.workflow_worker("default", two_steps_and_a_signal).await;
    let partition_of = |id: &str| partition(&WorkflowId::new(id).expect("an id"), 16);
    let first = "pack 0".to_owned();
    let mut others = (1..).map(|number| format!("pack {number}"));
    let same = others.find(|id| partition_of(id) == partition_of(&first)).expect("one of the same partition");
    let stranger = others.find(|id| partition_of(id) != partition_of(&first)).expect("one of another");
    let mut tasks = Vec::new();
    for id in [&first, &same, &stranger] {
        world.ask("start", json!({"id": id, "type": "order"})).await;
        let (message, task) = world.next_activity("default").await;
        message.ack().await.expect("acked");
        assert_eq!((&task["workflow_id"], &task["partition"]), (&json!(id), &json!(partition_of(id))));
        tasks.push(task);
    }
    let [a, b, c] = tasks.as_slice() else { panic!("three tasks") };
    let mut forged = b.clone();
    forged["token"] = json!("00000000000000000000000000000000");
    let reports = [
        packed(a, "first"),
        packed(&forged, "forged"),
        packed(c, "astray"),
        packed(a, "second"),
        "{}".into(),
    ];
    world.publish_pack("pack=200", &reports).await;
    let records = world.records(&first, 2).await;
    assert_eq!(records[1]["events"][0]["activity_completed"]["result"], "first", "{records:?}");
    let rejected = world.rejected(3).await;
    let mut codes: Vec<_> = rejected.iter().map(|it| it["code"].as_str().expect("a code")).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["malformed_body", "malformed_body", "wrong_token"], "{rejected:?}");
    let sequences: Vec<_> = rejected.iter().map(|it| &it["sequence"]).collect();
    assert!(sequences.iter().all(|sequence| *sequence == sequences[0]), "{rejected:?}");
    // What workers ask finds reports in packs, and only genuine ones.
    for (task, reported) in
        [(a, json!({"ended": {}})), (b, json!({"nothing": {}})), (c, json!({"nothing": {}}))]
    {
        let answer = world
            .ask(
                "attempt",
                json!({"id": task["workflow_id"], "run_id": task["run_id"], "step": task["step"],
                       "attempt": task["attempt"], "token": task["token"]}),
            )
            .await;
        assert_eq!(answer["ok"]["reported"], reported, "{answer}");
    }
    world.publish_pack("pack=200", &[packed(b, "third")]).await;
    let records = world.records(&same, 2).await;
    assert_eq!(records[1]["events"][0]["activity_completed"]["result"], "third", "{records:?}");
    // A pack that says nothing of what is in it is set aside as a whole.
    world.publish("stepwell.default.workflow.pack=200.activity.-.pack", &packed(c, "lost")).await;
    assert_eq!(world.rejected(4).await[0]["code"], "malformed_body");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_worker_a_run_waits_visibly_and_goes_on_when_one_appears() {
    let world = World::new("waits").await;
    world.ask("start", json!({"id": "w", "type": "order"})).await;
    let stuck = world.ask("list", json!({"stuck": true})).await;
    assert_eq!(stuck["ok"]["runs"][0]["stall"]["kind"], "no_worker", "{stuck}");
    world.workflow_worker("default", two_steps_and_a_signal).await;
    let announcement = json!({"v": 1, "worker": "w-1", "queue": "default", "workflows": ["order"]});
    let publish = world.client.publish("stepwell.default.worker.announce", announcement.to_string().into());
    publish.await.expect("announced");
    let (_, task) = world.next_activity("default").await;
    assert_eq!(task["type"], "first");
    let cancelled = world.ask("cancel", json!({"id": "w", "reason": "enough"})).await;
    assert_eq!(cancelled["ok"]["duplicate"], false, "{cancelled}");
    let result = world.ask("result", json!({"id": "w", "wait_ms": 20000})).await;
    assert_eq!(result["ok"]["status"], "cancelled", "{result}");
    world.finish().await;
}

/// The same, and a question about it.
fn two_steps_and_a_stage(task: &Value, events: &[Value]) -> Value {
    let query = &task["work"]["query"];
    match query["name"].as_str() {
        None => two_steps_and_a_signal(task, events),
        Some("stage") => {
            let stage = json!({"after": task["after"], "asked_with": query["argument"]});
            json!({"query_result": {"result": stage}})
        }
        Some(name) => json!({"query_failed": {"message": format!("no query {name}; there is stage")}}),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_answered_by_the_worker_while_the_run_is_open_and_afterwards() {
    let world = World::new("query").await;
    world.workflow_worker("default", two_steps_and_a_stage).await;
    world.ask("start", json!({"id": "q", "type": "order"})).await;
    let question = json!({"id": "q", "name": "stage", "argument": {"unit": "€", "factor": 1.5}});
    let answer = world.ask("query", question.clone()).await;
    let stage = json!({"after": 1, "asked_with": {"unit": "€", "factor": 1.5}});
    assert_eq!(answer, json!({"ok": {"result": stage}}));
    let mistaken = world.ask("query", json!({"id": "q", "name": "stagee"})).await;
    assert_eq!(mistaken["error"]["code"], "query_failed", "{mistaken}");
    assert_eq!(mistaken["error"]["message"], "no query stagee; there is stage");
    assert_eq!(world.records("q", 1).await.len(), 1, "questions leave no trace");
    world.ask("signal", json!({"id": "q", "name": "go"})).await;
    let result = world.ask("result", json!({"id": "q", "wait_ms": 20000})).await;
    assert_eq!(result["ok"]["status"], "completed", "{result}");
    let answer = world.ask("query", json!({"id": "q", "name": "stage"})).await;
    assert_eq!(answer, json!({"ok": {"result": {"after": 2, "asked_with": null}}}));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_id_is_used_again_after_its_run_closed() {
    fn closes_at_once(_: &Value, _: &[Value]) -> Value {
        json!({"commands": {"commands": [{"complete_run": {"result": null}}]}})
    }
    let world = World::new("again").await;
    world.workflow_worker("default", closes_at_once).await;
    let mut runs = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let receipt = world.ask("start", json!({"id": "again", "type": "order"})).await;
        runs.insert(receipt["ok"]["run_id"].as_str().expect("a run").to_owned());
        let result = world.ask("result", json!({"id": "again", "wait_ms": 20000})).await;
        assert_eq!(result["ok"]["status"], "completed", "{result}");
    }
    assert_eq!(runs.len(), 3);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_is_told_that_its_run_is_over_also_when_another_took_its_place_or_it_is_forgotten() {
    let world = World::new("over").await;
    world.workflow_worker("default", two_steps_and_a_signal).await;
    world.ask("start", json!({"id": "over", "type": "order"})).await;
    let (_message, task) = world.next_activity("default").await;
    let mut request = task.clone();
    request["id"] = request["workflow_id"].take();
    request["run_only"] = json!(true);
    let closed = || async {
        let answer = world.ask("attempt", request.clone()).await;
        answer["ok"]["run_closed"].as_bool().unwrap_or_else(|| panic!("{answer}"))
    };
    assert!(!closed().await);
    // What is missing, or of another run, says nothing.
    let state = world.jetstream.get_key_value("STEPWELL_default_state").await.expect("the bucket");
    let summary = state.get("over").await.expect("read").expect("a summary");
    state.purge("over").await.expect("purged");
    assert!(!closed().await);
    let text = String::from_utf8(summary.to_vec()).expect("text");
    let run_id = task["run_id"].as_str().expect("a run");
    let another = text.replace(run_id, "01a04d1a-d864-7c3e-9f51-2b6d1e0a4c77").into();
    state.put("over", another).await.expect("written");
    assert!(!closed().await);
    state.put("over", summary).await.expect("written");
    world.ask("terminate", json!({"id": "over"})).await;
    let second = world.ask("start", json!({"id": "over", "type": "order"})).await;
    let second = second["ok"]["run_id"].as_str().expect("a run");
    tokio::time::timeout(PATIENCE, async {
        let of_second = |summary: bytes::Bytes| String::from_utf8_lossy(&summary).contains(second);
        while !state.get("over").await.expect("read").is_some_and(of_second) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the second run's summary");
    assert!(closed().await);
    // As after the retention.
    world.ask("terminate", json!({"id": "over"})).await;
    let history = world.jetstream.get_stream("STEPWELL_default_HISTORY").await.expect("the stream");
    history.purge().await.expect("purged");
    state.purge("over").await.expect("purged");
    assert!(closed().await);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_repeated_after_other_runs_is_answered_with_its_own_run() {
    let world = World::new("repeat").await;
    let start = |request: &str| json!({"id": "r", "type": "order", "request_id": request});
    let first = world.ask("start", start("one")).await;
    world.ask("terminate", json!({"id": "r"})).await;
    let second = world.ask("start", start("two")).await;
    assert_ne!(first["ok"]["run_id"], second["ok"]["run_id"], "{second}");
    for (request, run) in [("one", &first), ("two", &second)] {
        let again = world.ask("start", start(request)).await;
        assert_eq!(again["ok"]["duplicate"], true, "{again}");
        assert_eq!(again["ok"]["run_id"], run["ok"]["run_id"]);
    }
    world.finish().await;
}

impl World {
    /// Stops the orchestrator and makes it forget how far it had read, as if it had died before it could say.
    async fn stop_and_forget_checkpoints(&mut self) {
        self.stop.cancel();
        (&mut self.orchestrator).await.expect("the orchestrator stops in good order");
        let owners = self.jetstream.get_key_value("STEPWELL_default_owners").await.expect("the bucket");
        for partition in 0..16 {
            owners.purge(format!("checkpoint.{partition}")).await.expect("purged");
        }
    }

    /// Starts a successor that comes so late that the server has forgotten the message ids: a restarted
    /// server forgets those of messages that are gone.
    async fn start_again(&mut self) {
        self.server.kill();
        self.server.restart().expect("restarts");
        self.client = async_nats::connect(self.server.url()).await.expect("connects");
        self.jetstream = jetstream::new(self.client.clone());
        self.stop = CancellationToken::new();
        self.orchestrator = start_orchestrator(&self.server, &self.stop);
        self.ready().await;
    }

    /// Why an orchestrator that is started gives up.
    async fn refused(&self) -> OrchestratorError {
        let connection = ConnectionOptions::to_url(&self.server.url());
        let options = Options { no_http: true, ..Options::default() };
        let run = stepwell_orchestrator::run(&connection, options, CancellationToken::new());
        tokio::time::timeout(PATIENCE, run).await.expect("it gives up").expect_err("it does not start")
    }

    async fn events(&self) -> jetstream::stream::Stream {
        self.jetstream.get_stream("STEPWELL_default_EVENTS").await.expect("the stream")
    }

    async fn tasks(&self) -> u64 {
        let stream = self.jetstream.get_stream("STEPWELL_default_TASKS").await.expect("the stream");
        stream.cached_info().state.messages
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_a_predecessor_never_published_is_published_by_its_successor() {
    let mut world = World::new("recover").await;
    world.workflow_worker("default", two_steps_and_a_signal).await;
    world.ask("start", json!({"id": "lost", "type": "order"})).await;
    world.next_activity("default").await;
    world.stop_and_forget_checkpoints().await;
    let stream = world.jetstream.get_stream("STEPWELL_default_TASKS").await.expect("the stream");
    stream.purge().await.expect("purged");
    world.start_again().await;
    world.workflow_worker("default", two_steps_and_a_signal).await;
    let (message, task) = world.next_activity("default").await;
    assert_eq!((&task["step"], &task["attempt"]), (&json!("1"), &json!(1)));
    world.report(&task, json!({"completed": {"result": 1}})).await;
    message.ack().await.expect("acked");
    let (_, task) = world.next_activity("default").await;
    assert_eq!(task["step"], "2");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_lies_on_its_queue_is_not_published_again() {
    let mut world = World::new("present").await;
    world.workflow_worker("default", two_steps_and_a_signal).await;
    world.ask("start", json!({"id": "there", "type": "order"})).await;
    let (message, task) = world.next_activity("default").await;
    world.stop_and_forget_checkpoints().await;
    world.start_again().await;
    world.workflow_worker("default", two_steps_and_a_signal).await;
    // The report comes after everything that was read again, so that its effects show what was done before.
    world.report(&task, json!({"completed": {"result": 1}})).await;
    message.ack().await.expect("acked");
    let (_, task) = world.next_activity("default").await;
    assert_eq!(task["step"], "2");
    assert_eq!(world.tasks().await, 1);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_gone_are_noticed_and_the_stream_can_be_moved_on() {
    let mut world = World::new("regressed").await;
    world.workflow_worker("default", two_steps_and_a_signal).await;
    world.ask("start", json!({"id": "old", "type": "order"})).await;
    for _ in 0..2 {
        let (message, task) = world.next_activity("default").await;
        world.report(&task, json!({"completed": {"result": 1}})).await;
        message.ack().await.expect("acked");
    }
    world.records("old", 3).await;
    world.stop.cancel();
    (&mut world.orchestrator).await.expect("the orchestrator stops in good order");
    let read = world.events().await.cached_info().state.last_sequence;
    // Nobody makes a stream anew that has vanished, before somebody says so.
    world.jetstream.delete_stream("STEPWELL_default_EVENTS").await.expect("deleted");
    let OrchestratorError::Provision(error) = world.refused().await else { panic!("a stream has vanished") };
    assert!(error.to_string().contains("STEPWELL_default_EVENTS"), "{error}");
    let owners = world.jetstream.get_key_value("STEPWELL_default_owners").await.expect("the bucket");
    owners.delete("provisioned").await.expect("the loss is accepted");
    // It is made anew then, and not taken for a fresh start either.
    let mut text = String::new();
    for _ in 0..2 {
        let error = world.refused().await;
        let OrchestratorError::StreamRegressed { last_sequence, seen, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!((*last_sequence, *seen), (0, read));
        text = error.to_string();
        assert!(text.contains(&format!("ends at 0, but {read} was already seen")), "{text}");
    }
    // What it says: with this, all that is published from now on comes after all that was read.
    let (_, next) = text.split_once("purge STEPWELL_<namespace>_EVENTS --seq ").expect("a way out");
    let next: u64 = next.trim_end_matches('`').parse().expect("a sequence");
    assert!(next > read, "{text}");
    world.events().await.purge().sequence(next).await.expect("moved on");
    let state = world.events().await.cached_info().state.clone();
    assert_eq!((state.messages, state.first_sequence, state.last_sequence), (0, next, next - 1));
    world.start_again().await;
    world.workflow_worker("default", two_steps_and_a_signal).await;
    let receipt = world.ask("signal", json!({"id": "old", "name": "go", "payload": 42})).await;
    assert_eq!(receipt["ok"]["duplicate"], false, "{receipt}");
    let result = world.ask("result", json!({"id": "old", "wait_ms": 20000})).await;
    assert_eq!((&result["ok"]["status"], &result["ok"]["result"]), (&json!("completed"), &json!(42)));
    assert_eq!(world.events().await.cached_info().state.last_sequence, next);
    let new = world.ask("start", json!({"id": "new", "type": "order"})).await;
    assert_eq!(new["ok"]["duplicate"], false, "{new}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_that_came_too_late_is_put_right() {
    let mut world = World::new("late-summary").await;
    world
        .workflow_worker(
            "default",
            |_, _| json!({"commands": {"commands": [{"complete_run": {"result": 7}}]}}),
        )
        .await;
    let started = world.ask("start", json!({"id": "quick", "type": "order"})).await;
    let result = world.ask("result", json!({"id": "quick", "wait_ms": 20000})).await;
    assert_eq!(result["ok"]["status"], "completed");
    world.stop.cancel();
    (&mut world.orchestrator).await.expect("the orchestrator stops in good order");
    // What a predecessor had on its way before the end of the run, and what arrives after it.
    let late = json!({
        "v": 1, "workflow_id": "quick", "run_id": started["ok"]["run_id"], "type": "order", "queue": "default",
        "status": "running", "started_at_ms": 1, "history_length": 0,
    });
    let bucket = world.jetstream.get_key_value("STEPWELL_default_state").await.expect("the bucket");
    let mut closed = world.client.subscribe("stepwell.default.closed.quick").await.expect("subscribes");
    bucket.put("quick", late.to_string().into()).await.expect("stored");
    world.start_again().await;
    let word = tokio::time::timeout(PATIENCE, closed.next()).await.expect("in time").expect("a word");
    let word: Value = serde_json::from_slice(&word.payload).expect("JSON");
    assert_eq!((&word["status"], &word["result"]), (&json!("completed"), &json!(7)));
    let stored = bucket.get("quick").await.expect("read").expect("there");
    let stored: Value = serde_json::from_slice(&stored).expect("JSON");
    assert_eq!(stored, word);
    world.finish().await;
}
