//! `stepwell compensation`

use stepwell_shared::api::{CompensationRequest, Receipt};
use stepwell_shared::ids::Seq;
use stepwell_shared::message::CompensationAction;

use super::{Session, receipt};
use crate::exit::Failure;

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct CompensationArgs {
    #[command(subcommand)]
    command: CompensationCommand,
}

#[derive(Debug, clap::Subcommand)]
enum CompensationCommand {
    /// Run it again, with a fresh set of attempts
    Retry(Which),
    /// It was undone by hand; go on with the next one
    Skip(Which),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The workflow id
    id: String,

    /// The number of the activity that it should have undone, as `describe` shows it
    seq: Seq,

    /// Who or why, for whoever reads the history
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

const HELP: &str = "\
A compensation that failed for good leaves its run stuck until somebody decides. `stepwell list --stuck` \
shows such runs, `stepwell describe ID` the failures.

Examples:
  stepwell compensation retry order-1 2 --reason 'the bank is back'
  stepwell compensation skip order-1 2 --reason 'refunded by hand, ticket 4711'";

pub(crate) async fn run(args: CompensationArgs, session: &Session) -> Result<(), Failure> {
    let (which, action, done) = match args.command {
        CompensationCommand::Retry(which) => (which, CompensationAction::Retry, "is run again"),
        CompensationCommand::Skip(which) => (which, CompensationAction::Skip, "is skipped"),
    };
    let Which { id, seq, reason } = which;
    let request = CompensationRequest { id, seq, action, reason };
    let taken: Receipt = session.api.call("compensation", &request).await?;
    let done = format!("the compensation of step {seq} of {} {done}", request.id);
    receipt::print(&taken, session.format, &done)
}
