//! One file per command: its arguments, what it asks for, and what it prints.

pub(crate) mod auth;
pub(crate) mod backup;
pub(crate) mod compensation;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod history;
pub(crate) mod keys;
pub(crate) mod list;
mod orchestrator;
pub(crate) mod query;
mod receipt;
pub(crate) mod rejected;
pub(crate) mod restore;
pub(crate) mod result;
pub(crate) mod run_args;
pub(crate) mod signal;
pub(crate) mod start;
pub(crate) mod stop;
mod workers;

mod describe;

use std::path::Path;

use clap::CommandFactory;
use stepwell_encryption::{KeyRing, Payloads};
use stepwell_shared::ids::Namespace;

use crate::api::Api;
use crate::args::{Cli, Command};
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};
use crate::times::Times;

/// What a command needs besides its own arguments.
pub(crate) struct Session {
    pub(crate) api: Api,
    pub(crate) payloads: Payloads,
    pub(crate) format: Format,
    pub(crate) times: Times,
}

/// Runs the command that was asked for.
pub(crate) async fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { command, connection, keys_file, output, time_format, log_format: _ } = cli;
    let session = async || {
        let payloads = payloads(&connection.namespace, keys_file.as_deref())?;
        let api = Api::connect(&connection).await?;
        Ok::<_, Failure>(Session { api, payloads, format: output, times: Times::from_now(time_format) })
    };
    match command {
        Command::Auth(args) => auth::run(args, &connection.namespace),
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
        Command::Keys(args) => keys::run(args, output),
        Command::Doctor(args) => doctor::run(args, &connection, output).await,
        Command::Backup(args) => backup::run(args, &connection, output).await,
        Command::Restore(args) => restore::run(args, &connection, output).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "stepwell", &mut script);
            output::print(String::from_utf8_lossy(&script).trim_end())
        }
    }
}

/// With the keys in the file, if one is named.
fn payloads(namespace: &Namespace, keys_file: Option<&Path>) -> Result<Payloads, Failure> {
    let keys = keys_file.filter(|path| !path.as_os_str().is_empty()).map(KeyRing::read).transpose();
    let keys = keys.map_err(|error| Failure::new(Exit::Usage, format!("--keys-file: {error}")))?;
    Ok(Payloads::new(namespace.clone(), keys.map(Into::into)))
}
