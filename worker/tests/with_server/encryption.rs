//! What NATS gets to see of runs whose client and workers encrypt, and what becomes of work that reaches a
//! worker without the key.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use stepwell::encryption::{PayloadCipher, Secret, is_sealed};
use stepwell::prelude::*;
use stepwell::shared::api::ListRequest;
use stepwell::shared::error_code::ErrorCode;
use stepwell::shared::history::{Event, StallKind};
use stepwell::{
    CancellationToken, ConnectionOptions, Encryption, KeyRing, RequestError, ResultError, Status,
    WorkflowHandle,
};
use stepwell_nats_server::{NatsServer, find};
use stepwell_orchestrator::Options;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::{RunningWorker, within};

/// Is in every input, output, failure, signal, query and heartbeat, and must be nowhere else.
const MARKER: &str = "blue-heron-at-dawn";

const SAY: Signal<String> = Signal::new("say");
const HEARD: Query<String, String> = Query::new("heard");
const TWICE: Query<u32, u32> = Query::new("twice");

fn marked(what: &str) -> String {
    format!("{what} {MARKER}")
}

#[derive(Debug, thiserror::Error)]
#[error("line {0} is busy")]
struct Line(String);

#[derive(Debug, thiserror::Error)]
#[error("nobody answers {0}")]
struct Unreachable(String, #[source] Line);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    text: String,
}

/// What the activities share with the test.
#[derive(Debug, Clone)]
struct Shop {
    journal: Arc<Mutex<Vec<String>>>,
    gate: watch::Sender<bool>,
    charges: Arc<AtomicU32>,
}

#[activities]
impl Shop {
    #[activity(start_to_close = "20s")]
    async fn reserve(&self, _ctx: ActivityContext, order: Order) -> Result<String, ActivityError> {
        Ok(marked(&order.text))
    }

    #[activity(start_to_close = "20s")]
    async fn release(
        &self,
        _ctx: ActivityContext,
        undo: Undo<Order, String>,
    ) -> Result<String, ActivityError> {
        self.note(format!("release {} {:?}", undo.input.text, undo.output));
        Ok(marked("released"))
    }

    /// Fails at its first two attempts; the first one waits until its heartbeat is in the bucket.
    #[activity(start_to_close = "20s", heartbeat = "10s", retry(initial = "1ms", max_attempts = 5))]
    async fn charge(&self, ctx: ActivityContext, order: Order) -> Result<String, ActivityError> {
        let attempt = ctx.info().attempt;
        self.note(format!("charge {:?} {:?}", ctx.last_heartbeat::<String>(), ctx.info().last_failure));
        if attempt == 1 {
            ctx.heartbeat(marked("beat"));
            let mut open = self.gate.subscribe();
            open.wait_for(|open| *open).await?;
            return Err(ActivityError::new("Busy", marked("try later")).details(marked("details")));
        }
        if attempt == 2 {
            panic!("{}", marked("the till is on fire"));
        }
        Ok(marked(&order.text))
    }

    #[activity(start_to_close = "20s", retry(initial = "1ms", max_attempts = 5))]
    async fn refund(&self, ctx: ActivityContext, undo: Undo<Order, String>) -> Result<(), ActivityError> {
        if ctx.info().attempt == 1 {
            return Err(ActivityError::new("Closed", marked("come back later")));
        }
        self.note(format!("refund {} {:?}", undo.input.text, undo.output));
        Ok(())
    }

    #[activity(start_to_close = "20s", retry(non_retryable = ["Unreachable"]))]
    async fn ship(&self, _ctx: ActivityContext, order: Order) -> Result<(), ActivityError> {
        Err(Unreachable(order.text.clone(), Line(order.text)).into())
    }

    #[activity(start_to_close = "20s", retry(max_attempts = 1))]
    async fn count(&self, _ctx: ActivityContext, text: String) -> Result<usize, ActivityError> {
        self.charges.fetch_add(1, Ordering::SeqCst);
        Ok(text.len())
    }

