//! A workflow in Rust whose activities run in Python: the two sides share nothing but messages.

use serde::{Deserialize, Serialize};
use stepwell::Payload;
use stepwell::prelude::*;

/// The queue that `worker.py` serves.
pub const QUEUE: &str = "python";

/// What is to be said about a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How many words it has.
    pub words: u64,
    /// The text from its end.
    pub reversed: String,
}

/// Has Python count the words of a text and turn it round. The input is any JSON, so that a test can see
/// what Python makes of one that it does not expect.
#[workflow]
pub async fn report_on_text(ctx: WorkflowContext, text: Payload) -> Result<Report, WorkflowError> {
    let in_python = |name| ctx.run_untyped(name, text.clone()).queue(QUEUE).start_to_close(secs(30));
    let words = in_python("count_words").max_attempts(3).await?.decode()?;
    let reversed = in_python("reverse_text").await?.decode()?;
    Ok(Report { words, reversed })
}
