//! `stepwell doctor`: looks at everything that can be seen from here and says what is wrong, what to do,
//! and what failures would cost. It changes nothing.

mod consumers;
mod durability;
mod monitor;
mod owners;
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

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct DoctorArgs {
    /// Monitoring port of a NATS server, asked for what clients cannot see; may be given several times
    #[arg(long, value_name = "URL")]
    monitor: Vec<String>,
}

const HELP: &str = "\
It looks at the NATS server, the streams, buckets and consumers of the namespace, orchestrators and their \
partitions, workers, runs that cannot go on and messages that were set aside, and says what a killed process, \
a lost node and a power cut would cost. The exit code is 1 if something is wrong.

Examples:
  stepwell doctor
  stepwell doctor --monitor http://a:8222 --monitor http://b:8222 --monitor http://c:8222
  stepwell doctor -o json | jq '.checks[] | select(.status != \"ok\")'";

pub(crate) async fn run(
    args: DoctorArgs,
    options: &ConnectionOptions,
    format: Format,
) -> Result<(), Failure> {
    let api = Api::connect(options).await?;
    let mut report = Report::new();
    server::check(&api, options, &mut report).await;
    let sync = monitor::check(&args.monitor, &mut report).await;
    let checked = streams::check(&api, &mut report).await;
    if let Some((_, settings)) = &checked {
        consumers::check(api.connection(), settings.shards, &mut report).await;
        owners::check(api.connection(), settings, &mut report).await;
    }
    let orchestrators = processes::check(&api, &mut report).await;
    if orchestrators.answering {
        runs::check(&api, &mut report).await;
    }
    report.durability = checked.map(|(streams, _)| durability::of(&streams, orchestrators.count, sync));
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
