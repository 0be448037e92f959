//! `stepwell cancel` and `stepwell terminate`

use stepwell_shared::api::{Receipt, StopRequest};

use super::{Session, receipt};
use crate::exit::Failure;

#[derive(Debug, clap::Args)]
pub(crate) struct StopArgs {
    /// The workflow id
    id: String,

    /// Why, for whoever reads the history
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

pub(crate) async fn run(verb: &str, args: StopArgs, session: &Session) -> Result<(), Failure> {
    let request = StopRequest { id: args.id, reason: args.reason };
    let taken: Receipt = session.api.call(verb, &request).await?;
    let done = match verb {
        "terminate" => format!("terminated {}", request.id),
        _ => format!("asked {} to stop; `stepwell result {}` waits for its end", request.id, request.id),
    };
    receipt::print(&taken, session.format, &done)
}
