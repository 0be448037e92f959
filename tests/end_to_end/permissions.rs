//! The permissions that `stepwell auth print` prints. The server runs with exactly those, and everybody logs in
//! as a user of it: each can do all its work and is refused nothing, and what must be refused is.

use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{AckPolicy, pull};
use serde_json::{Value, json};
use stepwell::shared::api::ListRequest;
use stepwell::shared::error_code::ErrorCode;
use stepwell::{Client, Status};
use stepwell_connection::owners;
use stepwell_connection::provision::{ProvisionOptions, check_server, layout, settings, stream_info};
use stepwell_shared::encoding::{VERSION, decode, encode};
use stepwell_shared::ids::{Name, Namespace};
use stepwell_shared::message::{Outcome, ReportMessage};
use stepwell_shared::payload::Payload;
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::{self, Bucket, EventAddress, Stream};
use stepwell_shared::task::ActivityTask;
use stepwell_tests::activities::Flaky;
use stepwell_tests::cluster::{Cluster, WorkerSetup, shards};
use stepwell_tests::ledger::Phase;
use stepwell_tests::patience::{eventually, in_time, until};
use stepwell_tests::processes::Process;
use stepwell_tests::workflows::Settled;
use stepwell_tests::workflows::activities::{Call, one_activity};
use stepwell_tests::workflows::lifecycle::{Then, cleans_up};
use stepwell_tests::workflows::waiting::{NUMBER, PROGRESS, collects};

use crate::guard::{login, logins, printed};
use crate::stage::{PROGRAM, failure, result};

/// How long a queue's tasks wait for a word of their worker, where one is to be lost.
const SHORT_ACK_WAIT: Duration = Duration::from_secs(1);

/// A task that waited for longer is looked at with more care; see `worker/src/wanted.rs`.
const LONG: Duration = Duration::from_secs(6);

async fn guarded(name: &str) -> Cluster {
    Cluster::start_guarded(name, PROGRAM, &printed(), logins()).await
}

async fn connect(cluster: &Cluster, user: &str) -> Client {
    Client::with(&cluster.at(&login(user))).await.unwrap_or_else(|error| panic!("{user}: {error}"))
}

/// What the server has refused to anybody, by its log.
fn refusals(cluster: &Cluster) -> Vec<String> {
    let log = std::fs::read_to_string(cluster.server.log()).expect("the server has a log");
    log.lines().filter(|line| line.contains("Violation")).map(str::to_owned).collect()
}

/// What a stream holds: how many messages, and the number of the last one that it got.
async fn stream(cluster: &Cluster, stream: Stream) -> (u64, u64) {
    let name = stream.name(&Namespace::default());
    let info = stream_info(cluster.client.connection(), &name).await.expect("the server answers");
    let state = info.expect("the stream is there").state;
    (state.messages, state.last_sequence)
}

/// How many tasks are stored.
async fn tasks(cluster: &Cluster) -> u64 {
    let mut all = 0;
    for shard in shards().all() {
        all += stream(cluster, Stream::Tasks(shard)).await.0;
    }
    all
}

#[tokio::test]
async fn every_user_does_its_work_and_is_refused_nothing() {
    let cluster = guarded("permissions").await;
    let orchestrator = cluster.orchestrator().await;
    let client = connect(&cluster, "client").await;
    let worker = takes_up_what_waited(&cluster, &client).await;
    runs_activities(&client).await;
    talks_to_workflows(&cluster, &client).await;
    hands_on_what_a_lost_worker_said(&cluster, &client).await;
    eventually("every task to be acknowledged", || async { (tasks(&cluster).await == 0).then_some(()) })
        .await;
    cluster.check().await;
    worker.stop().await;
    orchestrator.stop().await;
    assert_eq!(client.connection().complaint(), None);
    assert_eq!(refusals(&cluster), [""; 0]);
}

