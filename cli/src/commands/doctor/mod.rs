//! `stepwell doctor`: looks at everything that can be seen from here and says what is wrong, what to do,
//! and what failures would cost. It changes nothing.

mod durability;
mod processes;
mod report;
mod runs;
mod server;
mod streams;

use stepwell_connection::ConnectionOptions;

use self::report::Report;
use crate::api::Api;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};

pub(crate) async fn run(options: &ConnectionOptions, format: Format) -> Result<(), Failure> {
    let api = Api::connect(options).await?;
    let mut report = Report::new();
    server::check(&api, options, &mut report).await;
    let streams = streams::check(&api, &mut report).await;
    let orchestrators = processes::check(&api, &mut report).await;
    if orchestrators.answering {
        runs::check(&api, &mut report).await;
    }
    report.durability = streams.map(|streams| durability::of(&streams, orchestrators.count));
    match format {
        Format::Json => output::print_json(&report)?,
        Format::Table => output::print(&report.text())?,
    }
    match report.problems() {
        0 => Ok(()),
        1 => Err(Failure::new(Exit::Failure, "there is 1 problem")),
        more => Err(Failure::new(Exit::Failure, format!("there are {more} problems"))),
    }
}
