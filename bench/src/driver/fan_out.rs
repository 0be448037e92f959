//! One workflow that joins many activities: seconds from its start to its end.

use std::time::Instant;

use anyhow::Result;

use super::load::{Kind, Load};
use super::stage::Stage;
use crate::payload::Plan;
use crate::report::Figures;

/// Activities that are joined.
const ACTIVITIES: u32 = 1_000;

/// Fan-outs before the measured ones.
const WARM_UPS: usize = 2;

/// Fan-outs per repetition.
const FAN_OUTS: usize = 3;

pub(crate) async fn measure(stage: &Stage, figures: &mut Figures) -> Result<()> {
    let mut load = Load::new(&stage.real.connection, "fan-out").await?;
    for number in 0..WARM_UPS + stage.repetitions * FAN_OUTS {
        let started = Instant::now();
        load.start(Kind::FanOut, &Plan::activities(ACTIVITIES)).await?;
        load.wait_for_close().await?;
        if number >= WARM_UPS {
            figures.fan_out_1000_seconds.push(started.elapsed().as_secs_f64());
        }
    }
    eprintln!("fan-out of {ACTIVITIES}: {:.3} s", figures.fan_out_1000_seconds.median());
    Ok(())
}
