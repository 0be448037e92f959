//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use stepwell_connection::ConnectionOptions;

use crate::commands::auth::AuthArgs;
use crate::commands::backup::BackupArgs;
use crate::commands::compensation::CompensationArgs;
use crate::commands::dev::DevArgs;
use crate::commands::doctor::DoctorArgs;
use crate::commands::history::HistoryArgs;
use crate::commands::keys::KeysArgs;
use crate::commands::list::ListArgs;
use crate::commands::query::QueryArgs;
use crate::commands::rejected::RejectedArgs;
use crate::commands::restore::RestoreArgs;
use crate::commands::result::ResultArgs;
use crate::commands::run_args::RunArgs;
use crate::commands::signal::SignalArgs;
use crate::commands::start::StartArgs;
use crate::commands::stop::StopArgs;
use crate::exit::EXIT_CODES;
use crate::output::Format;
use crate::times::TimeFormat;

/// Durable workflows and sagas on NATS JetStream
#[derive(Debug, Parser)]
#[command(name = "stepwell", version, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    #[command(flatten)]
    pub(crate) connection: ConnectionOptions,

    /// Keys with which inputs, signals and queries are encrypted, and what is shown is decrypted
    #[arg(
        long,
        env = stepwell_encryption::KEYS_FILE_VARIABLE,
        global = true,
        value_name = "FILE",
        hide_short_help = true
    )]
    pub(crate) keys_file: Option<PathBuf>,

    /// Form of what goes to stdout
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub(crate) output: Format,

    /// How times are written in tables
    #[arg(
        long,
        env = "STEPWELL_TIME_FORMAT",
        global = true,
        value_enum,
        default_value_t = TimeFormat::Relative,
        value_name = "FORMAT",
        hide_short_help = true
    )]
    pub(crate) time_format: TimeFormat,

    /// Form of the log on stderr; STEPWELL_LOG says what is logged, as in STEPWELL_LOG=debug
    #[arg(
        long,
        env = "STEPWELL_LOG_FORMAT",
        global = true,
        value_enum,
        default_value_t = LogFormat::Text,
        value_name = "FORMAT",
        hide_short_help = true
    )]
    pub(crate) log_format: LogFormat,
}

/// The form of logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// For log collectors
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything that development needs: a NATS server and an orchestrator
    Dev(DevArgs),
    /// Run an orchestrator
    #[command(after_help = ORCHESTRATOR_HELP)]
    Orchestrator(Box<stepwell_orchestrator::Options>),
    /// Start a workflow
    Start(StartArgs),
    /// Send a signal to a workflow
    Signal(SignalArgs),
    /// Ask a workflow a question
    Query(QueryArgs),
    /// Ask a workflow to stop; its code may clean up, and what it did is compensated
    #[command(after_help = CANCEL_HELP)]
    Cancel(StopArgs),
    /// End a workflow at once; its code is not asked and nothing is compensated
    #[command(after_help = TERMINATE_HELP)]
    Terminate(StopArgs),
    /// Wait for a workflow to end and print its result
    Result(ResultArgs),
    /// Show what a workflow is doing and why it waits
    #[command(after_help = DESCRIBE_HELP)]
    Describe(RunArgs),
    /// Show what was recorded of a workflow
    History(HistoryArgs),
    /// List workflows
    List(ListArgs),
    /// Look at messages that could not be taken in
    Rejected(RejectedArgs),
    /// Decide about a compensation that failed for good
    Compensation(CompensationArgs),
    /// List the workers that are known now
    #[command(after_help = WORKERS_HELP)]
    Workers,
    /// Make keys for the encryption of payloads
    Keys(KeysArgs),
    /// Check the deployment and say what its failures would cost
    Doctor(DoctorArgs),
    /// Copy a namespace into a directory while it runs
    Backup(BackupArgs),
    /// Make a namespace of a backup, on a server that does not have it
    Restore(RestoreArgs),
    /// Print what each kind of process must be allowed at the NATS server
    #[command(after_help = AUTH_HELP)]
    Auth(AuthArgs),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_HELP)]
    Completions {
        /// The shell
        shell: Shell,
    },
}

const EXAMPLES: &str = "\
Examples:
  stepwell dev
  stepwell start document_pipeline --id alice --queue documents \\
    --input '{\"document\": \"alice-in-wonderland.txt\"}'
  stepwell list --stuck
  stepwell describe alice

`stepwell help COMMAND` shows examples of a command.";

const ORCHESTRATOR_HELP: &str = "\
It creates what is missing of the namespace, keeps nothing that is not in NATS, and may be killed at any \
moment. Several share one namespace. It ends on SIGTERM or ctrl-c.

Examples:
  stepwell orchestrator
  stepwell orchestrator --nats-url nats://a:4222,nats://b:4222 --replicas 3 --listen 0.0.0.0:9090 \\
    --http-token-file /run/secrets/stepwell-metrics";

const CANCEL_HELP: &str = "\
Example:
  stepwell cancel order-1 --reason 'ordered twice'";

const TERMINATE_HELP: &str = "\
Example:
  stepwell terminate order-1 --reason 'code that can never finish'";

const DESCRIBE_HELP: &str = "\
Examples:
  stepwell describe order-1
  stepwell describe order-1 -o json | jq .pending_activities";

const WORKERS_HELP: &str = "\
Examples:
  stepwell workers
  stepwell workers -o json | jq '.workers[].queue'";

const AUTH_HELP: &str = "\
Examples:
  stepwell auth print --queue documents --queue mails > authorization.conf
  stepwell auth print --role worker --queue documents
  stepwell auth print --role client --user shop --format nsc";

const COMPLETIONS_HELP: &str = "\
Examples:
  stepwell completions bash > ~/.local/share/bash-completion/completions/stepwell
  stepwell completions fish > ~/.config/fish/completions/stepwell.fish";
