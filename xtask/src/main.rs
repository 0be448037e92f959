//! The commands of this repository: `cargo xtask demo | chaos | test | verify | audit | fuzz | bench | soak |
//! nats-server`.
//! Plain processes, few dependencies: it must be quick to build on a fresh clone.

mod audit;
mod build;
mod demo;
mod fuzz;
mod nats_server;
mod peers;
mod private_copy;
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
    /// Run random programs with known answers while processes, servers and links fail; everything must be exact.
    Chaos {
        /// Passed on; see `cargo xtask chaos -- --help`.
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
    /// Check licenses, sources and versions of everything that is depended on, and known vulnerabilities.
    Audit,
    /// Fuzz everything that reads bytes, with libFuzzer; needs a C++ compiler.
    Fuzz(fuzz::Options),
    /// Measure, in release mode; prints a table, and with `--json PATH` writes it too.
    Bench {
        /// Measure Restate and Temporal in turn with Stepwell; installs their servers into `.peers/`.
        #[arg(long)]
        peers: bool,
        /// Passed on to the benchmark; `--help` lists what it takes.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Keep a mixed load going and watch memory, files, streams and consumers; fails when anything grows.
    Soak {
        /// Passed on; see `cargo xtask soak -- --help`.
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
        Command::Chaos { rest } => demo::chaos(rest),
        Command::Test { rest } => test::test(&rest),
        Command::Verify => verify::verify(),
        Command::Audit => audit::audit(),
        Command::Fuzz(options) => fuzz::fuzz(&options),
        Command::Bench { peers, rest } => demo::bench(peers, rest),
        Command::Soak { rest } => demo::soak(rest),
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
