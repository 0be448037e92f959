//! `stepwell auth print`: what each kind of process must be allowed at the NATS server. Talks to nobody.

use clap::{Args, Subcommand, ValueEnum};
use stepwell_shared::ids::{Name, Namespace};
use stepwell_shared::permissions::{self, Role, User};
use stepwell_shared::shard::Shards;

use crate::exit::{Exit, Failure};
use crate::output;

/// The queue of a worker of which nothing else is said.
const DEFAULT_QUEUE: &str = "default";

#[derive(Debug, Args)]
pub(crate) struct AuthArgs {
    #[command(subcommand)]
    command: AuthCommand,
}

#[derive(Debug, Subcommand)]
enum AuthCommand {
    /// Print the permissions of one role, or users of all roles
    #[command(after_help = EXAMPLES)]
    Print(PrintArgs),
}

#[derive(Debug, Args)]
struct PrintArgs {
    /// Only this role; without it, a user of each
    #[arg(long, value_enum, value_name = "ROLE")]
    role: Option<RoleName>,

    /// Queue of the worker; may be given several times. With --role: one user for all of them, without: one for
    /// each [default: default]
    #[arg(long = "queue", value_name = "NAME")]
    queues: Vec<Name>,

    /// Name of the user, which its inboxes bear; only with --role [default: the role, and a worker's queue]
    #[arg(long, value_name = "NAME", requires = "role")]
    user: Option<Name>,

    /// How many shards the namespace has, if it is not one
    #[arg(long, env = "STEPWELL_SHARDS", value_name = "NUMBER", default_value = "1")]
    shards: Shards,

    /// For a server's configuration file, or as commands of nsc
    #[arg(long, value_enum, default_value_t = FormName::Server, value_name = "FORM")]
    format: FormName,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RoleName {
    /// Starts workflows and talks to them
    Client,
    /// Works on a queue
    Worker,
    /// The command line, doctor included
    Operator,
    /// The command line, for looking only
    ReadOnly,
    /// `stepwell backup`; reads everything
    Backup,
    /// `stepwell restore`
    Restore,
    /// An orchestrator
    Orchestrator,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormName {
    /// The configuration of nats-server
    Server,
    /// Commands of nsc, where JWTs are used
    Nsc,
}

const EXAMPLES: &str = "\
Each user's inboxes begin with _INBOX.<user>: start its processes with NATS_INBOX_PREFIX set to that.

Examples:
  stepwell auth print --queue documents --queue mails > authorization.conf
  stepwell auth print --role worker --queue documents
  stepwell auth print --role client --user shop --format nsc";

pub(crate) fn run(args: AuthArgs, namespace: &Namespace) -> Result<(), Failure> {
    let AuthArgs { command: AuthCommand::Print(args) } = args;
    let users = users(&args)?;
    let text = match (args.role, args.format, users.as_slice()) {
        (Some(_), FormName::Server, [user]) => permissions::server(user, namespace, args.shards),
        (_, FormName::Server, users) => permissions::server_of_all(users, namespace, args.shards),
        (_, FormName::Nsc, users) => permissions::nsc_of_all(users, namespace, args.shards),
    };
    output::print(&text)
}

fn users(args: &PrintArgs) -> Result<Vec<User>, Failure> {
    let usage = |error: stepwell_shared::ids::InvalidId| Failure::new(Exit::Usage, error.to_string());
    let queues = if args.queues.is_empty() {
        vec![Name::new(DEFAULT_QUEUE).map_err(usage)?]
    } else {
        args.queues.clone()
    };
    let Some(role) = args.role else {
        return User::of_each(&queues).map_err(usage);
    };
    let role = role.role();
    if role != Role::Worker && !args.queues.is_empty() {
        let message =
            format!("--queue is for workers; what a user of the role {} may do has no queue", role.name());
        return Err(Failure::new(Exit::Usage, message));
    }
    let mut user = match queues.as_slice() {
        _ if role != Role::Worker => User::of(role),
        [queue] => User::worker(queue).map_err(usage)?,
        _ => User { queues, ..User::of(role) },
    };
    if let Some(name) = &args.user {
        user.name = name.clone();
    }
    Ok(vec![user])
}

impl RoleName {
    fn role(self) -> Role {
        match self {
            Self::Client => Role::Client,
            Self::Worker => Role::Worker,
            Self::Operator => Role::Operator,
            Self::ReadOnly => Role::ReadOnly,
            Self::Backup => Role::Backup,
            Self::Restore => Role::Restore,
            Self::Orchestrator => Role::Orchestrator,
        }
    }
}
