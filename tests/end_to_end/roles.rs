//! Each line of each role's permissions, against a server that has what `stepwell auth print` prints: what is
//! allowed is let through, and what is allowed to others, or lies beside it, is refused. And what hostile workers,
//! clients and readers try, with a namespace that is at work.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use stepwell::Client;
use stepwell_nats_server::NatsServer;
use stepwell_shared::encoding::{VERSION, decode, encode};
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::ids::Namespace;
use stepwell_shared::message::{Outcome, ReportMessage};
use stepwell_shared::payload::Payload;
use stepwell_shared::permissions::Allowed;
use stepwell_shared::subject::{self, EventAddress};
use stepwell_shared::task::ActivityTask;
use stepwell_tests::cluster::{Cluster, WorkerSetup, shards};
use stepwell_tests::ledger::Phase;
use stepwell_tests::patience::{in_time, until};
use stepwell_tests::workflows::Settled;
use stepwell_tests::workflows::activities::{Call, one_activity};
use stepwell_tests::workflows::waiting::{NUMBER, collects};

use crate::guard::{login, logins, printed, users};
use crate::stage::{PROGRAM, result};

/// What nobody is allowed, or lies beside what somebody is allowed.
const BESIDE: [&str; 26] = [
    "$JS.API.STREAM.DELETE.STEPWELL_default_EVENTS",
    "$JS.API.STREAM.DELETE.STEPWELL_default_HISTORY",
    "$JS.API.STREAM.DELETE.KV_STEPWELL_default_owners",
    "$JS.API.STREAM.UPDATE.STEPWELL_default_EVENTS",
    "$JS.API.STREAM.PURGE.STEPWELL_default_TASKS",
    "$JS.API.STREAM.PURGE.STEPWELL_default_REJECTED",
    "$JS.API.STREAM.MSG.DELETE.STEPWELL_default_HISTORY",
    "$JS.API.STREAM.MSG.GET.STEPWELL_default_REJECTED",
    "$JS.API.STREAM.SNAPSHOT.STEPWELL_default_HISTORY",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.CREATE.MINE",
    "$JS.API.STREAM.INFO.STEPWELL_shop_EVENTS",
    "$JS.API.CONSUMER.DELETE.STEPWELL_default_TASKS.default",
    "$JS.API.CONSUMER.CREATE.STEPWELL_default_TASKS",
    "$JS.API.CONSUMER.CREATE.STEPWELL_default_TASKS.default",
    "$JS.API.CONSUMER.CREATE.STEPWELL_default_TASKS.mine.stepwell.default.>",
    "$JS.API.CONSUMER.CREATE.STEPWELL_default_HISTORY",
    "$JS.API.CONSUMER.CREATE.STEPWELL_default_HISTORY.mine.stepwell.default.history.>",
    "$JS.API.CONSUMER.DURABLE.CREATE.STEPWELL_default_TASKS.default",
    "$JS.API.CONSUMER.MSG.NEXT.STEPWELL_default_HISTORY.mine",
    "$JS.API.DIRECT.GET.KV_STEPWELL_default_heartbeats",
    "$JS.API.DIRECT.GET.STEPWELL_default_HISTORY.stepwell.default.history.1.x",
    "$KV.STEPWELL_default_heartbeats.x",
    "stepwell.shop.api.start",
    "stepwell.default.api.unknown",
    "stepwell.shop.workflow.x.signal.y",
];

/// What is heard by nobody, or beside what somebody hears.
const UNHEARD: [&str; 8] = [
    ">",
    "_INBOX.>",
    "stepwell.>",
    "stepwell.default.>",
    "stepwell.default.task.>",
    "stepwell.default.history.>",
    "stepwell.default.workflow.>",
    "$KV.>",
];

/// What is published last.
const END: &str = "the.end";

