//! Sequential steps, many workflows in flight or one, alternating with the floor.

use std::time::Duration;

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use super::floor_load;
use super::load::{Heard, Kind, Load};
use super::stage::Stage;
use super::window::Window;
use crate::payload::Plan;
use crate::report::Figures;

/// Workflows in flight.
const IN_FLIGHT: usize = 500;

/// Steps of each.
const STEPS: u32 = 10;

/// Steps of the one workflow in flight; as many, so that its start and end hardly count.
const STEPS_OF_ONE: u32 = 100;

/// How long a load runs before it is measured.
const WARM_UP: Duration = Duration::from_millis(1_500);

/// How long it is measured.
const WINDOW: Duration = Duration::from_secs(5);

/// The same for one in flight: shorter, repeated more often, because other programs disturb it more.
const WINDOW_OF_ONE: Duration = Duration::from_secs(2);

/// Windows of one in flight per repetition.
const WINDOWS_OF_ONE: usize = 3;

/// Measures steps per second.
pub(crate) async fn many_in_flight(stage: &Stage, figures: &mut Figures) -> Result<()> {
    let window = if stage.quick { WINDOW / 5 } else { WINDOW };
    for repetition in 0..stage.repetitions {
        let floor = floor_window(stage, IN_FLIGHT, window).await?;
        figures.floor_steps_per_second.push(floor.steps_per_second());
        let prefix = format!("steps-{repetition}");
        let real = real_window(stage, &prefix, IN_FLIGHT, STEPS, window).await?;
        figures.steps_per_second.push(real.steps_per_second());
        figures.cpu_seconds_per_1000_steps.push(real.cpu_seconds() * 1_000.0 / real.steps as f64);
        figures.steps_ratio.push(real.steps_per_second() / floor.steps_per_second());
        eprintln!("steps: {:.0}/s, floor {:.0}/s", real.steps_per_second(), floor.steps_per_second());
        figures.steps_windows.push(real);
        figures.floor_steps_windows.push(floor);
    }
    Ok(())
}

/// Measures milliseconds per step.
pub(crate) async fn one_in_flight(stage: &Stage, figures: &mut Figures) -> Result<()> {
    let (window, windows) =
        if stage.quick { (WINDOW_OF_ONE / 2, 1) } else { (WINDOW_OF_ONE, WINDOWS_OF_ONE) };
    for repetition in 0..stage.repetitions * windows {
        let floor = floor_window(stage, 1, window).await?;
        figures.floor_ms_per_step.push(floor.ms_per_step());
        let prefix = format!("latency-{repetition}");
        let real = real_window(stage, &prefix, 1, STEPS_OF_ONE, window).await?;
        figures.ms_per_step.push(real.ms_per_step());
        figures.latency_ratio.push(real.ms_per_step() / floor.ms_per_step());
        eprintln!("latency: {:.3} ms, floor {:.3} ms", real.ms_per_step(), floor.ms_per_step());
        figures.latency_windows.push(real);
        figures.floor_latency_windows.push(floor);
    }
    Ok(())
}

async fn floor_window(stage: &Stage, lanes: usize, length: Duration) -> Result<Window> {
    floor_load::go(&stage.floor, lanes).await?;
    tokio::time::sleep(WARM_UP).await;
    let window = Window::watch(stage, &stage.floor, length).await?;
    floor_load::stop(&stage.floor).await?;
    Ok(window)
}

async fn real_window(
    stage: &Stage,
    prefix: &str,
    in_flight: usize,
    steps: u32,
    length: Duration,
) -> Result<Window> {
    let load = Load::new(&stage.real.connection, prefix).await?;
    let enough = CancellationToken::new();
    let keep = keep_in_flight(load, in_flight, Plan::activities(steps), enough.clone());
    let watch = async {
        tokio::time::sleep(WARM_UP).await;
        let window = Window::watch(stage, &stage.real, length).await;
        enough.cancel();
        window
    };
    let (kept, window) = tokio::join!(keep, watch);
    kept?;
    window
}

/// Keeps so many workflows in flight until `enough`, then lets them finish.
async fn keep_in_flight(
    mut load: Load,
    in_flight: usize,
    plan: Plan,
    enough: CancellationToken,
) -> Result<()> {
    for _ in 0..in_flight {
        load.start(Kind::Steps, &plan).await?;
    }
    let mut open = in_flight;
    while open > 0 {
        match load.hear().await? {
            Heard::Started(_) => {}
            Heard::Closed if enough.is_cancelled() => open -= 1,
            Heard::Closed => load.start(Kind::Steps, &plan).await?,
        }
    }
    Ok(())
}
