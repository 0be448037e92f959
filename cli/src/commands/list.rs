//! `stepwell list`

use stepwell_shared::api::{ListAnswer, ListRequest};
use stepwell_shared::summary::Status;

use super::Session;
use crate::exit::Failure;
use crate::output::{self, Format};
use crate::show;

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct ListArgs {
    /// Only runs of these statuses, separated by commas
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = parse_status)]
    status: Vec<Status>,

    /// Only runs of this workflow type
    #[arg(long = "type", value_name = "TYPE")]
    workflow_type: Option<String>,

    /// Only ids that begin with this
    #[arg(long, value_name = "TEXT")]
    id_prefix: Option<String>,

    /// Only runs that cannot go on, with the reason
    #[arg(long)]
    stuck: bool,

    /// How many at most
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: usize,
}

const HELP: &str = "\
Newest first. Statuses: running, compensating, stuck, completed, failed, cancelled, terminated, timed_out, \
compensated.

Examples:
  stepwell list
  stepwell list --status running,compensating --type order
  stepwell list --stuck
  stepwell list --id-prefix order- -o json | jq -r '.runs[].workflow_id'";

pub(crate) async fn run(args: ListArgs, session: &Session) -> Result<(), Failure> {
    let request = ListRequest {
        status: args.status,
        workflow_type: args.workflow_type,
        id_prefix: args.id_prefix,
        stuck: args.stuck,
        limit: args.limit,
    };
    let mut answer: ListAnswer = session.api.call("list", &request).await?;
    answer.runs.iter_mut().for_each(|run| session.payloads.reveal_summary(run));
    match session.format {
        Format::Json => output::print_json(&answer),
        Format::Table => {
            if answer.runs.is_empty() {
                eprintln!("no workflows match");
                return Ok(());
            }
            output::print(&show::runs(&answer.runs, &session.times))?;
            if answer.total > answer.runs.len() {
                eprintln!("{} of {}; --limit shows more", answer.runs.len(), answer.total);
            }
            Ok(())
        }
    }
}

fn parse_status(text: &str) -> Result<Status, String> {
    Status::ALL
        .into_iter()
        .find(|status| status.name() == text)
        .ok_or_else(|| format!("it is none of {}", Status::ALL.map(Status::name).join(", ")))
}
