//! The commands of this repository: `cargo xtask demo | test | verify | bench | nats-server`.
//! Plain processes, few dependencies: it must be quick to build on a fresh clone.

mod build;
mod demo;
mod nats_server;
mod process;
mod python;
mod test;
mod verify;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The commands of this repository", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run real documents and orders through Stepwell while processes are killed, and prove the outcome.
    Demo {
        /// Passed on; see `cargo xtask demo -- --help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Run every test.
    Test {
        /// Passed on to `cargo test --workspace`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Format, lints, purity of the two cores, docs; then every test.
    Verify,
    /// Measure, in release mode; prints a table, and with `--json PATH` writes it too.
    Bench {
        /// Passed on to the benchmark; `--help` lists what it takes.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Print the path of a nats-server, installing a private copy when there is none.
    NatsServer {
        /// This version, from the private copies, whatever else is installed.
        #[arg(long, value_name = "VERSION")]
        version: Option<String>,
    },
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    match Arguments::parse().command {
        Command::Demo { rest } => demo::demo(rest),
        Command::Test { rest } => test::test(&rest),
        Command::Verify => verify::verify(),
        Command::Bench { rest } => demo::bench(rest),
        Command::NatsServer { version } => {
            let path = match version {
                Some(version) => nats_server::private_copy(&version)?,
                None => nats_server::any()?,
            };
            println!("{}", path.display());
            Ok(())
        }
    }
}
