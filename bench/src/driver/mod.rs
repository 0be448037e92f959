//! What the process does that measures: it starts the others, gives them work, looks at the clock and at
//! what each has used.

mod fan_out;
mod floor_load;
mod load;
mod memory;
mod signals;
mod stage;
mod steps;
mod timers;
mod traffic;
mod window;

use anyhow::Result;

use crate::arguments::{Arguments, Measurement};
use crate::report::{Figures, Report};
use stage::Stage;

pub(crate) use load::{Kind, SIGNAL};
pub(crate) use traffic::Traffic;
pub(crate) use window::Window;

/// Measures what is asked for and prints it.
pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    let stage = Stage::set(arguments).await?;
    let mut figures = Figures::default();
    if arguments.wants(Measurement::Steps) {
        steps::many_in_flight(&stage, &mut figures).await?;
    }
    if arguments.wants(Measurement::Latency) {
        steps::one_in_flight(&stage, &mut figures).await?;
    }
    if arguments.wants(Measurement::FanOut) {
        fan_out::measure(&stage, &mut figures).await?;
    }
    if arguments.wants(Measurement::Signals) {
        signals::measure(&stage, &mut figures).await?;
    }
    if arguments.wants(Measurement::Timers) {
        timers::measure(&stage, &mut figures).await?;
    }
    if arguments.wants(Measurement::Memory) {
        memory::measure(&stage, &mut figures).await?;
    }
    figures.peak_memory = stage.peak_memory();
    let report = Report::new(&figures);
    print!("{}", report.table());
    if let Some(path) = &arguments.json {
        std::fs::write(path, report.json()?)?;
    }
    Ok(())
}
