//! `stepwell describe`

use stepwell_shared::api::Description;

use super::Session;
use super::run_args::RunArgs;
use crate::exit::Failure;
use crate::output::{self, Format};
use crate::show;

pub(crate) async fn run(args: RunArgs, session: &Session) -> Result<(), Failure> {
    let mut description: Description = session.api.call("describe", &args.request()).await?;
    session.payloads.reveal_description(&mut description);
    match session.format {
        Format::Json => output::print_json(&description),
        Format::Table => output::print(&show::description(&description, &session.times)),
    }
}
