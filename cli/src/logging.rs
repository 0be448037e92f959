//! Logs, on stderr. Commands that serve log what they do; the others only what went wrong.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command, LogFormat};

/// Names what is logged, in the syntax of `RUST_LOG`, and goes before it.
const VARIABLE: &str = "STEPWELL_LOG";

/// Starts to log as the command line and the environment want it.
pub(crate) fn start(cli: &Cli) {
    let default = match &cli.command {
        Command::Dev(_) | Command::Orchestrator(_) => "warn,stepwell=info",
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
        | Command::Doctor
        | Command::Completions { .. } => "off",
    };
    let filter = EnvFilter::try_from_env(VARIABLE)
        .or_else(|_| EnvFilter::try_from_default_env())
        .unwrap_or_else(|_| EnvFilter::new(default));
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let logs =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(color);
    match cli.log_format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
}