/// Whether everything that `pattern` matches is matched by `by`.
fn within(pattern: &str, by: &str) -> bool {
    let (mut pattern, mut by) = (pattern.split('.'), by.split('.'));
    loop {
        match (pattern.next(), by.next()) {
            (None, None) | (Some(_), Some(">")) => return true,
            (Some(">"), _) | (None, _) | (_, None) => return false,
            (Some(token), Some(allowed)) if allowed == token || (allowed == "*") => {}
            (Some(_), Some(_)) => return false,
        }
    }
}

/// One subject that the pattern matches.
fn one_of(pattern: &str) -> String {
    pattern.replace('*', "x").replace('>', "x.y")
}

/// What was refused to a user, by the server's log.
fn refused(log: &str, user: &str, what: &str) -> BTreeSet<String> {
    let (who, what) = (format!("user:{user}\""), format!("{what} Violation"));
    let lines = log.lines().filter(|line| line.contains(&who) && line.contains(&what));
    lines.filter_map(|line| line.rsplit('"').nth(1).map(str::to_owned)).collect()
}

#[tokio::test]
async fn each_line_is_let_through_and_everything_else_is_refused() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let binary = stepwell_nats_server::find_in(&root).expect("a nats-server binary");
    let server = NatsServer::builder(binary).config(printed()).start().expect("it starts");
    let namespace = Namespace::default();
    let (mut published, mut heard) = (BTreeSet::new(), BTreeSet::new());
    published.extend(BESIDE.map(str::to_owned));
    heard.extend(UNHEARD.map(str::to_owned));
    for user in users() {
        let permissions = user.permissions(&namespace, shards());
        published.extend(permissions.publish.iter().map(|allowed| one_of(&allowed.subject)));
        heard.extend(permissions.subscribe.iter().map(|allowed| allowed.subject.clone()));
    }
    for user in users() {
        let name = user.name.as_str();
        let options = stepwell_connection::ConnectionOptions { nats_url: server.url(), ..login(name) };
        let client = Client::with(&options).await.expect("it may log in");
        let nats = client.connection().client();
        let mut subscriptions = Vec::new();
        for subject in &published {
            nats.publish(subject.clone(), "".into()).await.expect("it is sent");
        }
        for subject in &heard {
            subscriptions.push(nats.subscribe(subject.clone()).await.expect("it is sent"));
        }
        // Nobody is allowed this, and the server has looked at everything before.
        nats.publish(END, "".into()).await.expect("it is sent");
        nats.flush().await.expect("it is sent");
        let log = || std::fs::read_to_string(server.log()).expect("the server has a log");
        until("the last refusal", || refused(&log(), name, "Publish").contains(END)).await;
        let permissions = user.permissions(&namespace, shards());
        let may =
            |subject: &str, allowed: &[Allowed]| allowed.iter().any(|one| within(subject, &one.subject));
        let log = log();
        let forbidden = |all: &BTreeSet<String>, allowed: &[Allowed]| {
            all.iter().filter(|subject| !may(subject, allowed)).cloned().collect::<BTreeSet<String>>()
        };
        let (wanted, mut found) =
            (forbidden(&published, &permissions.publish), refused(&log, name, "Publish"));
        found.remove(END);
        assert!(wanted.len() > 30 && wanted.len() < published.len(), "{name}: {wanted:#?}");
        assert_eq!(found, wanted, "{name} publishes");
        let (wanted, found) =
            (forbidden(&heard, &permissions.subscribe), refused(&log, name, "Subscription"));
        assert!(wanted.len() > 10 && wanted.len() < heard.len(), "{name}: {wanted:#?}");
        assert_eq!(found, wanted, "{name} subscribes");
    }
}

async fn connect(cluster: &Cluster, user: &str) -> Client {
    Client::with(&cluster.at(&login(user))).await.unwrap_or_else(|error| panic!("{user}: {error}"))
}

/// Asks and returns the answer, which there is.
async fn asked(client: &Client, subject: &str, body: &Value) -> Value {
    let request = client.connection().client().request(subject.to_owned(), body.to_string().into());
    let answer = in_time(subject, request).await.expect("somebody answers");
    serde_json::from_slice(&answer.payload).unwrap_or_else(|error| panic!("{error}: {:?}", answer.payload))
}

