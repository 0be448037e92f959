//! A server with a namespace, a worker on it, and the test in the orchestrator's place.

use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::{HeaderMap, Subscriber};
use futures_util::{Stream, StreamExt};
use serde::Serialize;
use stepwell::shared::announce::Announcement;
use stepwell::shared::api::{
    ApiAnswer, AttemptAnswer, AttemptRequest, ReplayAnswer, ReplayRequest, Reported,
};
use stepwell::shared::encoding::{VERSION, decode, decode_unversioned, encode};
use stepwell::shared::headers::{MESSAGE_ID, REPEATED};
use stepwell::shared::ids::{Name, RunId, StepId, WorkflowId};
use stepwell::shared::message::{Outcome, ReportMessage};
use stepwell::shared::shard::Shard;
use stepwell::shared::subject::{self, Bucket};
use stepwell::shared::summary::RunSummary;
use stepwell::shared::task::ActivityTask;
use stepwell::{CancellationToken, Client, Connection, Failure, Payload, Worker, WorkerError};
use stepwell_connection::chunked;
use stepwell_connection::history::read_history;
use stepwell_connection::page::read_page;
use stepwell_connection::provision::{ProvisionOptions, ensure_queue, provision};
use stepwell_nats_server::{NatsServer, find};
use tokio::task::JoinHandle;

/// Longest wait for anything; reached only when something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The queue of every worker here.
pub(crate) const QUEUE: &str = "work";

/// A server with the default namespace, and the test's connection to it.
pub(crate) struct World {
    pub(crate) server: NatsServer,
    pub(crate) connection: Connection,
}

/// A worker that runs, until it is stopped or dropped.
pub(crate) struct RunningWorker {
    pub(crate) stop: CancellationToken,
    ended: Option<JoinHandle<Result<(), WorkerError>>>,
}

/// The reports that arrive at the test.
pub(crate) struct Reports(Subscriber);

impl World {
    pub(crate) async fn new() -> Self {
        let world = Self::bare().await;
        let options = ProvisionOptions::default();
        provision(&world.connection, &options).await.expect("it is provisioned");
        world
    }

    /// A server without a namespace.
    pub(crate) async fn bare() -> Self {
        let server = NatsServer::builder(find().expect("a nats-server binary; set STEPWELL_NATS_SERVER"));
        let server = server.start().expect("the server starts");
        let connection = client(&server).await.connection().clone();
        stand_in(&connection).await;
        Self { server, connection }
    }

    pub(crate) async fn client(&self) -> Client {
        client(&self.server).await
    }

    /// A worker of its own connection without code.
    pub(crate) async fn worker(&self) -> Worker {
        Worker::new(self.client().await, QUEUE)
    }

    /// Runs the worker and waits until it is known.
    pub(crate) async fn run(&self, worker: Worker) -> RunningWorker {
        let mut announcements = self.announcements().await;
        let running = RunningWorker::new(worker);
        within(announcements.next()).await.expect("an announcement");
        running
    }

    pub(crate) async fn announcements(&self) -> impl Stream<Item = Announcement> + Unpin + use<> {
        let messages = self.subscribe("stepwell.default.worker.announce").await;
        messages.map(|message| decode(&message.payload).expect("an announcement"))
    }

    pub(crate) async fn reports(&self) -> Reports {
        Reports(self.subscribe("stepwell.default.workflow.*.activity.>").await)
    }

    pub(crate) async fn subscribe(&self, subject: &str) -> Subscriber {
        let messages = self.connection.client().subscribe(subject.to_owned()).await.expect("subscribes");
        self.connection.client().flush().await.expect("flushes");
        messages
    }

    /// Puts a task on the queue.
    pub(crate) async fn publish(&self, task: &ActivityTask) {
        self.publish_body(&task.idempotency_key, encode(task)).await;
    }

    /// The same, by somebody who may have done so before.
    pub(crate) async fn publish_again(&self, task: &ActivityTask) {
        let mut headers = HeaderMap::new();
        headers.insert(REPEATED, "1");
        self.publish_with(headers, &task.idempotency_key, encode(task)).await;
    }

    /// Puts any body on the queue.
    pub(crate) async fn publish_body(&self, id: &str, body: Vec<u8>) {
        self.publish_with(HeaderMap::new(), id, body).await;
    }

    async fn publish_with(&self, mut headers: HeaderMap, id: &str, body: Vec<u8>) {
        headers.insert(MESSAGE_ID, id);
        let subject = subject::task(self.connection.namespace(), &queue(), Shard::FIRST);
        let sent = self.connection.publisher().publish(subject, Some(headers), body.into()).await;
        sent.expect("it is sent").await.expect("it is stored");
    }

    /// The queue's consumer.
    pub(crate) async fn consumer(&self) -> PullConsumer {
        ensure_queue(&self.connection, &queue(), Shard::FIRST).await.expect("a consumer")
    }

