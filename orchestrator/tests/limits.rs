//! What happens at the limits: much that is large, servers that take little, more requests than have a place.

use std::time::Duration;

use async_nats::{HeaderMap, jetstream};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use stepwell_connection::ConnectionOptions;
use stepwell_connection::history::read_history;
use stepwell_nats_server::NatsServer;
use stepwell_orchestrator::Options;
use stepwell_shared::encoding::encode;
use stepwell_shared::history::{Event, Record};
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::limits::{MAX_PAYLOAD_BYTES, MAX_RECORD_EVENT_BYTES};
use stepwell_shared::subject;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

/// Longest wait for anything; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(120);

struct World {
    client: async_nats::Client,
    jetstream: jetstream::Context,
    stop: CancellationToken,
    orchestrator: tokio::task::JoinHandle<()>,
    options: Options,
    server: NatsServer,
}

impl World {
    async fn new(config: &str, options: Options) -> Self {
        let binary = stepwell_nats_server::find().expect("nats-server");
        let server = NatsServer::builder(binary).config(config).start().expect("nats-server starts");
        let client = async_nats::connect(server.url()).await.expect("connects");
        let jetstream = jetstream::new(client.clone());
        let stop = CancellationToken::new();
        let orchestrator = start_orchestrator(&server, &options, &stop);
        let world = Self { client, jetstream, stop, orchestrator, options, server };
        world.ready().await;
        world
    }

    /// Waits until the orchestrator answers.
    async fn ready(&self) {
        eventually(async || {
            let answer = self.client.request("stepwell.default.api.workers", "".into()).await;
            answer.is_ok().then_some(())
        })
        .await;
    }

    /// Lets something happen while there is no orchestrator.
    async fn without_orchestrator(&mut self, happens: impl AsyncFnOnce(&Self)) {
        self.stop.cancel();
        (&mut self.orchestrator).await.expect("the orchestrator stops in good order");
        happens(self).await;
        self.stop = CancellationToken::new();
        self.orchestrator = start_orchestrator(&self.server, &self.options, &self.stop);
        self.ready().await;
    }

    async fn ask(&self, verb: &str, body: Value) -> Value {
        let subject = format!("stepwell.default.api.{verb}");
        let request = async_nats::Request::new().payload(body.to_string().into()).timeout(Some(PATIENCE));
        let answer = self.client.send_request(subject, request).await.expect("an answer");
        serde_json::from_slice(&answer.payload).expect("JSON")
    }

    async fn publish(&self, subject: &str, bodies: impl Iterator<Item = String>) {
        let mut stored = FuturesUnordered::new();
        for body in bodies {
            let subject = format!("stepwell.default.workflow.{subject}");
            stored.push(self.jetstream.publish(subject, body.into()).await.expect("sent").into_future());
            if stored.len() >= 16 {
                stored.next().await.expect("one").expect("stored");
            }
        }
        while let Some(ack) = stored.next().await {
            ack.expect("stored");
        }
    }

    async fn records(&self, id: &str) -> Vec<Record> {
        let connection =
            ConnectionOptions::to_url(&self.server.url()).connect("test").await.expect("connects");
        let id = WorkflowId::new(id).expect("an id");
        let subject = subject::history(connection.namespace(), &id, 16);
        let history = read_history(&connection, &subject, 0).await.expect("a history");
        history.records.into_iter().map(|stored| stored.record).collect()
    }

    async fn stream_state(&self, name: &str) -> jetstream::stream::State {
        let stream = self.jetstream.get_stream(format!("STEPWELL_default_{name}")).await.expect("the stream");
        stream.cached_info().state.clone()
    }

    async fn finish(self) {
        self.stop.cancel();
        self.orchestrator.await.expect("the orchestrator stops in good order");
    }
}

fn start_orchestrator(
    server: &NatsServer,
    options: &Options,
    stop: &CancellationToken,
) -> tokio::task::JoinHandle<()> {
    let (connection, options, stop) =
        (ConnectionOptions::to_url(&server.url()), options.clone(), stop.clone());
    tokio::spawn(async move {
        stepwell_orchestrator::run(&connection, options, stop).await.expect("runs");
    })
}

fn without_http() -> Options {
    Options { no_http: true, ..Options::default() }
}

/// Asks until there is an answer.
async fn eventually<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("in time")
}

/// More than may be in flight at once, for one run: it is read and recorded in portions.
#[tokio::test(flavor = "multi_thread")]
async fn many_large_signals_are_recorded() {
    const SIGNALS: usize = 300;
    let mut world = World::new("", without_http()).await;
    world.ask("start", json!({"id": "large", "type": "order"})).await;
    let signal = json!({"v": 1, "payload": "x".repeat(MAX_PAYLOAD_BYTES - 2)}).to_string();
    world
        .without_orchestrator(async |world| {
            world.publish("large.signal.go", std::iter::repeat_n(signal, SIGNALS)).await;
        })
        .await;
    eventually(async || {
        let bytes = world.stream_state("HISTORY").await.bytes;
        (bytes >= (SIGNALS * MAX_PAYLOAD_BYTES) as u64).then_some(())
    })
    .await;
    let records = world.records("large").await;
    let signals = |record: &Record| {
        record.events.iter().filter(|event| matches!(event, Event::SignalReceived { .. })).count()
    };
    assert_eq!(records.iter().map(signals).sum::<usize>(), SIGNALS);
    for record in &records {
        assert!(encode(record).len() <= MAX_RECORD_EVENT_BYTES + 2 * MAX_PAYLOAD_BYTES);
    }
    world.finish().await;
}

