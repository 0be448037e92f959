//! `stepwell query`

use stepwell_shared::api::{QueryAnswer, QueryRequest};

use super::Session;
use crate::exit::Failure;
use crate::output::{self, Format};
use crate::{input, text};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct QueryArgs {
    /// The workflow id
    id: String,

    /// The query's name
    name: String,

    /// Its argument: JSON, @FILE, or - for stdin; null when not given
    #[arg(long, value_name = "JSON")]
    argument: Option<String>,
}

const HELP: &str = "\
Prints the answer as JSON. A query changes nothing and is not recorded; it needs a worker.

Example:
  stepwell query alice stage";

pub(crate) async fn run(args: QueryArgs, session: &Session) -> Result<(), Failure> {
    let argument = input::payload("--argument", args.argument.as_deref())?;
    let request = QueryRequest { id: args.id, name: args.name, argument };
    let answer: QueryAnswer = session.api.call("query", &request).await?;
    match session.format {
        Format::Json => output::print_json(&answer),
        Format::Table => output::print(&text::lines(answer.result.json())),
    }
}
