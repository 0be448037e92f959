//! Memory of the orchestrator while many workflows come and go. It must not grow with those that are
//! finished.

use anyhow::{Context as _, Result};
use stepwell_bench_measure::usage;

use super::load::{Heard, Kind, Load};
use super::stage::{ORCHESTRATOR, Setting, Stage};
use crate::arguments::Arguments;
use crate::payload::Plan;
use crate::report::{Section, Table};

/// Workflows in all.
const WORKFLOWS: usize = 100_000;

/// Workflows in flight.
const IN_FLIGHT: usize = 500;

/// How many looks are taken.
const LOOKS: usize = 10;

pub(crate) async fn measure(arguments: &Arguments) -> Result<Section> {
    let stage = Stage::set(&Setting::usual(arguments)).await?;
    let workflows = if arguments.quick { WORKFLOWS / 10 } else { WORKFLOWS };
    let orchestrator = stage.real.crew.pid(ORCHESTRATOR)?;
    let mut load = Load::new(&stage.real.connection, "memory").await?;
    let plan = Plan::activities(1);
    for _ in 0..IN_FLIGHT {
        load.start(Kind::Steps, &plan).await?;
    }
    let (mut started, mut closed) = (IN_FLIGHT, 0);
    let mut rows = Vec::new();
    while closed < workflows {
        match load.hear().await? {
            Heard::Started(_) => {}
            Heard::Closed(_) => {
                closed += 1;
                if started < workflows {
                    started += 1;
                    load.start(Kind::Steps, &plan).await?;
                }
                if closed % (workflows / LOOKS) == 0 {
                    let memory = usage::memory(orchestrator).context("its memory cannot be read")?;
                    eprintln!("memory after {closed} workflows: {memory:.1} MiB");
                    rows.push((closed.to_string(), vec![memory]));
                }
            }
        }
    }
    let mut section = Section::new("memory", "of the orchestrator while workflows come and go");
    section.table(Table {
        key: "memory_by_workflows",
        title: "after so many finished workflows".into(),
        columns: vec!["MiB".into()],
        rows,
        digits: 1,
    });
    section.peak_memory(stage.peak_memory());
    Ok(section)
}
