//! `stepwell workers`

use serde_json::json;
use stepwell_shared::api::WorkersAnswer;

use super::Session;
use crate::exit::Failure;
use crate::output::{self, Format};
use crate::show;

pub(crate) async fn run(session: &Session) -> Result<(), Failure> {
    let answer: WorkersAnswer = session.api.call("workers", &json!({})).await?;
    match session.format {
        Format::Json => output::print_json(&answer),
        Format::Table if answer.workers.is_empty() => {
            eprintln!("no workers are known");
            Ok(())
        }
        Format::Table => output::print(&show::workers(&answer.workers)),
    }
}
