//! The pipeline's program: its workers, and a search over what they saved.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ::document_pipeline::chunk::{CHUNK_CHARS, split};
use ::document_pipeline::documents::Documents;
use ::document_pipeline::extract::extract;
use ::document_pipeline::model::http::HttpModel;
use ::document_pipeline::model::offline::Extractive;
use ::document_pipeline::model::{HttpOptions, LanguageModel};
use ::document_pipeline::models::Models;
use ::document_pipeline::vocabulary::Vocabulary;
use ::document_pipeline::workflow::document_pipeline;
use ::document_pipeline::{library, results};
use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use example_ledger::Ledger;
use stepwell::{Client, ConnectionOptions, Worker};

#[derive(Parser)]
#[command(about = "A document pipeline on Stepwell", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a queue until told to stop.
    Worker(Box<WorkerArguments>),
    /// Find the pieces of saved documents that are most like a question.
    Search {
        /// The question.
        question: String,
        /// Where results are saved.
        #[arg(long, env = "RESULTS_DIR", default_value = "results")]
        results: PathBuf,
        /// How many to show.
        #[arg(long, default_value_t = 3)]
        limit: usize,
    },
    /// Count the vocabulary of the documents anew and print it.
    Vocabulary {
        /// Where documents are read from.
        #[arg(long, env = "DOCUMENTS_DIR", default_value = "examples/document_pipeline/documents")]
        documents: PathBuf,
    },
}

#[derive(Args)]
struct WorkerArguments {
    /// Which queue to serve.
    #[arg(long)]
    queue: Queue,
    /// How many activities to run at once.
    #[arg(long, default_value_t = 8)]
    slots: usize,
    /// Where documents are read from.
    #[arg(long, env = "DOCUMENTS_DIR", default_value = "examples/document_pipeline/documents")]
    documents: PathBuf,
    /// Where results are saved.
    #[arg(long, env = "RESULTS_DIR", default_value = "results")]
    results: PathBuf,
    /// Note every attempt in this file, one line of JSON each.
    #[arg(long, env = "LEDGER")]
    ledger: Option<PathBuf>,
    /// Serve metrics and health on this address, such as 127.0.0.1:9464.
    #[arg(long, env = "METRICS_ADDRESS")]
    metrics: Option<String>,
    /// Wait so many milliseconds before each model call, as a model across a network would.
    #[arg(long, default_value_t = 0)]
    model_latency: u64,
    #[command(flatten)]
    model: HttpOptions,
    #[command(flatten)]
    connection: ConnectionOptions,
}

#[derive(Clone, Copy, ValueEnum)]
enum Queue {
    /// The workflow and the light activities.
    Documents,
    /// The activities that need a language model.
    Models,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(filter())
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match run(Arguments::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Worker(arguments) => serve(*arguments).await,
        Command::Search { question, results, limit } => search(&results, &question, limit),
        Command::Vocabulary { documents } => count(&documents),
    }
}

async fn serve(arguments: WorkerArguments) -> Result<()> {
    let ledger = Ledger::open(arguments.ledger.as_deref())?;
    let client = Client::with_patience(&arguments.connection).await?;
    let worker = match arguments.queue {
        Queue::Documents => Worker::new(client, "documents")
            .workflow(document_pipeline)
            .activities(Documents { folder: arguments.documents, results: arguments.results, ledger }),
        Queue::Models => Worker::new(client, "models").activities(Models {
            model: language_model(&arguments.model)?,
            latency: Duration::from_millis(arguments.model_latency),
            ledger,
        }),
    };
    let worker = worker.max_concurrent_activities(arguments.slots);
    let worker = arguments.metrics.into_iter().fold(worker, |worker, address| worker.metrics(address));
    worker.run().await?;
    Ok(())
}

fn language_model(options: &HttpOptions) -> Result<Arc<dyn LanguageModel>> {
    match options.base_url.as_deref().filter(|url| !url.is_empty()) {
        Some(url) => Ok(Arc::new(HttpModel::new(url, options)?)),
        None => Ok(Arc::new(Extractive)),
    }
}

fn search(folder: &std::path::Path, question: &str, limit: usize) -> Result<()> {
    let (hits, skipped) = results::search(folder, question, limit)?;
    for hit in hits {
        let text: String = hit.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let text: String = text.chars().take(200).collect();
        println!("{:.2}  {}\n      {text}…", hit.similarity, hit.document);
    }
    if skipped > 0 {
        eprintln!("{skipped} pieces have vectors of another vocabulary; run the pipeline again for them");
    }
    Ok(())
}

fn count(folder: &std::path::Path) -> Result<()> {
    let mut pieces = Vec::new();
    for name in library::documents(folder)? {
        let text = extract(&name, &library::read(folder, &name)?).with_context(|| name.clone())?.text;
        pieces.extend(split(&text, CHUNK_CHARS));
    }
    print!("{}", Vocabulary::count(pieces.iter().map(String::as_str)).table());
    Ok(())
}

fn filter() -> tracing_subscriber::EnvFilter {
    tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into())
}
