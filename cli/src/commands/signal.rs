//! `stepwell signal`

use stepwell_encryption::Place;
use stepwell_shared::api::{Receipt, SignalRequest};
use stepwell_shared::ids::{Name, WorkflowId};

use super::{Session, receipt};
use crate::exit::Failure;
use crate::input;

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct SignalArgs {
    /// The workflow id
    id: String,

    /// The signal's name
    name: String,

    /// What it carries: JSON, @FILE, or - for stdin; null when not given
    #[arg(long, value_name = "JSON")]
    payload: Option<String>,

    /// Repeats with the same request id are taken in once
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

const HELP: &str = "\
Returns when the signal is in the history; prints the id of the run that took it in.

Examples:
  stepwell signal alice approve --payload true
  stepwell signal gpl approve --payload false --request-id click-81";

pub(crate) async fn run(args: SignalArgs, session: &Session) -> Result<(), Failure> {
    let (id, name) = (input::checked(WorkflowId::new(&args.id))?, input::checked(Name::new(&args.name))?);
    let payload = input::payload("--payload", args.payload.as_deref())?;
    let request = SignalRequest {
        payload: input::seal(&session.payloads, "--payload", &id, Place::Signal(&name), payload)?,
        id: args.id,
        name: args.name,
        request_id: args.request_id,
    };
    let taken: Receipt = session.api.call("signal", &request).await?;
    receipt::print(&taken, session.format, &format!("signalled {} to {}", request.name, request.id))
}
