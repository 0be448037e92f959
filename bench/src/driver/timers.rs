//! Many sleeping workflows whose timers are due at the same moment: how many per second are woken and run
//! to their end.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::load::{Kind, Load};
use super::stage::Stage;
use crate::payload::Plan;
use crate::report::Figures;

/// Sleeping workflows.
const TIMERS: usize = 5_000;

/// From the first start to the moment when all are due: enough for all to be asleep by then.
const LEAD: Duration = Duration::from_secs(4);

pub(crate) async fn measure(stage: &Stage, figures: &mut Figures) -> Result<()> {
    let timers = if stage.quick { TIMERS / 5 } else { TIMERS };
    for repetition in 0..stage.repetitions {
        let mut load = Load::new(&stage.real.connection, &format!("timers-{repetition}")).await?;
        let due = Instant::now() + LEAD;
        for _ in 0..timers {
            let delay = due.saturating_duration_since(Instant::now());
            let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX).max(1);
            load.start(Kind::Sleeper, &Plan::sleep(delay_ms)).await?;
        }
        for _ in 0..timers {
            load.wait_for_close().await?;
        }
        let seconds = Instant::now().saturating_duration_since(due).as_secs_f64();
        figures.timers_per_second.push(timers as f64 / seconds);
    }
    eprintln!("timers: {:.0}/s", figures.timers_per_second.median());
    Ok(())
}