    fn note(&self, line: String) {
        self.journal.lock().unwrap().push(line);
    }
}

#[workflow(queue = "shop")]
async fn saga(ctx: WorkflowContext, order: Order) -> Result<String, WorkflowError> {
    let _ = ctx.run(reserve, order.clone()).compensate(release).await?;
    let charged: String = ctx.run(charge, order.clone()).compensate(refund).await?;
    ctx.sleep(std::time::Duration::from_millis(1)).await?;
    ctx.run(ship, order).await?;
    Ok(charged)
}

#[workflow(queue = "shop")]
async fn talk(ctx: WorkflowContext, first: String) -> Result<String, WorkflowError> {
    let heard = ctx.answer(Query::<(), String>::new("last"), first);
    ctx.on_query(HEARD, |said| format!("{said}, {}", marked("indeed")));
    ctx.on_query(TWICE, |number| number * 2);
    for _ in 0..2 {
        heard.set(ctx.receive(SAY).await?);
    }
    Ok(heard.get())
}

#[workflow(queue = "shop")]
async fn clumsy(_ctx: WorkflowContext, text: String) -> Result<(), WorkflowError> {
    panic!("dropped {text}");
}

#[workflow(queue = "shop")]
async fn counting(ctx: WorkflowContext, text: String) -> Result<usize, WorkflowError> {
    Ok(ctx.run(count, text).await?)
}

struct Cluster {
    server: NatsServer,
    stop: CancellationToken,
    orchestrator: Option<JoinHandle<()>>,
    shop: Shop,
}

impl Cluster {
    async fn new() -> Self {
        let server = NatsServer::builder(find().expect("a nats-server binary; set STEPWELL_NATS_SERVER"));
        let server = server.start().expect("the server starts");
        let stop = CancellationToken::new();
        let options = ConnectionOptions::to_url(&server.url());
        let end = stop.clone();
        let orchestrator = tokio::spawn(async move {
            let settings = Options { no_http: true, ..Options::default() };
            stepwell_orchestrator::run(&options, settings, end).await.expect("it ends well");
        });
        let shop = Shop { journal: Arc::default(), gate: watch::Sender::new(false), charges: Arc::default() };
        Self { server, stop, orchestrator: Some(orchestrator), shop }
    }

    async fn client(&self, encryption: Option<Encryption>) -> Client {
        let client = Client::connect(&self.server.url()).await.expect("connects");
        match encryption {
            Some(encryption) => client.encrypting(encryption),
            None => client,
        }
    }

    async fn worker(&self, encryption: Option<Encryption>) -> Worker {
        Worker::new(self.client(encryption).await, "shop")
    }

    /// With all workflows and activities.
    async fn whole_worker(&self, encryption: Option<Encryption>) -> Worker {
        let worker = self.worker(encryption).await.activities(self.shop.clone());
        worker.workflow(saga).workflow(talk).workflow(clumsy).workflow(counting)
    }

    async fn end(mut self) {
        self.stop.cancel();
        within(self.orchestrator.take().unwrap()).await.expect("it ends");
    }
}

fn keys(keys: &[(&str, u8)]) -> Option<Encryption> {
    let secret = |byte: u8| Secret::new([byte; 32]);
    let ring = KeyRing::new(keys[0].0, &secret(keys[0].1)).unwrap();
    let ring = keys[1..].iter().fold(ring, |ring, key| ring.and(key.0, &secret(key.1)).unwrap());
    Some(ring.into())
}

/// Everything that anybody sends through the server, from now on.
struct Tap {
    client: async_nats::Client,
    found: Arc<Mutex<(usize, BTreeSet<String>)>>,
}

