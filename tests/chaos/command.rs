//! The verification run as a program; `cargo xtask chaos` builds what it needs and runs it. Ends with 1 when
//! anything is not exact.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use stepwell_tests::chaos::{Kind, Setup, run};

#[derive(Debug, Parser)]
#[command(
    name = "stepwell-chaos",
    about = "Random programs with known answers run on real processes while these are killed, stopped and cut off; \
             in the end everything must be exact",
    after_help = "The seed decides the programs, what clients do and the faults. When things happen in real \
                  processes is not decided by anybody: two runs of one seed are not the same run."
)]
struct Arguments {
    /// The program that plays orchestrator and worker; beside this one when not given
    #[arg(long, value_name = "FILE")]
    process: Option<PathBuf>,
    /// How long load and faults go on; longer until enough faults of each kind are proved
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// Decides programs and faults; the time when not given
    #[arg(long)]
    seed: Option<u64>,
    /// Servers: 1, or 3 that form a cluster
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    /// Over how many streams tasks and histories are spread
    #[arg(long, default_value_t = 1)]
    shards: u32,
    /// Orchestrators in the beginning
    #[arg(long, default_value_t = 2)]
    orchestrators: usize,
    /// Workers of the workflows' queue in the beginning; two other queues have one each
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Workflows that are started in a second
    #[arg(long, default_value_t = 1.0)]
    rate: f64,
    /// Only these faults
    #[arg(long, value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// Longest time to come to rest after the faults, in seconds
    #[arg(long, default_value_t = 240)]
    rest: u64,
    /// Write the report there as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match chaos(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the run failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn chaos(arguments: Arguments) -> anyhow::Result<bool> {
    let beside = || -> anyhow::Result<PathBuf> {
        let own = std::env::current_exe().context("where this program lies is not known")?;
        Ok(own.with_file_name("stepwell-test-process"))
    };
    let program = arguments.process.map_or_else(beside, Ok)?;
    let seed = arguments.seed.unwrap_or_else(stepwell_tests::ledger::now_ms);
    let length = Duration::try_from_secs_f64(arguments.minutes * 60.0).context("--minutes")?;
    let mut setup = Setup::new(program, seed, arguments.nodes, length);
    setup.shards = arguments.shards;
    setup.orchestrators = arguments.orchestrators.max(1);
    setup.workers = arguments.workers.max(1);
    setup.per_second = arguments.rate.clamp(0.01, 100.0);
    setup.rest = Duration::from_secs(arguments.rest);
    setup.say = true;
    if !arguments.kinds.is_empty() {
        setup.kinds = arguments.kinds;
    }
    println!("seed {seed}");
    let report = run(&setup).await?;
    println!("\n{report}");
    if let Some(path) = arguments.json {
        let text = serde_json::to_vec_pretty(&report).context("the report has no JSON form")?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(report.exact())
}