/// Tasks that are on TASKS before their worker connects, and for long: it asks the other worker whether it
/// has them, in EVENTS what was reported of them, and in the bucket `state` whether they are still wanted. The
/// workflow code of the runs moves to it, too, and it replays that.
async fn takes_up_what_waited(cluster: &Cluster, client: &Client) -> Process {
    let first = cluster.worker(&WorkerSetup::default().slots(1)).await;
    let moves = client.start(collects, "moves", 2).await.expect("it starts");
    moves.signal(NUMBER, 1).await.expect("it is open");
    let held = client.start(one_activity, "held", Call::of("wait_at", json!("gate"))).await;
    let held = held.expect("it starts");
    until("it is at work", || cluster.ledger.count("held", "wait_at", Phase::Started) == 1).await;
    // Its slot is taken, so these wait.
    let any = client.start(one_activity, "any", Call::of("note", json!("any"))).await.expect("it starts");
    let mut call = Call::of("note", json!("once"));
    call.retry.maximum_attempts = Some(1);
    let once = client.start(one_activity, "once", call).await.expect("it starts");
    eventually("two tasks that wait", || async { (tasks(cluster).await == 3).then_some(()) }).await;
    let waiting_since = Instant::now();
    until("them to have waited for long", || waiting_since.elapsed() > LONG).await;
    let worker = cluster.worker(&WorkerSetup::default()).await;
    assert_eq!(result(&any).await, Settled::Ok(json!("any")));
    assert_eq!(result(&once).await, Settled::Ok(json!("once")));
    for id in ["any", "once"] {
        let entries = cluster.ledger.read().into_iter().filter(|entry| entry.workflow_id == id);
        let attempts: Vec<(Phase, u32)> = entries.map(|entry| (entry.phase, entry.attempt)).collect();
        assert_eq!(attempts, [(Phase::Started, 1), (Phase::Finished, 1)], "{id}");
    }
    cluster.gates.open("gate");
    assert_eq!(result(&held).await, Settled::Ok(json!("gate")));
    first.stop().await;
    moves.signal(NUMBER, 2).await.expect("it is open");
    assert_eq!(result(&moves).await, [1, 2]);
    worker
}

/// Retries, heartbeats, at most once.
async fn runs_activities(client: &Client) {
    let flaky = Flaky { failures: 2, error_type: "Busy".into(), non_retryable: false, retry_after_ms: None };
    let retries = client.start(one_activity, "retries", Call::of("flaky", json!(flaky)));
    let retries = retries.await.expect("it starts");
    let mut call = Call::of("lose_heart", json!(1));
    call.heartbeat = Some(1_000);
    let heartbeat = client.start(one_activity, "heartbeat", call).await.expect("it starts");
    let mut call = Call::of("text_of", json!(3));
    call.retry.maximum_attempts = Some(1);
    let once = client.start(one_activity, "at-most-once", call).await.expect("it starts");
    let Settled::Ok(attempt_and_key) = result(&retries).await else { panic!("it succeeds in the end") };
    assert_eq!(attempt_and_key[0], 3);
    assert_eq!(result(&heartbeat).await, Settled::Ok(json!([2, 1])));
    assert_eq!(result(&once).await, Settled::Ok(json!("xxx")));
}

/// Signals, queries, cancellation, and what can be read of runs.
async fn talks_to_workflows(cluster: &Cluster, client: &Client) {
    let talks = client.start(collects, "talks", 2).await.expect("it starts");
    talks.signal(NUMBER, 7).await.expect("it is open");
    eventually("the signal to be counted", || async {
        let progress = talks.query(PROGRESS, ()).await.expect("it is answered");
        (progress == "1").then_some(())
    })
    .await;
    talks.signal(NUMBER, 8).await.expect("it is open");
    assert_eq!(result(&talks).await, [7, 8]);
    assert_eq!(talks.query(PROGRESS, ()).await.expect("it is answered by a replay"), "2");
    assert_eq!(talks.describe().await.expect("a description").summary.status, Status::Completed);
    assert!(!talks.history().await.expect("a history").is_empty());
    let listed = client.list(&ListRequest::default()).await.expect("a list");
    assert!(listed.runs.iter().any(|run| run.workflow_id.as_str() == "talks"));
    let stops = client.start(cleans_up, "stops", Then::Stop).await.expect("it starts");
    until("the work begins", || cluster.ledger.count("stops", "wait_at", Phase::Started) == 1).await;
    stops.cancel("enough").await.expect("it is open");
    assert_eq!(failure(&stops).await.0, Status::Cancelled);
    until("the work stops", || cluster.ledger.count("stops", "wait_at", Phase::Cancelled) == 1).await;
    let ends = client.start(cleans_up, "ends", Then::Stop).await.expect("it starts");
    until("the work begins", || cluster.ledger.count("ends", "wait_at", Phase::Started) == 1).await;
    ends.terminate("no more").await.expect("it is open");
    assert_eq!(failure(&ends).await.0, Status::Terminated);
}

