//! Everything that runs during the demonstration: a server with a throw-away store, the orchestrator,
//! and the workers of each queue as processes of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use stepwell_connection::{Connection, ConnectionOptions, provision};
use stepwell_nats_server::NatsServer;

use crate::Arguments;
use crate::processes::Processes;

/// The orchestrator's name among the processes.
pub(crate) const ORCHESTRATOR: &str = "orchestrator";
/// The worker of queue `documents`: workflow code and light activities.
pub(crate) const DOCUMENTS: &str = "documents-worker";
/// The worker of queue `models`.
pub(crate) const MODELS: &str = "models-worker";
/// The worker of queue `orders`.
pub(crate) const ORDERS: &str = "orders-worker";

/// How long each model call takes: what makes the demonstration last long enough to kill somebody.
const MODEL_LATENCY_MS: u32 = 400;
/// How long each call to the bank or the carrier takes, for the same reason.
const ORDER_LATENCY_MS: u32 = 200;
/// Activities at once in the workers of `models` and `orders`.
const SLOTS: u32 = 4;

/// How long the first orchestrator may take to make its streams.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between two looks whether it has.
const POLL: Duration = Duration::from_millis(50);

/// Where things are kept.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    /// The folder that was asked for, or a new one that is thrown away.
    pub(crate) fn create(asked: Option<&Path>) -> Result<Self> {
        let fallback = std::env::temp_dir().join(format!("stepwell-demo-{}", std::process::id()));
        let path = asked.map_or(fallback, Path::to_owned);
        fs::create_dir_all(path.join("logs")).with_context(|| format!("cannot create {}", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("cannot use {}", path.display()))?;
        if path.join("ledger.jsonl").exists() {
            bail!("{} holds an earlier demonstration; give an empty folder", path.display());
        }
        Ok(Self { path, keep: asked.is_some() })
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The ledger of all activities.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.path.join("ledger.jsonl")
    }

    /// The books of the orders.
    pub(crate) fn books(&self) -> PathBuf {
        self.path.join("books.jsonl")
    }

    /// What the pipeline saves.
    pub(crate) fn results(&self) -> PathBuf {
        self.path.join("results")
    }

    /// Keeps it: something is to be looked at.
    pub(crate) fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            // Nobody is harmed by what is left in the system's temporary folder.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// What runs. Everything ends when this is dropped.
pub(crate) struct Cluster {
    // Dropped in this order: the server last.
    pub(crate) processes: Processes,
    pub(crate) connection: Connection,
    _server: NatsServer,
}

impl Cluster {
    /// Starts everything and waits until work can be given to it.
    pub(crate) async fn start(arguments: &Arguments, folder: &Folder) -> Result<Self> {
        let binary =
            stepwell_nats_server::find().context("run this as `cargo xtask demo`, which installs one")?;
        let store = folder.path().join("nats");
        let server = NatsServer::builder(binary).store_dir(store).start()?;
        let mut processes = Processes::new(&folder.path().join("logs"), &server.url());
        let orchestrator = ["orchestrator", "--listen", "127.0.0.1:0"].map(str::to_owned);
        processes.start(ORCHESTRATOR, &arguments.stepwell, orchestrator.into())?;
        let options = ConnectionOptions::to_url(&server.url());
        let connection = options.connect("stepwell-demo").await?;
        wait_until_provisioned(&connection, &mut processes).await?;
        for (name, binary, arguments) in workers(arguments, folder) {
            processes.start(name, binary, arguments)?;
        }
        Ok(Self { processes, connection, _server: server })
    }
}

fn workers<'a>(arguments: &'a Arguments, folder: &Folder) -> [(&'static str, &'a Path, Vec<String>); 3] {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let ledger = ["--ledger".to_owned(), path(&folder.ledger())];
    let with = |own: &[&str]| -> Vec<String> {
        own.iter().map(|argument| (*argument).to_owned()).chain(ledger.clone()).collect()
    };
    let (documents, results, books) =
        (path(&arguments.documents), path(&folder.results()), path(&folder.books()));
    let (slots, model, order) =
        (SLOTS.to_string(), MODEL_LATENCY_MS.to_string(), ORDER_LATENCY_MS.to_string());
    let light = ["worker", "--queue", "documents", "--documents", &documents, "--results", &results];
    let heavy = ["worker", "--queue", "models", "--slots", &slots, "--model-latency", &model];
    let saga = ["worker", "--books", &books, "--slots", &slots, "--latency", &order];
    [
        (DOCUMENTS, &arguments.document_pipeline, with(&light)),
        (MODELS, &arguments.document_pipeline, with(&heavy)),
        (ORDERS, &arguments.order_saga, with(&saga)),
    ]
}

async fn wait_until_provisioned(connection: &Connection, processes: &mut Processes) -> Result<()> {
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        processes.check()?;
        match provision::settings(connection).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= deadline => {
                return Err(error).context("the orchestrator did not make its streams in time");
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}
