//! The answer to commands that change something.

use stepwell_shared::api::Receipt;

use crate::exit::Failure;
use crate::output::{self, Format};
use crate::text;

/// Prints which run took it in: the id on stdout, a sentence on stderr.
pub(crate) fn print(receipt: &Receipt, format: Format, done: &str) -> Result<(), Failure> {
    match format {
        Format::Json => output::print_json(receipt),
        Format::Table => {
            let before = if receipt.duplicate { " (it had been taken in before)" } else { "" };
            eprintln!("{}{before}", text::line(done));
            output::print(receipt.run_id.as_str())
        }
    }
}