/// A worker is killed after a heartbeat; the next one finds what it said in the bucket.
async fn hands_on_what_a_lost_worker_said(cluster: &Cluster, client: &Client) {
    let queue = pull::Config {
        durable_name: Some("fragile".into()),
        filter_subject: "stepwell.default.task.fragile".into(),
        ack_policy: AckPolicy::Explicit,
        ack_wait: SHORT_ACK_WAIT,
        ..pull::Config::default()
    };
    let connection = cluster.client.connection();
    let made = connection.jetstream().create_consumer_on_stream(queue, "STEPWELL_default_TASKS").await;
    made.expect("the queue's consumer");
    let fragile = WorkerSetup::default().queue("fragile").login(login("worker-fragile")).no_workflows();
    let first = cluster.worker(&fragile).await;
    let mut call = Call::of("lose_heart", json!(1));
    call.queue = Some("fragile".into());
    let lost = client.start(one_activity, "lost", call).await.expect("it starts");
    let heartbeats = connection.bucket(Bucket::Heartbeats).await.expect("the bucket is there");
    let key = subject::heartbeat_key(
        &Name::new("fragile").expect("a name"),
        lost.run_id().expect("a started run"),
        "1".parse().expect("a step"),
    );
    eventually("the heartbeat to be written down", || async {
        heartbeats.get(key.clone()).await.expect("it can be read").filter(|details| details == "1")
    })
    .await;
    first.kill();
    let second = cluster.worker(&fragile).await;
    assert_eq!(result(&lost).await, Settled::Ok(json!([2, 1])));
    second.stop().await;
}

#[tokio::test]
async fn the_operator_may_ask_everything_that_doctor_asks() {
    let cluster = guarded("operator").await;
    let orchestrator = cluster.orchestrator().await;
    let operator = connect(&cluster, "operator").await;
    let connection = operator.connection();
    check_server(connection).await.expect("JetStream is there");
    let settings = settings(connection).await.expect("the settings can be read");
    for config in layout(connection.namespace(), &settings, &ProvisionOptions::default()) {
        let found = stream_info(connection, &config.name).await.expect("it can be looked at");
        assert_eq!(found.map(|info| info.config.name), Some(config.name));
    }
    let asked = connection.client().request("$SRV.INFO.stepwell", "".into());
    let service = in_time("an orchestrator", asked).await.expect("one answers");
    let service: Value = serde_json::from_slice(&service.payload).expect("the answer is JSON");
    assert_eq!(service["name"], "stepwell");
    // A member that was late has left for a moment.
    eventually("a member", || async {
        let owners = owners::read(connection, settings.partitions, owners::Source::Nearest).await;
        (owners.expect("who owns what can be read").members.len() == 1).then_some(())
    })
    .await;
    owners::checkpoints(connection, settings.partitions).await.expect("the checkpoints can be read");
    let consumers = json!({});
    let verb = format!("CONSUMER.LIST.{}", Stream::Tasks(Shard::FIRST).name(connection.namespace()));
    connection.api::<Value>(verb, &consumers).await.expect("the consumers can be listed");
    operator.workers().await.expect("a list");
    operator.rejected().await.expect("a list");
    let started = json!({"id": "c", "type": "chain", "input": 1});
    let started = connection.client().request("stepwell.default.api.start", started.to_string().into());
    let started = in_time("the start", started).await.expect("an orchestrator answers");
    let started: Value = serde_json::from_slice(&started.payload).expect("the answer is JSON");
    assert!(started["ok"]["run_id"].is_string(), "{started}");
    orchestrator.stop().await;
    assert_eq!(refusals(&cluster), [""; 0]);
}

/// A message whose publication is not allowed to somebody: the server says so, and it goes nowhere.
async fn may_not_publish(client: &Client, subject: &str, body: impl Into<Vec<u8>>) {
    let (nats, body) = (client.connection().client(), body.into());
    nats.publish_with_reply(subject.to_owned(), nats.new_inbox(), body.into()).await.expect("it is sent");
    refused(client, "Publish", subject).await;
}

async fn may_not_listen(client: &Client, subject: &str) {
    let nats = client.connection().client();
    let _heard = nats.subscribe(subject.to_owned()).await.expect("it is sent");
    refused(client, "Subscription", subject).await;
}

async fn refused(client: &Client, what: &str, subject: &str) {
    let wanted = format!("permissions violation for {what} to {subject:?}").to_lowercase();
    let said = || client.connection().complaint().unwrap_or_default().to_lowercase();
    until(&format!("the complaint {wanted}"), || said().contains(&wanted)).await;
}

