//! Sequential steps of many workflows in flight, in turn with the floor.

use std::time::Duration;

use anyhow::Result;
use stepwell_bench_measure::statistics::Samples;

use super::in_flight::Flight;
use super::server::ServerKind;
use super::stage::{Setting, Stage};
use crate::arguments::Arguments;
use crate::floor::Sending;
use crate::report::{Section, Target};

/// Steps of each workflow.
const STEPS: u32 = 10;

/// Over how many streams tasks and histories are spread where every write is synced; more gain nothing on two cores.
const SYNCED_SHARDS: u32 = 4;

/// How long a load runs at least before it is measured.
const WARM_UP: Duration = Duration::from_millis(1_500);

/// How long it is measured.
const WINDOW: Duration = Duration::from_secs(5);

pub(crate) async fn measure(
    arguments: &Arguments,
    name: &str,
    in_flight: usize,
    server: ServerKind,
) -> Result<Section> {
    let shards = arguments.shards.unwrap_or(match server {
        ServerKind::Synced => SYNCED_SHARDS,
        ServerKind::Plain | ServerKind::Replicated => 1,
    });
    let setting = Setting { server, floor: true, at_once: in_flight, shards, ..Setting::usual(arguments) };
    let stage = Stage::set(&setting).await?;
    let flight = Flight {
        in_flight,
        steps: STEPS,
        warm_up: WARM_UP,
        window: if arguments.quick { WINDOW / 5 } else { WINDOW },
    };
    let mut rate = Samples::default();
    let (mut floor_rate, mut share) = (Samples::default(), Samples::default());
    let (mut apart_rate, mut share_of_apart) = (Samples::default(), Samples::default());
    let (mut real, mut floor) = (Vec::new(), Vec::new());
    for repetition in 0..arguments.repetitions() {
        let apart = flight.of_floor(&stage, Sending::Apart, 2 * repetition).await?.per_second();
        let of_floor = flight.of_floor(&stage, Sending::Together, 2 * repetition + 1).await?;
        let of_real = flight.of_real(&stage, &format!("steps-{repetition}")).await?;
        let (reached, bare) = (of_real.per_second(), of_floor.per_second());
        eprintln!("{name}: {reached:.0} steps/s, floor {bare:.0}/s, without packs {apart:.0}/s");
        rate.push(reached);
        floor_rate.push(bare);
        share.push(reached / bare);
        apart_rate.push(apart);
        share_of_apart.push(reached / apart);
        real.push(of_real);
        floor.push(of_floor);
    }
    let where_ = match server {
        ServerKind::Plain => "one server",
        ServerKind::Synced => "one server that syncs every write",
        ServerKind::Replicated => "three servers, three copies",
    };
    let spread = if shards == 1 { String::new() } else { format!(", {shards} shards") };
    let title = format!("{in_flight} workflows in flight of {STEPS} steps each, {where_}{spread}");
    let mut section = Section::new(name, title);
    section.figure("steps_per_second", "steps/s", rate, 0);
    section.figure("floor_steps_per_second", "  the floor", floor_rate, 0);
    section.aimed("share_of_floor", "  share of the floor", share, 2, Target::AtLeast(0.9));
    section.figure("floor_apart_steps_per_second", "  the floor without packs", apart_rate, 0);
    section.aimed("share_of_floor_apart", "  share of that", share_of_apart, 2, Target::AtLeast(0.9));
    let cpu = real.iter().map(|window| window.cpu_seconds() * 1_000.0 / window.units as f64).collect();
    section.figure("cpu_seconds_per_1000_steps", "CPU s of 1,000 steps, all processes", cpu, 3);
    section.compare("step", real, floor);
    section.peak_memory(stage.peak_memory());
    Ok(section)
}