/// A server that takes less than a message may have: records are cut as it wants it, and what it would not
/// take is refused by name.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_small_messages_is_served() {
    const STEPS: u32 = 5;
    let world = World::new("max_payload: 64KB", without_http()).await;
    let mut tasks =
        world.client.subscribe("stepwell.default.workflow-task.default").await.expect("subscribes");
    world.client.flush().await.expect("flushed");
    world.publish("small.start.order", std::iter::once(json!({"v": 1}).to_string())).await;
    let steps = (1..=STEPS).map(|seq| {
        json!({"run_activity": {"seq": seq, "type": "step", "queue": "default", "input": "x".repeat(40_000),
            "options": {"start_to_close_ms": 10_000}}})
    });
    let commands = json!({"commands": {"commands": steps.collect::<Vec<_>>()}});
    let reply = json!({"v": 1, "worker": "w-1", "answer": commands}).to_string();
    let reply_to = tasks.next().await.expect("a task").reply.expect("a reply subject");
    let chunks: Vec<_> = reply.as_bytes().chunks(50_000).map(<[u8]>::to_vec).collect();
    for (chunk, index) in chunks.iter().zip(1..) {
        let mut headers = HeaderMap::new();
        headers.insert("Stepwell-Chunk", format!("{index}/{}", chunks.len()));
        let chunk = chunk.clone().into();
        world.client.publish_with_headers(reply_to.clone(), headers, chunk).await.expect("published");
    }
    eventually(async || (world.stream_state("TASKS").await.messages == u64::from(STEPS)).then_some(())).await;
    let records = world.records("small").await;
    let turn = records.iter().find_map(|record| record.turn.as_ref()).expect("a turn");
    assert_eq!(turn.commands.len(), STEPS as usize);
    let signal = json!({"id": "small", "name": "go", "payload": "x".repeat(60_000)});
    let refused = world.ask("signal", signal).await;
    assert_eq!(refused["error"]["code"], "payload_too_large", "{refused}");
    world.finish().await;
}

/// Who waits for a run does not keep others from being answered.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_have_places_of_their_own() {
    const PLACES: usize = 1_024;
    let world = World::new("", without_http()).await;
    world.ask("start", json!({"id": "open", "type": "order"})).await;
    let result = || world.ask("result", json!({"id": "open", "wait_ms": 60_000}));
    let mut waiting: FuturesUnordered<_> = (0..=PLACES).map(|_| result()).collect();
    let refused = waiting.next().await.expect("one of them");
    assert_eq!(refused["error"]["code"], "unavailable", "{refused}");
    let at_once = world.ask("result", json!({"id": "open"})).await;
    assert_eq!(at_once["ok"]["status"], "running", "{at_once}");
    let terminated = world.ask("terminate", json!({"id": "open"})).await;
    assert_eq!(terminated["ok"]["duplicate"], false, "{terminated}");
    let mut told = 0;
    while let Some(result) = waiting.next().await {
        assert_eq!(result["ok"]["status"], "terminated", "{result}");
        told += 1;
    }
    assert_eq!(told, PLACES);
    drop(waiting);
    world.finish().await;
}

/// More messages that cannot be read than are set aside at once.
#[tokio::test(flavor = "multi_thread")]
async fn many_unreadable_messages_are_set_aside() {
    const MESSAGES: usize = 1_000;
    let world = World::new("", without_http()).await;
    world.publish("bad.start.order", std::iter::repeat_n("not json".to_owned(), MESSAGES)).await;
    let started = world.ask("start", json!({"id": "good", "type": "order"})).await;
    assert_eq!(started["ok"]["duplicate"], false, "{started}");
    eventually(async || (world.stream_state("REJECTED").await.messages == MESSAGES as u64).then_some(()))
        .await;
    world.finish().await;
}

/// Runs that sleep are counted also when none of them is due.
#[tokio::test(flavor = "multi_thread")]
async fn sleeping_runs_are_counted() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
    let world = World::new("", Options { listen: port, ..Options::default() }).await;
    let mut tasks =
        world.client.subscribe("stepwell.default.workflow-task.default").await.expect("subscribes");
    world.client.flush().await.expect("flushed");
    let start = json!({"v": 1, "run_timeout_ms": 3_600_000}).to_string();
    world.publish("sleeps.start.order", std::iter::once(start)).await;
    let reply = json!({"v": 1, "worker": "w-1", "answer": {"commands": {"commands": []}}}).to_string();
    let reply_to = tasks.next().await.expect("a task").reply.expect("a reply subject");
    world.client.publish(reply_to, reply.into()).await.expect("published");
    eventually(async || {
        let mut stream = tokio::net::TcpStream::connect(port).await.ok()?;
        let request = "GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.contains("\nstepwell_timers_pending 1\n").then_some(())
    })
    .await;
    world.finish().await;
}
