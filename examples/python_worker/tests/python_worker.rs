//! `worker.py` takes part in real runs. Needs a Python with nats-py, named in `STEPWELL_PYTHON`;
//! `cargo xtask test` makes one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail where it finds something unexpected"
)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::StreamExt;
use python_worker::{QUEUE, Report, report_on_text};
use stepwell::prelude::*;
use stepwell::shared::history::Event;
use stepwell::shared::ids::Name;
use stepwell::shared::shard::Shard;
use stepwell::{CancellationToken, ConnectionOptions, FailureKind, Payload, ResultError};
use stepwell_connection::provision;
use stepwell_nats_server::NatsServer;
use stepwell_orchestrator::Options;

/// How long anything may take before the test is given up.
const PATIENCE: Duration = Duration::from_secs(90);

/// A server, an orchestrator and a worker for the workflow; everything ends when this is dropped.
struct Stage {
    client: Client,
    server: NatsServer,
    stop: CancellationToken,
}

impl Stage {
    async fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let binary = stepwell_nats_server::find_in(&root).expect("run the tests as `cargo xtask test`");
        let server = NatsServer::builder(binary).start().unwrap();
        let stop = CancellationToken::new();
        let options = ConnectionOptions::to_url(&server.url());
        let orchestrator = (options.clone(), Options { no_http: true, ..Options::default() }, stop.clone());
        tokio::spawn(async move {
            let (options, settings, stop) = orchestrator;
            stepwell_orchestrator::run(&options, settings, stop).await
        });
        let client = Client::with(&options).await.unwrap();
        let worker = Worker::new(client.clone(), "default").workflow(report_on_text);
        tokio::spawn(worker.run_until(stop.clone()));
        Self { client, server, stop }
    }

    async fn report_on(&self, id: &str, text: &str) -> WorkflowHandle<Report> {
        in_time(self.client.start(report_on_text, id, Payload::encode(text).unwrap())).await.unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The Python process, killed when this is dropped.
struct Python(Child);

impl Python {
    fn start(interpreter: &str, server: &NatsServer) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("worker.py");
        let mut command = Command::new(interpreter);
        command.arg(script).arg(QUEUE).env("NATS_URL", server.url()).stdin(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn interpreter() -> Option<String> {
    let found = std::env::var("STEPWELL_PYTHON").ok();
    if found.is_none() {
        eprintln!("not run: STEPWELL_PYTHON is not set; run the tests as `cargo xtask test`");
    }
    found
}

async fn in_time<T>(work: impl IntoFuture<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work.into_future()).await.expect("it took far too long")
}

#[tokio::test(flavor = "multi_thread")]
async fn python_takes_part_in_a_run() {
    let Some(interpreter) = interpreter() else { return };
    let stage = Stage::start().await;
    // The run waits for a worker; its id needs escaping in a subject.
    let run = stage.report_on("a report.on/größe", "one two  three").await;
    let _python = Python::start(&interpreter, &stage.server);
    let report = in_time(run.result()).await.unwrap();
    assert_eq!(report, Report { words: 3, reversed: "eerht  owt eno".to_owned() });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_in_python_is_a_failure_with_its_type() {
    let Some(interpreter) = interpreter() else { return };
    let stage = Stage::start().await;
    let _python = Python::start(&interpreter, &stage.server);
    let started = stage.client.start(report_on_text, "number", Payload::encode(&7).unwrap());
    let error = in_time(in_time(started).await.unwrap().result()).await.unwrap_err();
    let ResultError::Failed { failure: Some(failure), .. } = error else { panic!("{error}") };
    assert_eq!(failure.error_type, "AttributeError", "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_somebody_else_lost_is_reported_and_not_executed() {
    let Some(interpreter) = interpreter() else { return };
    let stage = Stage::start().await;
    let run = stage.report_on("lost", "one two").await;
    // Somebody takes the task and is never heard of again.
    let consumer =
        provision::ensure_queue(stage.client.connection(), &Name::new(QUEUE).unwrap(), Shard::FIRST)
            .await
            .unwrap();
    let mut messages = in_time(consumer.fetch().max_messages(1).expires(PATIENCE).messages()).await.unwrap();
    in_time(messages.next()).await.unwrap().unwrap();
    let _python = Python::start(&interpreter, &stage.server);
    assert_eq!(in_time(run.result()).await.unwrap().words, 2);
    let events: Vec<Event> =
        run.history().await.unwrap().into_iter().flat_map(|record| record.events).collect();
    let lost = events.iter().any(|event| {
        matches!(event, Event::AttemptFailed { attempt: 1, failure, .. } if failure.kind == FailureKind::Lost)
    });
    let second = events.iter().any(|event| matches!(event, Event::ActivityCompleted { attempt: 2, .. }));
    assert!(lost && second, "{events:#?}");
}
