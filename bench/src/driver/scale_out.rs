//! Steps per second with more than one orchestrator, queue, or workflow type.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use stepwell_bench_measure::statistics::Samples;
use stepwell_connection::owners::{self, Source};
use stepwell_shared::limits::DEFAULT_PARTITIONS;

use super::in_flight::Flight;
use super::stage::{Setting, Stage};
use crate::arguments::Arguments;
use crate::report::{Section, Table};

const FLIGHT: Flight = Flight {
    in_flight: 500,
    steps: 10,
    warm_up: Duration::from_millis(1_500),
    window: Duration::from_secs(5),
};

/// Orchestrators, queues, workflow types.
const SHAPES: [(usize, usize, usize); 6] =
    [(1, 1, 1), (2, 1, 1), (3, 1, 1), (1, 4, 1), (1, 1, 64), (3, 4, 64)];

/// Longest time until the orchestrators have shared the partitions.
const SHARE_TIMEOUT: Duration = Duration::from_secs(60);

/// Pause between two looks at it.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(crate) async fn measure(arguments: &Arguments) -> Result<Section> {
    let flight = if arguments.quick { Flight { window: Duration::from_secs(1), ..FLIGHT } } else { FLIGHT };
    let mut rows = Vec::new();
    let mut section = Section::new("scale-out", "steps/s, 500 workflows in flight of 10 steps each");
    for (orchestrators, queues, types) in SHAPES {
        let setting = Setting { orchestrators, queues, types, ..Setting::usual(arguments) };
        let stage = Stage::set(&setting).await?;
        wait_until_shared(&stage, orchestrators).await?;
        let (mut rate, mut cpu) = (Samples::default(), Samples::default());
        for repetition in 0..arguments.repetitions() {
            let window = flight.of_real(&stage, &format!("scale-{repetition}")).await?;
            rate.push(window.per_second());
            cpu.push(window.cpu_seconds() * 1_000.0 / window.units as f64);
        }
        let label = format!("{orchestrators} orchestrators, {queues} queues, {types} types");
        eprintln!("scale-out: {label}: {:.0} steps/s", rate.median());
        let (lowest, highest) = rate.range();
        rows.push((label, vec![rate.median(), lowest, highest, cpu.median()]));
    }
    section.table(Table {
        key: "steps_per_second",
        title: "steps/s".into(),
        columns: ["median", "lowest", "highest", "CPU s/1,000"].map(str::to_owned).into(),
        rows,
        digits: 2,
    });
    Ok(section)
}

/// Waits until so many orchestrators have partitions, and as many each as the others, but for one.
async fn wait_until_shared(stage: &Stage, orchestrators: usize) -> Result<()> {
    let began = Instant::now();
    loop {
        let owners = owners::read(&stage.real.connection, DEFAULT_PARTITIONS, Source::Leader).await?;
        let holders = owners.leases.values().filter_map(|lease| lease.value.as_ref()?.holder.clone());
        let mut shares: std::collections::BTreeMap<_, usize> = std::collections::BTreeMap::new();
        holders.for_each(|holder| *shares.entry(holder).or_default() += 1);
        let (least, most) = (shares.values().min(), shares.values().max());
        let (least, most) = least.zip(most).context("nobody has a partition")?;
        if shares.len() == orchestrators && most - least <= 1 {
            return Ok(());
        }
        ensure!(began.elapsed() < SHARE_TIMEOUT, "{orchestrators} orchestrators share like this: {shares:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
