//! A namespace full of rubbish: malformed and giant messages from plain NATS on every subject that clients and
//! workers may publish on, in an order drawn from a seed, while workflows do their work among them.

use std::collections::BTreeSet;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::json;
use stepwell::shared::rng::SplitMix64;
use stepwell_tests::cluster::Cluster;
use stepwell_tests::http;
use stepwell_tests::patience::{eventually, in_time};
use stepwell_tests::processes::Process;
use stepwell_tests::workflows::lifecycle::{chain, waits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::stage::{Cache, PROGRAM, Stage, result};

const SEED: u64 = 20_260_801;

/// Messages that are sent to EVENTS. About a third of them have close to a MiB: more than twice of what the
/// orchestrator may hold of events at once.
const MESSAGES: usize = 900;

/// A good workflow begins after so many of them.
const GOOD_EVERY: usize = 60;

/// The most memory that the orchestrator may ever have had, in KiB: its bound of 128 MiB for the bodies of
/// events, each kept as it came and as it was read, and as much again for everything else.
const MOST_MEMORY_KIB: u64 = 384 * 1_024;

/// Brackets within brackets; readers that recurse would overflow their stack.
const DEEP: usize = 100_000;

const PREFIX: &str = "stepwell.default.workflow";

struct Message {
    subject: String,
    headers: HeaderMap,
    body: Bytes,
}

/// Draws messages of which none can be taken in.
struct Rubbish {
    random: SplitMix64,
    /// As much as one message may have.
    largest: usize,
}

impl Rubbish {
    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.random.next_u64() % most as u64).expect("it is below most")
    }

    fn message(&mut self) -> Message {
        let headers = self.headers();
        let room = self.largest - headers_size(&headers);
        // What is wrong is the body, or the subject, or both.
        if self.below(4) == 0 {
            let body = if self.below(2) == 0 { Bytes::from_static(b"{\"v\":1}") } else { self.body(room) };
            return Message { subject: self.wrong_subject(), headers, body };
        }
        Message { subject: self.subject(), headers, body: self.body(room) }
    }

    fn subject(&mut self) -> String {
        let rest =
            ["new.start.chain", "open.signal.go", "open.cancel", "open.terminate", "open.compensation.1"];
        let report = "open.activity.0190c9a2-0000-7000-8000-000000000000.1";
        let rest = *rest.get(self.below(rest.len() + 1)).unwrap_or(&report);
        format!("{PREFIX}.{rest}")
    }

    fn wrong_subject(&mut self) -> String {
        let rest = match self.below(8) {
            0 => "open.begin.chain".to_owned(),
            1 => "a.b.c.start.chain".to_owned(),
            2 => "=41.start.chain".to_owned(),
            3 => "bad=escape.signal.go".to_owned(),
            4 => format!("{}.start.chain", "x".repeat(1_000)),
            5 => format!("open{}", ".t".repeat(100)),
            6 => "größe.start.chain".to_owned(),
            _ => "open.activity.run.01".to_owned(),
        };
        format!("{PREFIX}.{rest}")
    }

    /// A body that is none: of no kind of event.
    fn body(&mut self, room: usize) -> Bytes {
        let deep = |open: &str| format!("{{\"v\":1,\"x\":1,{open}");
        let text: Vec<u8> = match self.below(14) {
            0 => Vec::new(),
            1 => vec![0; self.below(64) + 1],
            2 => b"\xff\xfe\x80".to_vec(),
            // Each kind of event knows one of these fields; what is not known is passed over.
            3 => b"{\"v\":1,\"request_id\":\"\xc3\x28\",\"reason\":\"\xc3\x28\"}".to_vec(),
            4 => b"[1,2]".to_vec(),
            5 => b"{\"v\":\"one\"}".to_vec(),
            6 => b"{\"v\":1e999}".to_vec(),
            7 => b"{\"v\":2}".to_vec(),
            8 => deep(&"[".repeat(DEEP)).into_bytes(),
            9 => format!("{}{}", "[".repeat(DEEP), "]".repeat(DEEP)).into_bytes(),
            10 => "{\"v\":".repeat(DEEP).into_bytes(),
            11 => (0..self.below(4_096)).map(|_| self.random.next_u64().to_le_bytes()[0] | 0x80).collect(),
            12 => vec![b'x'; room],
            _ => {
                // Too large for a payload, and never closed.
                let mut body = b"{\"v\":1,\"payload\":\"".to_vec();
                body.resize(room, b'y');
                body
            }
        };
        text.into()
    }

    fn headers(&mut self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut twice = |name: &str, values: [&str; 2]| {
            headers.append(name, values[0]);
            headers.append(name, values[1]);
        };
        match self.below(16) {
            0 => twice("Nats-Msg-Id", ["same", "other"]),
            1 => twice("Nats-Expected-Last-Subject-Sequence", ["0", "1"]),
            2 => twice("Nats-Expected-Stream", ["STEPWELL_default_HISTORY", "STEPWELL_default_EVENTS"]),
            3 => twice("Nats-Rollup", ["all", "sub"]),
            4 => twice("Nats-TTL", ["1s", "never"]),
            5 => twice("Stepwell-Answer-To", ["$JS.API.STREAM.PURGE.STEPWELL_default_EVENTS", "_INBOX.>"]),
            6 => twice("Stepwell-Chunk", ["1/2", "2/1"]),
            7 => twice("Nats-Batch-Id", ["batch", "batch"]),
            8 => {
                for number in 0..300 {
                    headers.append(format!("X-Many-{number}").as_str(), "y".repeat(100).as_str());
                }
            }
            _ => {}
        }
        headers
    }
}

