//! Logs, on stderr. The orchestrator logs what it does, `dev` what goes wrong: its user is to see how to go on. The other
//! commands say what went wrong by themselves.

use std::io::IsTerminal;

use tracing_subscriber::filter::{EnvFilter, FilterExt as _, LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::{Cli, Command, LogFormat};

/// Names what is logged, in the syntax of `RUST_LOG`, and goes before it.
const VARIABLE: &str = "STEPWELL_LOG";

/// What the client library logs at most, whatever is asked for: beyond it, messages and answers, and what is read of the
/// namespace's secret is in one.
const NO_MESSAGES: (&str, LevelFilter) = ("async_nats", LevelFilter::INFO);

/// Starts to log as the command line and the environment want it.
pub(crate) fn start(cli: &Cli) {
    let default = match &cli.command {
        Command::Orchestrator(_) => "warn,stepwell=info",
        Command::Dev(_) => "warn",
        Command::Start(_)
        | Command::Signal(_)
        | Command::Query(_)
        | Command::Cancel(_)
        | Command::Terminate(_)
        | Command::Result(_)
        | Command::Describe(_)
        | Command::History(_)
        | Command::List(_)
        | Command::Rejected(_)
        | Command::Compensation(_)
        | Command::Workers
        | Command::Keys(_)
        | Command::Doctor(_)
        | Command::Backup(_)
        | Command::Restore(_)
        | Command::Auth(_)
        | Command::Completions { .. } => "off",
    };
    let filter = EnvFilter::try_from_env(VARIABLE)
        .or_else(|_| EnvFilter::try_from_default_env())
        .unwrap_or_else(|_| EnvFilter::new(default));
    let no_messages = Targets::new().with_targets([NO_MESSAGES]).with_default(LevelFilter::TRACE);
    let filter = filter.and(no_messages);
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(color);
    let logs = tracing_subscriber::registry();
    match cli.log_format {
        LogFormat::Text => logs.with(layer.with_filter(filter)).init(),
        LogFormat::Json => logs.with(layer.json().with_filter(filter)).init(),
    }
}