    /// Waits until no task is on the queue or with a worker.
    pub(crate) async fn until_empty(&self) {
        let stream = self.connection.jetstream().get_stream("STEPWELL_default_TASKS").await.expect("TASKS");
        within(async {
            while stream.get_info().await.expect("its state").state.messages > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

impl RunningWorker {
    pub(crate) fn new(worker: Worker) -> Self {
        let stop = CancellationToken::new();
        Self { ended: Some(tokio::spawn(worker.run_until(stop.clone()))), stop }
    }

    /// Stops the worker and waits for its end.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        let ended = self.ended.take().expect("it ends once");
        within(ended).await.expect("it does not panic").expect("it ends well");
    }
}

impl Drop for RunningWorker {
    fn drop(&mut self) {
        if let Some(ended) = &self.ended {
            ended.abort();
        }
    }
}

impl Reports {
    /// The next report, with the end of its subject: the run and the step.
    pub(crate) async fn next(&mut self) -> (String, ReportMessage) {
        let message = within(self.0.next()).await.expect("a report");
        let subject = message.subject.as_str();
        let (_, place) = subject.split_once(".activity.").expect("a report's subject");
        (place.to_owned(), decode(&message.payload).expect("a report"))
    }

    pub(crate) async fn outcome(&mut self) -> Outcome {
        self.next().await.1.outcome
    }

    /// The next report, which must be of a failure.
    pub(crate) async fn failure(&mut self) -> (Failure, Option<Payload>) {
        match self.outcome().await {
            Outcome::Failed { failure, heartbeat } => (failure, heartbeat),
            other @ (Outcome::Started {}
            | Outcome::Completed { .. }
            | Outcome::Cancelled {}
            | Outcome::Refused { .. }) => panic!("no failure: {other:?}"),
        }
    }
}

/// Answers what workers ask orchestrators, in their place and without looking at tokens. Where there is a real
/// one, one of the two answers.
async fn stand_in(connection: &Connection) {
    let namespace = connection.namespace().clone();
    let group = "q".to_owned();
    let mut replays =
        connection.client().queue_subscribe(subject::api(&namespace, "replay"), group.clone()).await.unwrap();
    let mut attempts =
        connection.client().queue_subscribe(subject::api(&namespace, "attempt"), group).await.unwrap();
    connection.client().flush().await.unwrap();
    let other = connection.clone();
    tokio::spawn(async move {
        while let Some(message) = replays.next().await {
            let request: ReplayRequest = decode_unversioned(&message.payload).unwrap();
            let id = WorkflowId::new(&request.id).unwrap();
            let history = subject::history(other.namespace(), &id, 16);
            let history = read_history(&other, &history, request.from_sequence).await.unwrap();
            let records = history.records.into_iter().map(|stored| stored.record);
            let answer = ReplayAnswer { records: records.collect(), next_sequence: None };
            answer_with(&other, message.reply, answer).await;
        }
    });
    let other = connection.clone();
    tokio::spawn(async move {
        while let Some(message) = attempts.next().await {
            let request: AttemptRequest = decode_unversioned(&message.payload).unwrap();
            let answer = attempt(&other, &request).await;
            answer_with(&other, message.reply, answer).await;
        }
    });
}

async fn answer_with(connection: &Connection, reply: Option<async_nats::Subject>, answer: impl Serialize) {
    let body = encode(&ApiAnswer::Ok(answer));
    chunked::reply(connection.client(), reply.unwrap(), body).await.unwrap();
}

async fn attempt(connection: &Connection, request: &AttemptRequest) -> AttemptAnswer {
    let id = WorkflowId::new(&request.id).unwrap();
    let run_id = RunId::new(&request.run_id).unwrap();
    let subject = subject::stored_reports(connection.namespace(), &id, &run_id, request.step);
    let page = read_page(connection, subject::Stream::Events, &subject, 1).await.unwrap();
    let mut reported = Reported::Nothing {};
    for message in page.messages {
        let report: ReportMessage = decode(&message.body).unwrap();
        if report.token != request.token || report.attempt != request.attempt {
            continue;
        }
        match report.outcome {
            Outcome::Started {} => reported = Reported::Begun { worker: report.worker },
            Outcome::Completed { .. } | Outcome::Failed { .. } | Outcome::Cancelled {} => {
                reported = Reported::Ended {};
                break;
            }
            Outcome::Refused { .. } => {}
        }
    }
    let state = connection.bucket(Bucket::State).await.unwrap();
    let summary = state.get(subject::state_key(&id)).await.unwrap();
    let summary: Option<RunSummary> = summary.map(|summary| decode(&summary).unwrap());
    let run_closed = summary.is_some_and(|summary| summary.run_id == run_id && summary.status.closed());
    AttemptAnswer { reported, run_closed }
}

/// A task for the step of run `run-1`.
pub(crate) fn task(activity: &str, seq: u32, input: impl Serialize) -> ActivityTask {
    ActivityTask {
        v: VERSION,
        workflow_id: WorkflowId::new("order 7").expect("a valid id"),
        workflow_type: name("order"),
        run_id: run_id(),
        step: StepId::Action(seq),
        attempt: 1,
        activity_type: name(activity),
        input: json(input),
        idempotency_key: format!("run-1/{seq}"),
        token: format!("token-{seq}"),
        partition: None,
        scheduled_at_ms: stepwell_connection::clock::now_ms(),
        schedule_to_start_ms: None,
        expires_at_ms: None,
        start_to_close_ms: Some(60_000),
        heartbeat_timeout_ms: None,
        maximum_attempts: None,
        heartbeat: None,
        last_failure: None,
    }
}

pub(crate) fn run_id() -> RunId {
    RunId::new("run-1").expect("a valid id")
}

pub(crate) fn queue() -> Name {
    name(QUEUE)
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a valid name")
}

pub(crate) fn json(value: impl Serialize) -> Payload {
    Payload::encode(&value).expect("JSON")
}

/// The future's output, if it comes at all.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it happens in time")
}

async fn client(server: &NatsServer) -> Client {
    Client::connect(&server.url()).await.expect("the server takes connections")
}