impl Tap {
    async fn on(server: &NatsServer) -> Self {
        let options = async_nats::ConnectOptions::new().subscription_capacity(1_000_000);
        let client = options.connect(server.url()).await.expect("connects");
        let mut messages = client.subscribe(">").await.expect("subscribes");
        client.flush().await.expect("flushes");
        let found = Arc::new(Mutex::new((0, BTreeSet::new())));
        let noted = Arc::clone(&found);
        tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                let kind = kind_of(&message.subject);
                let seen = has_marker(message.subject.as_bytes())
                    || has_marker(&message.payload)
                    || message.headers.is_some_and(|headers| has_marker(format!("{headers:?}").as_bytes()));
                let mut noted = noted.lock().unwrap();
                noted.0 += 1;
                if seen {
                    noted.1.insert(kind);
                }
            }
        });
        Self { client, found }
    }

    /// How many messages there were, and of which kinds those are that have the marker.
    async fn found(&self) -> (usize, BTreeSet<String>) {
        // What was sent before this one has been heard when this one is.
        self.client.publish("tap.end", MARKER.into()).await.expect("it is sent");
        within(async {
            while !self.found.lock().unwrap().1.remove("tap") {
                tokio::task::yield_now().await;
            }
        })
        .await;
        self.found.lock().unwrap().clone()
    }
}

/// `event`, `task`, `api` and so on, or `inbox` for what is an answer.
fn kind_of(subject: &str) -> String {
    let mut tokens = subject.split('.');
    match tokens.next() {
        Some("stepwell") => tokens.nth(1).unwrap_or_default().to_owned(),
        Some(first) if first.starts_with("_INBOX") => "inbox".to_owned(),
        Some(first) => first.to_owned(),
        None => String::new(),
    }
}

fn has_marker(bytes: &[u8]) -> bool {
    bytes.windows(MARKER.len()).any(|window| window == MARKER.as_bytes())
}

/// How many messages lie in streams and buckets, and in which of them the marker is.
async fn stored(client: &Client) -> (usize, BTreeSet<String>, BTreeSet<String>) {
    let jetstream = client.connection().jetstream();
    let streams: Vec<_> = jetstream.streams().try_collect().await.expect("streams are listed");
    let (mut read, mut names, mut found) = (0, BTreeSet::new(), BTreeSet::new());
    for info in streams {
        let name = info.config.name;
        let stream = jetstream.get_stream(&name).await.expect("a stream");
        let state = stream.cached_info().state.clone();
        for sequence in state.first_sequence..=state.last_sequence {
            // Some are gone: done, or replaced by newer ones.
            let Ok(message) = stream.get_raw_message(sequence).await else { continue };
            read += 1;
            names.insert(name.clone());
            let headers = format!("{:?}", message.headers);
            if has_marker(message.subject.as_bytes())
                || has_marker(&message.payload)
                || has_marker(headers.as_bytes())
            {
                found.insert(name.clone());
            }
        }
    }
    (read, names, found)
}

/// What was seen of the marker.
#[derive(Debug)]
struct Seen {
    tapped: BTreeSet<String>,
    stored: BTreeSet<String>,
}

async fn heartbeat_is_stored(client: &Client) {
    let jetstream = client.connection().jetstream();
    within(async {
        loop {
            let stream = jetstream.get_stream("KV_STEPWELL_default_heartbeats").await;
            if stream.is_ok_and(|stream| stream.cached_info().state.messages > 0) {
                return;
            }
        }
    })
    .await;
}