/// What the headers take of a message, at most.
fn headers_size(headers: &HeaderMap) -> usize {
    let lines = headers.iter().flat_map(|(name, values)| {
        values.iter().map(|value| name.to_string().len() + value.as_str().len() + 4)
    });
    64 + lines.sum::<usize>()
}

/// The most memory that a process has had, in KiB.
fn most_memory_kib(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a high-water mark");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// A message larger than the server takes, past every client's own check: the server closes the connection.
async fn too_large_for_the_server(cluster: &Cluster, largest: usize) {
    let address = cluster.server.url();
    let address = address.strip_prefix("nats://").expect("a URL of NATS");
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let head = format!("CONNECT {{\"verbose\":false}}\r\nPUB {PREFIX}.open.cancel {}\r\n", largest + 1);
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    in_time("the end of the connection", stream.read_to_end(&mut answer)).await.ok();
    assert!(String::from_utf8_lossy(&answer).contains("Maximum Payload"), "the server says why");
}

/// Rubbish where nothing is stored: requests of the API, announcements, roll calls, tasks, cancellations.
async fn rubbish_without_a_stream(cluster: &Cluster, rubbish: &mut Rubbish) {
    let nats = cluster.client.connection().client();
    let verbs = ["start", "signal", "cancel", "terminate", "compensation", "query", "result", "describe"];
    let subject = match rubbish.below(6) {
        0 => "worker.announce".to_owned(),
        1 => "roll-call.default".to_owned(),
        2 => "cancel-activity.default".to_owned(),
        3 => "workflow-task.default".to_owned(),
        _ => format!("api.{}", verbs[rubbish.below(verbs.len())]),
    };
    let (room, largest) = (rubbish.largest, rubbish.largest);
    let body = rubbish.body(room);
    assert!(body.len() <= largest);
    let reply = [
        "_INBOX.nobody.1",
        "$JS.API.STREAM.PURGE.STEPWELL_default_EVENTS",
        "stepwell.default.worker.announce",
    ];
    let reply = reply[rubbish.below(reply.len())];
    nats.publish_with_reply(format!("stepwell.default.{subject}"), reply, body).await.expect("it is sent");
}

/// Stores a message, unless the server refuses it or knows it already.
async fn stored(cluster: &Cluster, message: Message) -> Option<u64> {
    let jetstream = cluster.client.connection().jetstream();
    let sent = jetstream.publish_with_headers(message.subject, message.headers, message.body).await.ok()?;
    let ack = in_time("an acknowledgement", async { sent.await }).await.ok()?;
    (!ack.duplicate).then_some(ack.sequence)
}

#[tokio::test]
async fn rubbish_is_set_aside_to_the_last_message_and_disturbs_nobody() {
    let cluster = Cluster::start("hostile", PROGRAM).await;
    let address = http::free_address();
    let orchestrator = cluster.orchestrator_with(&["--listen", &address]);
    cluster.answered().await;
    let mut worker = cluster.worker(&Cache::Warm.worker()).await;
    let open = cluster.client.start(waits, "open", ()).await.expect("it starts");
    let largest = cluster.client.connection().client().server_info().max_payload;
    let mut rubbish = Rubbish { random: SplitMix64::new(SEED), largest };
    let (mut sequences, mut good) = (BTreeSet::new(), Vec::new());
    for number in 0..MESSAGES {
        if number.is_multiple_of(GOOD_EVERY) {
            let id = format!("good {number}");
            good.push(cluster.client.start(chain, id, 3).await.expect("it starts"));
            too_large_for_the_server(&cluster, largest).await;
        }
        let message = rubbish.message();
        sequences.extend(stored(&cluster, message).await);
        rubbish_without_a_stream(&cluster, &mut rubbish).await;
    }
    assert!(sequences.len() > MESSAGES / 2, "most of it is stored: {}", sequences.len());
    for handle in &good {
        assert_eq!(result(handle).await.len(), 3);
    }
    // One rejection for each message that is stored, and for no other.
    let jetstream = cluster.client.connection().jetstream();
    let aside = eventually("all of it set aside", || async {
        let mut stream = jetstream.get_stream("STEPWELL_default_REJECTED").await.ok()?;
        let messages = stream.info().await.ok()?.state.messages;
        (messages >= sequences.len() as u64).then_some(messages)
    })
    .await;
    assert_eq!(aside, sequences.len() as u64);
    assert_eq!(set_aside(&cluster, sequences.len()).await, sequences);
    let (_, body) = http::get(&address, "/metrics").await.expect("metrics");
    let counted = http::metric(&body, "stepwell_rejected_total", &[]);
    assert_eq!(counted, Some(sequences.len() as f64));
    // The run to which most of it was addressed has heard of nothing.
    open.signal_untyped("go", 7).await.expect("it is open");
    assert_eq!(result(&open).await, 7);
    assert_eq!(cluster.stuck().await.len(), 0);
    assert!(worker.running(), "{}", worker.log());
    let memory = most_memory_kib(&orchestrator);
    assert!(memory < MOST_MEMORY_KIB, "the orchestrator took {memory} KiB");
    let answer = cluster.ask("start", &json!({"id": "after", "type": "waits"})).await;
    assert!(answer["ok"]["run_id"].is_string(), "{answer}");
    Stage { cluster, orchestrator, worker }.finish().await;
}

/// The sequence numbers on EVENTS of what was set aside.
async fn set_aside(cluster: &Cluster, count: usize) -> BTreeSet<u64> {
    let jetstream = cluster.client.connection().jetstream();
    let stream = jetstream.get_stream("STEPWELL_default_REJECTED").await.expect("it is there");
    let consumer = async_nats::jetstream::consumer::pull::OrderedConfig::default();
    let consumer = stream.create_consumer(consumer).await.expect("a consumer");
    let messages = consumer.messages().await.expect("messages").take(count);
    let sequences = messages.map(|message| {
        let message = message.expect("a message");
        let rejection: serde_json::Value = serde_json::from_slice(&message.payload).expect("JSON");
        rejection["sequence"].as_u64().expect("a sequence")
    });
    in_time("what was set aside", sequences.collect()).await
}
