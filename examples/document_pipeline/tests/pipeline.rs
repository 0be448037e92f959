//! The pipeline end to end: a server, an orchestrator and the workers of both queues.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail where it finds something unexpected"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::document_pipeline::documents::Documents;
use ::document_pipeline::model::offline::Extractive;
use ::document_pipeline::model::{Answer, Fact, LanguageModel, Material, ModelError};
use ::document_pipeline::models::Models;
use ::document_pipeline::results;
use ::document_pipeline::workflow::{APPROVE, Outcome, STAGE, Stage, Submission, document_pipeline};
use example_ledger::{Ledger, Phase};
use stepwell::prelude::*;
use stepwell::shared::error_code::ErrorCode;
use stepwell::{CancellationToken, ConnectionOptions, RequestError, ResultError};
use stepwell_nats_server::NatsServer;
use stepwell_orchestrator::Options;

/// How long anything may take before the test is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The offline model behind a server that first asks for fewer requests, then breaks, then works.
#[derive(Default)]
struct Moody {
    calls: AtomicUsize,
}

impl LanguageModel for Moody {
    fn name(&self) -> &str {
        "moody"
    }

    fn extract_facts<'a>(&'a self, section: &'a str) -> Answer<'a, Vec<Fact>> {
        let refusal = match self.calls.fetch_add(1, Ordering::SeqCst) {
            0 => ModelError::RateLimited { retry_after: Some(Duration::from_millis(50)) },
            1 => ModelError::Server { status: 503, body: String::new() },
            _ => return Extractive.extract_facts(section),
        };
        Box::pin(async { Err(refusal) })
    }

    fn summarize<'a>(&'a self, material: &'a Material) -> Answer<'a, String> {
        Extractive.summarize(material)
    }
}

/// Everything that runs; it ends when this is dropped.
struct Pipeline {
    client: Client,
    folder: PathBuf,
    stop: CancellationToken,
    _server: NatsServer,
}

impl Pipeline {
    async fn start(name: &str) -> Self {
        let binary =
            stepwell_nats_server::find_in(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").as_path())
                .expect("run the tests as `cargo xtask test`");
        let folder = std::env::temp_dir().join(format!("stepwell-pipeline-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let server = NatsServer::builder(binary).store_dir(folder.join("nats")).start().unwrap();
        let stop = CancellationToken::new();
        let options = ConnectionOptions::to_url(&server.url());
        let orchestrator = (options.clone(), Options { no_http: true, ..Options::default() }, stop.clone());
        tokio::spawn(async move {
            let (options, settings, stop) = orchestrator;
            stepwell_orchestrator::run(&options, settings, stop).await
        });
        let client = Client::with(&options).await.unwrap();
        let ledger = Ledger::open(Some(&folder.join("ledger.jsonl"))).unwrap();
        let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("documents");
        let documents =
            Documents { folder: library, results: folder.join("results"), ledger: ledger.clone() };
        let model = Arc::new(Moody::default());
        let models = Models { model, latency: Duration::ZERO, ledger };
        let light =
            Worker::new(client.clone(), "documents").workflow(document_pipeline).activities(documents);
        let heavy = Worker::new(client.clone(), "models").activities(models);
        for worker in [light, heavy] {
            let stop = stop.clone();
            tokio::spawn(async move { worker.run_until(stop).await });
        }
        Self { client, folder, stop, _server: server }
    }

    async fn submit(&self, document: &str, approval_seconds: u64) -> WorkflowHandle<Outcome> {
        let submission = Submission { document: document.to_owned(), approval_seconds };
        in_time(self.client.start(document_pipeline, document, submission)).await.unwrap()
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.stop.cancel();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

async fn in_time<T>(work: impl IntoFuture<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work.into_future()).await.expect("it took far too long")
}

/// Whether a query came before the workers, or before they had the run.
fn not_yet(error: &RequestError) -> bool {
    matches!(error.code(), Some(ErrorCode::Unavailable | ErrorCode::QueryFailed))
}

async fn awaiting_approval(run: &WorkflowHandle<Outcome>) -> String {
    let asking = async {
        loop {
            match run.query(STAGE, ()).await {
                Ok(Stage::AwaitingApproval { summary }) => return summary,
                Ok(_) => {}
                Err(error) => assert!(not_yet(&error), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    in_time(asking).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_document_is_saved_and_found_though_the_model_is_moody() {
    let pipeline = Pipeline::start("approved").await;
    let run = pipeline.submit("apache-license-2.0.pdf", 3_600).await;
    let summary = awaiting_approval(&run).await;
    assert!(summary.contains("License"), "{summary}");
    assert!(!pipeline.folder.join("results").exists(), "nothing is saved before it is approved");
    run.signal(APPROVE, true).await.unwrap();
    let outcome = in_time(run.result()).await.unwrap();
    assert!(matches!(&outcome, Outcome::Saved { chunks: 4, facts: 5, .. }), "{outcome:?}");
    assert_eq!(run.query(STAGE, ()).await.unwrap(), Stage::Done);

    let (hits, _) = results::search(&pipeline.folder.join("results"), "grant of patent license", 1).unwrap();
    assert_eq!(hits[0].document, "apache-license-2.0.pdf");
    let ledger = example_ledger::read(&pipeline.folder.join("ledger.jsonl")).unwrap();
    let attempts = |phase| {
        let of = ledger.iter().filter(|entry| entry.activity == "extract_facts" && entry.phase == phase);
        of.map(|entry| entry.attempt).collect::<Vec<_>>()
    };
    assert_eq!((attempts(Phase::Failed), attempts(Phase::Finished)), (vec![1, 2], vec![3]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_without_approval_is_not_saved() {
    let pipeline = Pipeline::start("rejected").await;
    let undecided = pipeline.submit("gettysburg-address.txt", 1).await;
    let refused = pipeline.submit("tokio-readme.md", 3_600).await;
    refused.signal(APPROVE, false).await.unwrap(); // long before anybody asks for it
    assert_eq!(in_time(undecided.result()).await.unwrap(), Outcome::Rejected { timed_out: true });
    assert_eq!(in_time(refused.result()).await.unwrap(), Outcome::Rejected { timed_out: false });
    assert!(!pipeline.folder.join("results").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_cannot_be_read_fails_its_run_at_once() {
    let pipeline = Pipeline::start("unreadable").await;
    for document in ["nothing.txt", "../Cargo.toml"] {
        let run = pipeline.submit(document, 1).await;
        let error = in_time(run.result()).await.unwrap_err();
        let ResultError::Failed { failure: Some(failure), .. } = error else { panic!("{error}") };
        assert_eq!(failure.error_type, "DocumentUnreadable", "{failure}");
    }
}