/// Asks what the server must not let through: it complains, and nobody answers.
async fn not_let_through(client: &Client, subject: &str, body: impl Into<Vec<u8>>) {
    let (nats, body) = (client.connection().client(), body.into());
    nats.publish_with_reply(subject.to_owned(), nats.new_inbox(), body.into()).await.expect("it is sent");
    let wanted = format!("permissions violation for publish to {subject:?}").to_lowercase();
    let said = || client.connection().complaint().unwrap_or_default().to_lowercase();
    until(&format!("the complaint {wanted}"), || said().contains(&wanted)).await;
}

/// The newest task of the queue `default`.
async fn task(cluster: &Cluster) -> ActivityTask {
    let (_, task) = cluster.last_task().await.expect("there is a task");
    decode(&task.payload).expect("it can be read")
}

#[tokio::test]
async fn a_worker_gets_nothing_of_another_queue() {
    let cluster = Cluster::start_guarded("queues", PROGRAM, &printed(), logins()).await;
    let orchestrator = cluster.orchestrator().await;
    let worker = cluster.worker(&WorkerSetup::default()).await;
    let client = connect(&cluster, "client").await;
    let run = client.start(one_activity, "secret", Call::of("wait_at", json!("gate"))).await;
    let run = run.expect("it starts");
    until("it is at work", || cluster.ledger.count("secret", "wait_at", Phase::Started) == 1).await;
    let task = task(&cluster).await;
    let spy = connect(&cluster, "worker-other").await;

    let history = "stepwell.default.history.>";
    let last = json!({"last_by_subj": history}).to_string();
    for (subject, body) in [
        ("$JS.API.CONSUMER.MSG.NEXT.STEPWELL_default_TASKS.default", r#"{"batch":1}"#),
        ("$JS.API.CONSUMER.INFO.STEPWELL_default_TASKS.default", ""),
        ("$JS.ACK.STEPWELL_default_TASKS.default.1.1.1.1.0", "+ACK"),
        ("$JS.ACK._.x.STEPWELL_default_TASKS.default.1.1.1.1.0", "+ACK"),
        ("$JS.API.STREAM.MSG.GET.STEPWELL_default_TASKS", r#"{"seq":1}"#),
        ("$JS.API.STREAM.MSG.GET.STEPWELL_default_HISTORY", last.as_str()),
        ("$JS.API.DIRECT.GET.STEPWELL_default_HISTORY", last.as_str()),
        ("$JS.API.DIRECT.GET.STEPWELL_default_EVENTS", r#"{"seq":1}"#),
        ("$JS.API.DIRECT.GET.KV_STEPWELL_default_state.$KV.STEPWELL_default_state.secret", ""),
        ("$JS.API.DIRECT.GET.KV_STEPWELL_default_owners.$KV.STEPWELL_default_owners.secret", ""),
        ("$JS.API.DIRECT.GET.KV_STEPWELL_default_heartbeats.$KV.STEPWELL_default_heartbeats.default.x.1", ""),
        ("stepwell.default.api.history", r#"{"id":"secret"}"#),
    ] {
        not_let_through(&spy, subject, body).await;
    }

    // Its own consumer cannot be made for what is not its own.
    let create = "$JS.API.CONSUMER.CREATE.STEPWELL_default_TASKS.other.stepwell.default.task.other";
    for filter in [
        json!({"filter_subject": "stepwell.default.task.default"}),
        json!({"filter_subjects": ["stepwell.default.task.default", "stepwell.default.task.other"]}),
        json!({}),
    ] {
        let mut config = json!({"durable_name": "other", "name": "other", "ack_policy": "explicit"});
        config.as_object_mut().expect("an object").extend(filter.as_object().expect("an object").clone());
        let made =
            asked(&spy, create, &json!({"stream_name": "STEPWELL_default_TASKS", "config": config})).await;
        assert!(made["error"].is_object(), "{config}: {made}");
    }

    // What orchestrators answer needs the token.
    let run_id = task.run_id.to_string();
    for token in ["", "0123456789abcdef0123456789abcdef", task.token.as_str()] {
        let replay = json!({"id": "secret", "run_id": run_id, "token": token, "from_sequence": 0});
        let answer = asked(&spy, "stepwell.default.api.replay", &replay).await;
        assert_eq!(answer["error"]["code"], ErrorCode::WrongToken.name(), "{answer}");
    }
    let mut attempt = json!({"id": "secret", "run_id": run_id, "step": "1", "attempt": 1, "token": "00"});
    let answer = asked(&spy, "stepwell.default.api.attempt", &attempt).await;
    assert_eq!(answer["error"]["code"], ErrorCode::WrongToken.name(), "{answer}");
    attempt["token"] = json!(task.token);
    let answer = asked(&spy, "stepwell.default.api.attempt", &attempt).await;
    assert_eq!(answer["ok"], json!({"reported": {"nothing": {}}, "run_closed": false}), "{answer}");

    // It may report, and what it reports without the token is set aside.
    let report = ReportMessage {
        v: VERSION,
        attempt: task.attempt,
        token: "0123456789abcdef0123456789abcdef".into(),
        outcome: Outcome::Completed { result: Payload::encode("forged").expect("text is JSON") },
        worker: None,
        schedule_to_start_ms: None,
        execution_ms: None,
    };
    let address = EventAddress::Report { run_id: task.run_id.clone(), step: task.step };
    let subject = subject::event(&Namespace::default(), &task.workflow_id, &address);
    let sent = spy.connection().publisher().publish(subject, None, encode(&report).into()).await;
    sent.expect("it is sent").await.expect("it is stored");
    assert_eq!(cluster.rejected(1).await[0]["code"], ErrorCode::WrongToken.name());
    cluster.gates.open("gate");
    assert_eq!(result(&run).await, Settled::Ok(json!("gate")));
    cluster.check().await;
    worker.stop().await;
    orchestrator.stop().await;
}

#[tokio::test]
async fn who_may_only_read_reads_and_does_nothing_else() {
    let cluster = Cluster::start_guarded("reading", PROGRAM, &printed(), logins()).await;
    let orchestrator = cluster.orchestrator().await;
    let worker = cluster.worker(&WorkerSetup::default()).await;
    let client = connect(&cluster, "client").await;
    let run = client.start(collects, "open", 1).await.expect("it starts");
    let reader = connect(&cluster, "read-only").await;
    let id = json!({"id": "open"});
    for (verb, body) in [
        ("describe", &id),
        ("history", &id),
        ("result", &id),
        ("query", &json!({"id": "open", "name": "progress"})),
        ("list", &json!({})),
        ("rejected", &json!({})),
        ("workers", &json!({})),
    ] {
        let answer = asked(&reader, &format!("stepwell.default.api.{verb}"), body).await;
        assert!(answer["ok"].is_object(), "{verb}: {answer}");
    }
    for verb in ["start", "signal", "cancel", "terminate", "compensation", "replay", "attempt"] {
        let body = json!({"id": "open", "type": "chain", "name": "number", "payload": 1}).to_string();
        not_let_through(&reader, &format!("stepwell.default.api.{verb}"), body).await;
    }
    for event in ["start.chain", "signal.number", "cancel", "terminate", "compensation.1"] {
        not_let_through(&reader, &format!("stepwell.default.workflow.open.{event}"), r#"{"v":1}"#).await;
    }
    // Nothing of it has happened.
    let described = run.describe().await.expect("a description");
    assert_eq!((described.summary.history_length, described.cancel_requested), (1, None));
    run.signal(NUMBER, 7).await.expect("it is open");
    assert_eq!(result(&run).await, [7]);
    cluster.check().await;
    worker.stop().await;
    orchestrator.stop().await;
}
