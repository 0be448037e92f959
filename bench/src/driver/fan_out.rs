//! One workflow that joins many activities: seconds from its start to its end.

use std::time::Instant;

use anyhow::Result;
use stepwell_bench_measure::statistics::Samples;

use super::load::{Kind, Load};
use super::stage::{Setting, Stage};
use super::window::{Moment, Window};
use crate::arguments::Arguments;
use crate::payload::Plan;
use crate::report::{Section, Target};

/// Fan-outs before the measured ones.
const WARM_UPS: usize = 2;

/// Fan-outs of 1,000 per repetition; of 10,000 there is one.
const FAN_OUTS: usize = 3;

pub(crate) async fn measure(arguments: &Arguments) -> Result<Section> {
    let stage = Stage::set(&Setting::usual(arguments)).await?;
    let mut load = Load::new(&stage.real.connection, "fan-out").await?;
    let repetitions = arguments.repetitions();
    let (of_1000, mut windows) = fan_outs(&stage, &mut load, 1_000, WARM_UPS, repetitions * FAN_OUTS).await?;
    let (of_10_000, more) =
        fan_outs(&stage, &mut load, 10_000, usize::from(!arguments.quick), repetitions).await?;
    windows.extend(more);
    let mut section =
        Section::new("fan-out", "activities joined by one workflow, s from its start to its end");
    section.aimed("fan_out_1000_seconds", "1,000 activities", of_1000, 3, Target::AtMost(1.0));
    section.figure("fan_out_10000_seconds", "10,000 activities", of_10_000, 3);
    section.compare("step", windows, Vec::new());
    section.peak_memory(stage.peak_memory());
    Ok(section)
}

async fn fan_outs(
    stage: &Stage,
    load: &mut Load,
    activities: u32,
    warm_ups: usize,
    count: usize,
) -> Result<(Samples, Vec<Window>)> {
    let (mut seconds, mut windows) = (Samples::default(), Vec::new());
    for number in 0..warm_ups + count {
        let before = Moment::now(stage, &stage.real).await?;
        let started = Instant::now();
        load.start(Kind::FanOut, &Plan::activities(activities)).await?;
        load.wait_for_close().await?;
        let elapsed = started.elapsed().as_secs_f64();
        if number >= warm_ups {
            seconds.push(elapsed);
            windows.push(Window::between(&before, &Moment::now(stage, &stage.real).await?));
        }
    }
    eprintln!("fan-out of {activities}: {:.3} s", seconds.median());
    Ok((seconds, windows))
}
