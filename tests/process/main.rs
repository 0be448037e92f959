//! The processes that the end-to-end tests start, kill and start again: an orchestrator, or a worker with
//! the tests' workflows and activities. Ends when its standard input closes, so that none is left behind by
//! a test that was killed.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use stepwell::{Client, Worker};
use stepwell_connection::ConnectionOptions;
use stepwell_simulation as simulation;
use stepwell_tests::activities::{Desk, boundless, concatenate, double, explode, nothing, text_of};
use stepwell_tests::chaos::ProgramDesk;
use stepwell_tests::workflows;
use stepwell_tests::workflows::deploy::Version;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How a process of the tests is called.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    connection: ConnectionOptions,
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// An orchestrator.
    Orchestrator {
        #[command(flatten)]
        options: Box<stepwell_orchestrator::Options>,
    },
    /// A worker.
    Worker(WorkerArguments),
}

#[derive(Debug, clap::Args)]
struct WorkerArguments {
    #[arg(long, default_value = "default")]
    queue: String,
    /// Where ledger and gates are.
    #[arg(long)]
    folder: PathBuf,
    #[arg(long, default_value_t = 16)]
    slots: usize,
    /// Runs that stay in memory; with 0 every task replays.
    #[arg(long, default_value_t = 1_000)]
    cached: usize,
    /// Which code of workflow `deploy`.
    #[arg(long, value_enum, default_value_t)]
    version: Version,
    /// Has workflows but no activities.
    #[arg(long)]
    no_activities: bool,
    /// Has no activities that write into the ledger.
    #[arg(long)]
    no_desk: bool,
    /// Has activities but no workflows.
    #[arg(long)]
    no_workflows: bool,
    /// Has the workflow that runs programs and its activities, and nothing else.
    #[arg(long)]
    programs: bool,
    /// How long a shutdown waits for activities, in milliseconds.
    #[arg(long, default_value_t = 10_000)]
    drain: u64,
    /// How long a report waits for others, in milliseconds.
    #[arg(long, default_value_t = 0)]
    report_linger: u64,
    /// Address for metrics.
    #[arg(long)]
    metrics: Option<String>,
}

#[tokio::main]
pub(crate) async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    end_with_parent();
    let Arguments { connection, role } = Arguments::parse();
    match role {
        Role::Orchestrator { options } => {
            let stop = on_signal()?;
            Ok(stepwell_orchestrator::run(&connection, *options, stop).await?)
        }
        Role::Worker(arguments) => Ok(worker(Client::with(&connection).await?, arguments)?.run().await?),
    }
}

fn worker(client: Client, arguments: WorkerArguments) -> anyhow::Result<Worker> {
    let mut worker = Worker::new(client, arguments.queue)
        .max_concurrent_activities(arguments.slots)
        .max_cached_workflows(arguments.cached)
        .drain_timeout(Duration::from_millis(arguments.drain))
        .report_linger(Duration::from_millis(arguments.report_linger));
    if arguments.programs {
        if !arguments.no_workflows {
            worker = worker.workflow_code(simulation::code::code());
        }
        return Ok(worker.activities(ProgramDesk::open(&arguments.folder)?));
    }
    if !arguments.no_workflows {
        for code in workflows::all(arguments.version) {
            worker = worker.workflow_code(code);
        }
    }
    if !arguments.no_activities {
        worker = worker
            .activity(double)
            .activity(concatenate)
            .activity(nothing)
            .activity(boundless)
            .activity(explode)
            .activity(text_of);
        if !arguments.no_desk {
            worker = worker.activities(Desk::open(&arguments.folder)?);
        }
    }
    if let Some(address) = arguments.metrics {
        worker = worker.metrics(address);
    }
    Ok(worker)
}

fn on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let heard = stop.clone();
    tokio::spawn(async move {
        terminate.recv().await;
        heard.cancel();
    });
    Ok(stop)
}

fn end_with_parent() {
    std::thread::spawn(|| {
        let mut rest = Vec::new();
        let _ = std::io::stdin().read_to_end(&mut rest);
        std::process::exit(86);
    });
}
