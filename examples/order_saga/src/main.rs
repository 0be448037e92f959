//! The saga's program: its worker, and the inputs of a batch of orders.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ::order_saga::batch;
use ::order_saga::books::{Books, balances};
use ::order_saga::saga::order_saga;
use ::order_saga::shop::Shop;
use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use example_ledger::Ledger;
use stepwell::{Client, ConnectionOptions, Worker};

#[derive(Parser)]
#[command(about = "Orders as a saga on Stepwell", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve queue `orders` until told to stop.
    Worker(Box<WorkerArguments>),
    /// Print the input of the nth order of a batch, from 0.
    Order {
        /// Which one.
        n: usize,
    },
    /// Print what each account of the books holds.
    Balances {
        /// The books.
        #[arg(long, env = "BOOKS", default_value = "books.jsonl")]
        books: PathBuf,
    },
}

#[derive(Args)]
struct WorkerArguments {
    /// The books; begun when there are none.
    #[arg(long, env = "BOOKS", default_value = "books.jsonl")]
    books: PathBuf,
    /// How many activities to run at once.
    #[arg(long, default_value_t = 8)]
    slots: usize,
    /// Note every attempt in this file, one line of JSON each.
    #[arg(long, env = "LEDGER")]
    ledger: Option<PathBuf>,
    /// Serve metrics and health on this address, such as 127.0.0.1:9464.
    #[arg(long, env = "METRICS_ADDRESS")]
    metrics: Option<String>,
    /// Wait so many milliseconds in each step, as calls to a bank or a carrier would.
    #[arg(long, default_value_t = 0)]
    latency: u64,
    #[command(flatten)]
    connection: ConnectionOptions,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
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
        Command::Order { n } => {
            println!("{}", serde_json::to_string(&batch::order("order-", n).0)?);
            Ok(())
        }
        Command::Balances { books } => {
            for (account, held) in balances(&Books::open(&books, &[])?.entries()?) {
                println!("{account}\t{held}");
            }
            Ok(())
        }
    }
}

async fn serve(arguments: WorkerArguments) -> Result<()> {
    let shop = Shop {
        books: Books::open(&arguments.books, &batch::opening_entries())?,
        latency: Duration::from_millis(arguments.latency),
        ledger: Ledger::open(arguments.ledger.as_deref())?,
    };
    let client = Client::with_patience(&arguments.connection).await?;
    let worker = Worker::new(client, "orders").workflow(order_saga).activities(shop);
    let worker = worker.max_concurrent_activities(arguments.slots);
    let worker = arguments.metrics.into_iter().fold(worker, |worker, address| worker.metrics(address));
    worker.run().await?;
    Ok(())
}
