//! Round trips: start a workflow, hear that it is recorded, send it a signal, hear that it completed.

use std::time::{Duration, Instant};

use anyhow::Result;
use stepwell_bench_measure::statistics::Samples;

use super::load::{Heard, Kind, Load};
use super::stage::{Setting, Stage};
use super::window::{Moment, Window};
use crate::arguments::Arguments;
use crate::payload::Plan;
use crate::report::Section;

/// Round trips at once.
const IN_FLIGHT: usize = 200;

/// Round trips before the clock is started.
const WARM_UP: usize = 1_000;

/// How long is measured.
const WINDOW: Duration = Duration::from_secs(3);

pub(crate) async fn measure(arguments: &Arguments) -> Result<Section> {
    let stage = Stage::set(&Setting::usual(arguments)).await?;
    let length = if arguments.quick { WINDOW / 3 } else { WINDOW };
    let (mut rate, mut windows) = (Samples::default(), Vec::new());
    for repetition in 0..arguments.repetitions() {
        let window = round_trips(&stage, &format!("signals-{repetition}"), length).await?;
        eprintln!("signals: {:.0}/s", window.per_second());
        rate.push(window.per_second());
        windows.push(window);
    }
    let title = format!("start, wait, signal, complete, {IN_FLIGHT} in flight");
    let mut section = Section::new("signals", title);
    section.figure("signals_per_second", "workflows/s", rate, 0);
    section.compare("workflow", windows, Vec::new());
    section.peak_memory(stage.peak_memory());
    Ok(section)
}

async fn round_trips(stage: &Stage, prefix: &str, length: Duration) -> Result<Window> {
    let mut load = Load::new(&stage.real.connection, prefix).await?;
    let plan = Plan::activities(0);
    for _ in 0..IN_FLIGHT {
        load.start_and_hear(Kind::Signalled, &plan).await?;
    }
    let (mut open, mut closed) = (IN_FLIGHT, 0_usize);
    let mut began: Option<(Instant, Moment)> = None;
    let mut window = None;
    while open > 0 || window.is_none() {
        match load.hear().await? {
            Heard::Started(id) => load.signal(&id).await?,
            Heard::Closed(_) => {
                closed += 1;
                if began.is_none() && closed == WARM_UP {
                    began = Some((Instant::now(), Moment::now(stage, &stage.real).await?));
                }
                match &began {
                    Some((at, before)) if at.elapsed() >= length => {
                        if window.is_none() {
                            let after = Moment::now(stage, &stage.real).await?;
                            window = Some(Window::between(before, &after).of(closed - WARM_UP));
                        }
                        open -= 1;
                    }
                    Some(_) | None => load.start_and_hear(Kind::Signalled, &plan).await?,
                }
            }
        }
    }
    window.ok_or_else(|| anyhow::anyhow!("nothing was measured"))
}