/// A saga that fails and is undone, a talk, a run whose code panics, and one whose input is of another type;
/// everything in them has the marker. Whoever has the keys sees all of it.
async fn live_through(encryption: impl Fn() -> Option<Encryption>, cached: usize) -> Seen {
    let cluster = Cluster::new().await;
    let tap = Tap::on(&cluster.server).await;
    let client = cluster.client(encryption()).await;
    let worker = cluster.whole_worker(encryption()).await.max_cached_workflows(cached);
    let worker = RunningWorker::new(worker);

    let order = Order { text: marked("lamp") };
    let order_run = client.start(saga, "order/1", order).await.expect("it starts");
    heartbeat_is_stored(&client).await;
    cluster.shop.gate.send_replace(true);
    let ResultError::Failed { status, failure } = within(order_run.result()).await.unwrap_err() else {
        panic!()
    };
    let failure = failure.expect("a reason");
    assert_eq!((status, failure.error_type.as_str()), (Status::Compensated, "Unreachable"));
    let lamp = marked("lamp");
    assert_eq!(failure.message, format!("activity `ship` (#4) failed: nobody answers {lamp}"));
    let cause = failure.cause.and_then(|cause| cause.cause).expect("the cause of its cause");
    assert_eq!(cause.message, format!("line {lamp} is busy"));
    let journal = cluster.shop.journal.lock().unwrap().clone();
    let twice = marked(&lamp);
    let beat = marked("beat");
    assert_eq!(journal[0], "charge None None");
    assert_eq!(
        journal[1],
        format!("charge Some({beat:?}) Some({:?})", format!("Busy: {}", marked("try later")))
    );
    assert!(journal[2].contains(&beat) && journal[2].contains("the till is on fire"), "{journal:?}");
    assert_eq!(journal[3], format!("refund {lamp} {:?}", Some(&twice)));
    assert_eq!(journal[4], format!("release {lamp} {:?}", Some(&twice)));

    let spoken = client.start(talk, "talk/1", marked("hello")).await.expect("it starts");
    spoken.signal(SAY, marked("one")).await.expect("it is taken");
    let answer = within(spoken.query(HEARD, marked("really"))).await.expect("an answer");
    assert_eq!(answer, format!("{}, {}", marked("really"), marked("indeed")));
    // What the code says of a wrong argument quotes it.
    let wrong = spoken.untyped().query_untyped("twice", marked("no number")).await.unwrap_err();
    assert_eq!(wrong.code(), Some(ErrorCode::QueryFailed));
    assert!(wrong.to_string().contains(MARKER), "{wrong}");
    spoken.signal(SAY, marked("two")).await.expect("it is taken");
    assert_eq!(within(spoken.result()).await, Ok(marked("two")));
    let described = spoken.describe().await.expect("a description");
    assert_eq!(described.input.json(), format!("{:?}", marked("hello")));

    for (handle, kind) in [
        (client.start_untyped("clumsy", "clumsy/1", marked("vase")), StallKind::Panic),
        (client.start_untyped("saga", "wrong/1", marked("no order")), StallKind::InvalidTurn),
    ] {
        let handle = handle.queue("shop").await.expect("it starts");
        let stall = until_stalled(&handle, kind).await;
        assert!(stall.contains(MARKER), "{stall}");
        let described = handle.describe().await.expect("a description");
        assert!(described.waiting_for[0].contains(MARKER), "{described:?}");
        handle.terminate("enough").await.expect("it is open");
    }
    let records = order_run.history().await.expect("a history");
    let shown = serde_json::to_string(&records).expect("JSON");
    assert!(shown.matches(MARKER).count() > 15 && !shown.contains("$stepwell.encrypted"), "{shown}");
    let listed = client.list(&ListRequest::default()).await.expect("a list");
    assert!(serde_json::to_string(&listed).expect("JSON").contains(MARKER));

    worker.end().await;
    let (read, names, stored) = stored(&client).await;
    let (heard, tapped) = tap.found().await;
    for name in ["EVENTS", "HISTORY"] {
        assert!(names.contains(&format!("STEPWELL_default_{name}")), "{names:?}");
    }
    for name in ["state", "heartbeats"] {
        assert!(names.contains(&format!("KV_STEPWELL_default_{name}")), "{names:?}");
    }
    assert!(read > 50 && heard > 100, "{read} read, {heard} heard");
    cluster.end().await;
    Seen { tapped, stored }
}

