//! `stepwell rejected`

use serde_json::json;
use stepwell_shared::api::RejectedAnswer;

use super::Session;
use crate::exit::Failure;
use crate::output::{self, Format, Rows};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct RejectedArgs {
    #[command(subcommand)]
    command: RejectedCommand,
}

#[derive(Debug, clap::Subcommand)]
enum RejectedCommand {
    /// List them, newest first
    List,
}

const HELP: &str = "\
A message that cannot be read, or that arrives where it makes no sense, is set aside with the reason and \
kept for seven days.

Examples:
  stepwell rejected list
  stepwell rejected list -o json | jq '.rejected[].preview'";

pub(crate) async fn run(args: &RejectedArgs, session: &Session) -> Result<(), Failure> {
    match args.command {
        RejectedCommand::List => list(session).await,
    }
}

async fn list(session: &Session) -> Result<(), Failure> {
    let answer: RejectedAnswer = session.api.call("rejected", &json!({})).await?;
    match session.format {
        Format::Json => output::print_json(&answer),
        Format::Table if answer.rejected.is_empty() => {
            eprintln!("nothing was set aside");
            Ok(())
        }
        Format::Table => {
            let mut rows = Rows::new(&["sequence", "when", "code", "subject", "reason", "body"]);
            for one in &answer.rejected {
                let cut = if one.preview.len() < one.size { "…" } else { "" };
                rows.add([
                    one.sequence.to_string(),
                    session.times.moment(one.at_ms),
                    one.code.name().to_owned(),
                    one.subject.clone(),
                    one.message.clone(),
                    format!("{}{cut}", one.preview),
                ]);
            }
            output::print(&rows.text())
        }
    }
}
