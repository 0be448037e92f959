//! `stepwell query`

use stepwell_encryption::Place;
use stepwell_shared::api::{QueryAnswer, QueryRequest};
use stepwell_shared::ids::{Name, WorkflowId};

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
    let payloads = &session.payloads;
    let (id, name) = (input::checked(WorkflowId::new(&args.id))?, input::checked(Name::new(&args.name))?);
    let argument = input::payload("--argument", args.argument.as_deref())?;
    let argument = input::seal(payloads, "--argument", &id, Place::QueryArgument(&name), argument)?;
    let request = QueryRequest { id: args.id, name: args.name, argument };
    let answered = session.api.call::<QueryAnswer>("query", &request).await;
    let mut answer = answered.map_err(|failure| {
        // What the code said; without the key it is shown as encrypted, as every text.
        failure.rewritten(|message| drop(payloads.open_text(&id, Place::QueryFailure(&name), message)))
    })?;
    if let Err(error) = payloads.open(&id, Place::QueryAnswer(&name), &mut answer.result) {
        eprintln!("{}", text::line(&error.to_string()));
    }
    match session.format {
        Format::Json => output::print_json(&answer),
        Format::Table => output::print(&text::lines(answer.result.json())),
    }
}