async fn until_stalled<O>(handle: &WorkflowHandle<O>, kind: StallKind) -> String {
    within(async {
        loop {
            let stall = handle.describe().await.ok().and_then(|it| it.summary.stall);
            if let Some(stall) = stall.filter(|stall| stall.kind == kind) {
                return stall.message;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_sees_nothing_of_what_is_encrypted() {
    for cached in [1_000, 0] {
        let seen = live_through(|| keys(&[("k1", 1)]), cached).await;
        assert!(seen.tapped.is_empty() && seen.stored.is_empty(), "{seen:?}");
    }
}

/// Whether the test above would find anything at all.
#[tokio::test(flavor = "multi_thread")]
async fn nats_sees_everything_that_is_not_encrypted() {
    let seen = live_through(|| None, 1_000).await;
    for name in ["STEPWELL_default_EVENTS", "STEPWELL_default_HISTORY", "KV_STEPWELL_default_state"] {
        assert!(seen.stored.contains(name), "{seen:?}");
    }
    assert!(seen.stored.contains("KV_STEPWELL_default_heartbeats"), "{seen:?}");
    for kind in ["workflow", "workflow-task", "task", "history", "api", "closed", "inbox", "$KV"] {
        assert!(seen.tapped.contains(kind), "{kind}: {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_waits_for_a_worker_with_the_key() {
    let cluster = Cluster::new().await;
    let client = cluster.client(keys(&[("k1", 1)])).await;
    let keyless = RunningWorker::new(cluster.whole_worker(None).await);
    let handle = client.start(counting, "c", marked("abc")).await.expect("it starts");
    let stall = until_stalled(&handle, StallKind::UnreadablePayload).await;
    assert!(
        stall.contains(
            "the input of workflow `counting` is encrypted with key `k1`, and this process has no keys"
        ),
        "{stall}"
    );
    keyless.end().await;
    // Neither do another key, nor another key of the same id.
    for (wrong, why) in [
        (("k2", 1), "`k1`, which this process does not have"),
        (("k1", 9), "was not encrypted for this place"),
    ] {
        let worker = RunningWorker::new(cluster.whole_worker(keys(&[wrong])).await);
        within(async { while !until_stalled(&handle, StallKind::UnreadablePayload).await.contains(why) {} })
            .await;
        worker.end().await;
    }
    // The key was replaced meanwhile; the old one is still there.
    let worker = RunningWorker::new(cluster.whole_worker(keys(&[("k3", 3), ("k1", 1)])).await);
    let error = within(handle.result()).await.unwrap_err();
    let ResultError::Request(RequestError::Answer(text)) = error else { panic!("{error:?}") };
    assert!(text.contains("`k3`, which this process does not have"), "{text}");
    let rotated = cluster.client(keys(&[("k1", 1), ("k3", 3)])).await;
    assert_eq!(within(rotated.workflow(counting, "c").result()).await, Ok(marked("abc").len()));
    let keyless = cluster.client(None).await.workflow(counting, "c");
    let text = within(keyless.result()).await.unwrap_err().to_string();
    assert!(text.contains("encrypted with key `k3`, and this process has no keys"), "{text}");
    let records = keyless.history().await.expect("it can be read");
    let input = records[0].events.iter().find_map(|event| {
        if let Event::RunStarted(started) = event { Some(started.input.clone()) } else { None }
    });
    assert!(is_sealed(&input.expect("an input")));
    assert_eq!(cluster.shop.charges.load(Ordering::SeqCst), 1);
    worker.end().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activity_is_handed_on_to_a_worker_with_the_key() {
    let cluster = Cluster::new().await;
    let client = cluster.client(keys(&[("k1", 1)])).await;
    let thinker = RunningWorker::new(cluster.worker(keys(&[("k1", 1)])).await.workflow(counting));
    let keyless = RunningWorker::new(cluster.worker(None).await.activities(cluster.shop.clone()));
    let handle = client.start(counting, "c", marked("abc")).await.expect("it starts");
    let refused = within(async {
        loop {
            let records = handle.history().await.unwrap_or_default();
            let mut events = records.into_iter().flat_map(|record| record.events);
            let refusal = events.find_map(|event| {
                if let Event::AttemptRefused { reason, .. } = event { Some(reason) } else { None }
            });
            match refusal {
                Some(reason) => return reason,
                None => tokio::task::yield_now().await,
            }
        }
    });
    let refused = refused.await;
    assert!(refused.contains("the input of activity 1 is encrypted with key `k1`"), "{refused}");
    assert_eq!(cluster.shop.charges.load(Ordering::SeqCst), 0, "it was not executed");
    keyless.end().await;
    // It may be made once only, and that it was refused does not count.
    let able = RunningWorker::new(cluster.worker(keys(&[("k1", 1)])).await.activities(cluster.shop.clone()));
    assert_eq!(within(handle.result()).await, Ok(marked("abc").len()));
    assert_eq!(cluster.shop.charges.load(Ordering::SeqCst), 1);
    for worker in [thinker, able] {
        worker.end().await;
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_work_is_done_unless_it_is_refused_and_moved_work_never() {
    let cluster = Cluster::new().await;
    let plain = cluster.client(None).await;
    let strict = || keys(&[("k1", 1)]).map(Encryption::refuse_plain);
    let worker = RunningWorker::new(cluster.whole_worker(strict()).await);
    let handle = plain.start(counting, "plain", marked("abc")).await.expect("it starts");
    let stall = until_stalled(&handle, StallKind::UnreadablePayload).await;
    assert!(stall.contains("the input of workflow `counting` is not encrypted"), "{stall}");
    worker.end().await;
    let client = cluster.client(keys(&[("k1", 1)])).await;
    let worker = RunningWorker::new(cluster.whole_worker(keys(&[("k1", 1)])).await);
    let reader = client.workflow(counting, "plain");
    assert_eq!(within(reader.result()).await, Ok(marked("abc").len()));
    // The input of another workflow id, as whoever can write to NATS would copy it.
    let victim = client.start(counting, "victim", marked("abc")).await.expect("it starts");
    within(victim.result()).await.expect("it ends");
    let sealed = plain.workflow_untyped("victim").describe().await.expect("a description").input;
    assert!(is_sealed(&sealed));
    let moved = plain.start_untyped("counting", "thief", &sealed).queue("shop").await.expect("it starts");
    let stall = until_stalled(&moved, StallKind::UnreadablePayload).await;
    assert!(stall.contains("was not encrypted for this place"), "{stall}");
    assert_eq!(cluster.shop.charges.load(Ordering::SeqCst), 2);
    worker.end().await;
    cluster.end().await;
}

/// Panics at its first calls.
struct Shaky(KeyRing, AtomicU32);

impl PayloadCipher for Shaky {
    fn seal(
        &self,
        plain: &[u8],
        context: &stepwell::encryption::Context<'_>,
    ) -> Result<stepwell::encryption::Sealed, stepwell::encryption::CipherError> {
        assert!(self.1.fetch_add(1, Ordering::SeqCst) > 0, "the vault is closed");
        self.0.seal(plain, context)
    }

    fn open(
        &self,
        sealed: &stepwell::encryption::Sealed,
        context: &stepwell::encryption::Context<'_>,
    ) -> Result<Vec<u8>, stepwell::encryption::CipherError> {
        self.0.open(sealed, context)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cipher_that_panics_costs_a_retry_and_no_worker() {
    let cluster = Cluster::new().await;
    let ring = || KeyRing::new("k1", &Secret::new([1; 32])).unwrap();
    let shaky = || Some(Encryption::with(Shaky(ring(), AtomicU32::new(0))));
    let client = cluster.client(keys(&[("k1", 1)])).await;
    let thinker = RunningWorker::new(cluster.worker(shaky()).await.workflow(counting));
    let doer = RunningWorker::new(cluster.worker(shaky()).await.activities(cluster.shop.clone()));
    let handle = client.start(counting, "c", marked("abc")).await.expect("it starts");
    let stall = until_stalled(&handle, StallKind::UnreadablePayload).await;
    assert!(stall.contains("the cipher panicked"), "{stall}");
    assert_eq!(within(handle.result()).await, Ok(marked("abc").len()));
    assert_eq!(cluster.shop.charges.load(Ordering::SeqCst), 1, "its result was kept until it was encrypted");
    for worker in [thinker, doer] {
        worker.end().await;
    }
    cluster.end().await;
}