#[tokio::test]
async fn what_is_not_for_a_user_is_refused() {
    let cluster = guarded("refusals").await;
    let orchestrator = cluster.orchestrator().await;
    let worker = cluster.worker(&WorkerSetup::default()).await;
    let client = connect(&cluster, "client").await;
    let as_worker = connect(&cluster, "worker-default").await;
    let handle = client.start(one_activity, "at-work", Call::of("wait_at", json!("gate")));
    let handle = handle.await.expect("it starts");
    until("it is at work", || cluster.ledger.count("at-work", "wait_at", Phase::Started) == 1).await;
    let (subject, report) = forged(&cluster).await;
    let events = stream(&cluster, Stream::Events).await;

    may_not_publish(&client, &subject, report.clone()).await;
    let next = "$JS.API.CONSUMER.MSG.NEXT.STEPWELL_default_TASKS.default";
    may_not_publish(&client, next, r#"{"batch":1}"#).await;
    may_not_publish(&client, "$JS.API.CONSUMER.CREATE.STEPWELL_default_TASKS.mine", "{}").await;
    for tasks in
        ["stepwell.default.task.>", "stepwell.default.workflow-task.>", "_INBOX.>", "_INBOX.worker-default.>"]
    {
        may_not_listen(&client, tasks).await;
    }

    let start = json!({"v": 1, "input": 1}).to_string();
    may_not_publish(&as_worker, "stepwell.default.workflow.mine.start.chain", start).await;
    let start = json!({"id": "mine", "type": "chain", "input": 1}).to_string();
    may_not_publish(&as_worker, "stepwell.default.api.start", start).await;
    may_not_publish(&as_worker, "stepwell.default.workflow.at-work.terminate", r#"{"v":1}"#).await;
    may_not_listen(&as_worker, "_INBOX.>").await;

    // Nothing of it arrived, and the worker's own report is the one that counts.
    assert_eq!(stream(&cluster, Stream::Events).await, events);
    let runs: Vec<String> = cluster.runs().await.iter().map(|run| run.workflow_id.to_string()).collect();
    assert_eq!(runs, ["at-work"]);
    cluster.gates.open("gate");
    assert_eq!(result(&handle).await, Settled::Ok(json!("gate")));
    // Who may report is heard with the same message, though it comes too late.
    let sent = as_worker.connection().publisher().publish(subject, None, report.into()).await;
    sent.expect("it is sent").await.expect("it is stored");
    assert_eq!(cluster.rejected(1).await[0]["code"], ErrorCode::AttemptOver.name());
    let log = refusals(&cluster);
    assert!(log.iter().any(|line| line.contains("at-work.activity")), "{log:#?}");
    cluster.check().await;
    worker.stop().await;
    orchestrator.stop().await;
}

/// A result for the attempt that is at work, with its token: where it would be published, and what.
async fn forged(cluster: &Cluster) -> (String, Vec<u8>) {
    let namespace = Namespace::default();
    let (_, task) = cluster.last_task().await.expect("there is a task");
    let task: ActivityTask = decode(&task.payload).expect("it can be read");
    let report = ReportMessage {
        v: VERSION,
        attempt: task.attempt,
        token: task.token,
        outcome: Outcome::Completed { result: Payload::encode("forged").expect("text is JSON") },
        worker: None,
        schedule_to_start_ms: None,
        execution_ms: None,
    };
    let address = EventAddress::Report { run_id: task.run_id, step: task.step };
    (subject::event(&namespace, &task.workflow_id, &address), encode(&report))
}

#[tokio::test]
async fn the_secret_is_for_orchestrators_only() {
    let cluster = guarded("secret").await;
    let orchestrator = cluster.orchestrator().await;
    // The API answers before the secret is made.
    let owners = cluster.client.connection().bucket(Bucket::Owners).await.expect("the bucket is there");
    eventually("the secret", || async { owners.get("secret").await.expect("it can be read") }).await;
    let (stream, key) = ("KV_STEPWELL_default_owners", "$KV.STEPWELL_default_owners.secret");
    let last = json!({ "last_by_subj": key });
    let consumer = json!({
        "stream_name": stream,
        "config": {"name": "spy", "filter_subject": key, "ack_policy": "none", "deliver_policy": "all"},
    });
    let ways = [
        (format!("$JS.API.DIRECT.GET.{stream}.{key}"), String::new()),
        (format!("$JS.API.DIRECT.GET.{stream}"), last.to_string()),
        (format!("$JS.API.STREAM.MSG.GET.{stream}"), last.to_string()),
        (format!("$JS.API.CONSUMER.CREATE.{stream}.spy.{key}"), consumer.to_string()),
    ];
    for (subject, body) in &ways {
        // It is a way: an orchestrator may take it.
        let asked = cluster.client.connection().client().request(subject.clone(), body.clone().into());
        let answer = in_time(subject, asked).await.expect("the server answers");
        let text = String::from_utf8_lossy(&answer.payload).into_owned();
        assert!(
            answer.status.is_none() && !text.is_empty() && !text.contains("\"error\""),
            "{subject}: {text}"
        );
    }
    for user in ["client", "worker-default", "operator", "read-only"] {
        let user = connect(&cluster, user).await;
        for (subject, body) in &ways {
            may_not_publish(&user, subject, body.as_str()).await;
        }
        may_not_listen(&user, "$KV.STEPWELL_default_owners.>").await;
        may_not_listen(&user, "_INBOX.>").await;
    }
    orchestrator.stop().await;
}
