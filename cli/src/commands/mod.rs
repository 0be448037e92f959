//! One file per command: its arguments, what it asks for, and what it prints.

pub(crate) mod compensation;
pub(crate) mod dev;
mod doctor;
pub(crate) mod history;
pub(crate) mod list;
mod orchestrator;
pub(crate) mod query;
mod receipt;
pub(crate) mod rejected;
pub(crate) mod result;
pub(crate) mod run_args;
pub(crate) mod signal;
pub(crate) mod start;
pub(crate) mod stop;
mod workers;

mod describe;

use clap::CommandFactory;

use crate::api::Api;
use crate::args::{Cli, Command};
use crate::exit::Failure;
use crate::output::{self, Format};
use crate::times::Times;

/// What a command needs besides its own arguments.
pub(crate) struct Session {
    pub(crate) api: Api,
    pub(crate) format: Format,
    pub(crate) times: Times,
}

/// Runs the command that was asked for.
pub(crate) async fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { command, connection, output, time_format, log_format: _ } = cli;
    let session = async || {
        let api = Api::connect(&connection).await?;
        Ok::<_, Failure>(Session { api, format: output, times: Times::from_now(time_format) })
    };
    match command {
        Command::Dev(args) => dev::run(args, &connection.namespace).await,
        Command::Orchestrator(options) => orchestrator::run(&connection, *options).await,
        Command::Start(args) => start::run(args, &session().await?).await,
        Command::Signal(args) => signal::run(args, &session().await?).await,
        Command::Query(args) => query::run(args, &session().await?).await,
        Command::Cancel(args) => stop::run("cancel", args, &session().await?).await,
        Command::Terminate(args) => stop::run("terminate", args, &session().await?).await,
        Command::Result(args) => result::run(args, &session().await?).await,
        Command::Describe(args) => describe::run(args, &session().await?).await,
        Command::History(args) => history::run(args, &session().await?).await,
        Command::List(args) => list::run(args, &session().await?).await,
        Command::Rejected(args) => rejected::run(&args, &session().await?).await,
        Command::Compensation(args) => compensation::run(args, &session().await?).await,
        Command::Workers => workers::run(&session().await?).await,
        Command::Doctor => doctor::run(&connection, output).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "stepwell", &mut script);
            output::print(String::from_utf8_lossy(&script).trim_end())
        }
    }
}
