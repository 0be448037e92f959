//! What the process does that measures: it starts the others, gives them work, looks at the clock and at
//! what each has used.

mod fan_out;
mod history;
mod hops;
mod http;
mod in_flight;
mod latency;
mod load;
mod memory;
mod scale_out;
mod server;
mod signals;
mod sleepers;
mod soak;
mod stage;
mod steps;
mod stored;
mod timers;
mod traffic;
mod wakes;
mod window;

use anyhow::Result;

use crate::arguments::{Arguments, Measurement};
use crate::report;
use server::ServerKind;

pub(crate) use load::{Kind, SIGNAL};
pub(crate) use soak::soak;
pub(crate) use traffic::Traffic;
pub(crate) use window::Window;

/// Measures what is asked for, and prints each as soon as it is measured.
pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    let mut sections = Vec::new();
    for measurement in arguments.wanted() {
        let section = match measurement {
            Measurement::Steps => steps::measure(arguments, "steps", 500, ServerKind::Plain).await?,
            Measurement::Steps50 => steps::measure(arguments, "steps-50", 50, ServerKind::Plain).await?,
            Measurement::Steps5000 => {
                steps::measure(arguments, "steps-5000", 5_000, ServerKind::Plain).await?
            }
            Measurement::StepsSynced => {
                steps::measure(arguments, "steps-synced", 500, ServerKind::Synced).await?
            }
            Measurement::StepsReplicated => {
                steps::measure(arguments, "steps-replicated", 500, ServerKind::Replicated).await?
            }
            Measurement::Latency => latency::measure(arguments).await?,
            Measurement::FanOut => fan_out::measure(arguments).await?,
            Measurement::Signals => signals::measure(arguments).await?,
            Measurement::Timers => timers::measure(arguments).await?,
            Measurement::Sleepers => sleepers::measure(arguments, "sleepers", 100_000).await?,
            Measurement::SleepersMillion => {
                sleepers::measure(arguments, "sleepers-million", 1_000_000).await?
            }
            Measurement::History => history::measure(arguments).await?,
            Measurement::ScaleOut => scale_out::measure(arguments).await?,
            Measurement::Memory => memory::measure(arguments).await?,
        };
        print!("{section}");
        sections.push(section);
        if let Some(path) = &arguments.json {
            std::fs::write(path, report::json(&sections)?)?;
        }
    }
    Ok(())
}
