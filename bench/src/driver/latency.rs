//! One workflow in flight: how long a step takes, in turn with the floor.
//!
//! A step is the time between two records of a run, as the server stored them: nothing that measures takes
//! part in it.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use stepwell_bench_measure::statistics::Samples;
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::{self, Stream};

use super::hops;
use super::in_flight::Flight;
use super::stage::{Setting, Side, Stage, free_address};
use super::stored;
use super::window::{Moment, Window};
use crate::arguments::Arguments;
use crate::floor::Sending;
use crate::report::{Section, Table, Target};

/// Steps of the workflow.
const STEPS: u32 = 50;

const FLIGHT: Flight = Flight {
    in_flight: 1,
    steps: STEPS,
    warm_up: Duration::from_millis(1_500),
    window: Duration::from_secs(2),
};

/// Windows per repetition: many short ones, because other programs disturb this more.
const WINDOWS: usize = 3;

/// One side's figures.
#[derive(Default)]
struct Measured {
    p50: Samples,
    p99: Samples,
    windows: Vec<Window>,
}

pub(crate) async fn measure(arguments: &Arguments) -> Result<Section> {
    let listen = Some(free_address()?);
    let setting = Setting { floor: true, listen, ..Setting::usual(arguments) };
    let stage = Stage::set(&setting).await?;
    let windows = if arguments.quick { 1 } else { arguments.repetitions() * WINDOWS };
    let (mut real, mut floor, mut ratio) = (Measured::default(), Measured::default(), Samples::default());
    for number in 0..windows {
        let mut of_floor = f64::NAN;
        if let Some(side) = &stage.floor {
            let before = Moment::now(&stage, side).await?;
            let window = FLIGHT.of_floor(&stage, Sending::Together, number).await?;
            of_floor = floor.take(&stage, side, &before, window).await?;
        }
        let before = Moment::now(&stage, &stage.real).await?;
        let window = FLIGHT.of_real(&stage, &format!("latency-{number}")).await?;
        let of_real = real.take(&stage, &stage.real, &before, window).await?;
        ratio.push(of_real / of_floor);
        eprintln!("latency: {of_real:.3} ms a step, floor {of_floor:.3} ms");
    }
    let title = format!("one workflow in flight of {STEPS} steps, ms from record to record");
    let mut section = Section::new("latency", title);
    section.figure("ms_per_step_p50", "ms a step, p50", real.p50, 3);
    section.figure("ms_per_step_p99", "ms a step, p99", real.p99, 3);
    section.figure("floor_ms_per_step_p50", "  the floor, p50", floor.p50, 3);
    section.figure("floor_ms_per_step_p99", "  the floor, p99", floor.p99, 3);
    section.aimed("p50_times_floor", "  times the floor, p50", ratio, 2, Target::AtMost(1.1));
    section.compare("step", real.windows, floor.windows);
    if !arguments.bare_workers {
        let (hops, means) = hops::trace(&stage.real).await?;
        section.table(hops);
        let rows = means.into_iter().map(|(label, mean)| (label.to_owned(), vec![mean]));
        section.table(Table {
            key: "waits_ms",
            title: "what the orchestrator waited for, ms".into(),
            columns: vec!["mean".into()],
            rows: rows.collect(),
            digits: 3,
        });
    }
    section.peak_memory(stage.peak_memory());
    Ok(section)
}

impl Measured {
    /// Takes in what was stored since `before`; returns the median.
    async fn take(&mut self, stage: &Stage, side: &Side, before: &Moment, window: Window) -> Result<f64> {
        let after = Moment::now(stage, side).await?;
        let steps = step_times(side, before.records + 1, after.records).await?;
        let median = steps.percentile(0.5);
        self.p50.push(median);
        self.p99.push(steps.percentile(0.99));
        self.windows.push(window);
        Ok(median)
    }
}

/// Milliseconds of every step whose records lie between these sequences of HISTORY.
async fn step_times(side: &Side, from: u64, to: u64) -> Result<Samples> {
    let all = subject::all_histories(side.connection.namespace());
    let mut last: HashMap<String, i128> = HashMap::new();
    let mut times = Vec::new();
    stored::read(&side.connection, Stream::History(Shard::FIRST), &all, (from, to), |record| {
        if let Some(before) = last.insert(record.subject, record.at_ns) {
            times.push(milliseconds(record.at_ns - before));
        }
        Ok(())
    })
    .await?;
    Ok(times.into_iter().collect())
}

/// Nanoseconds as milliseconds.
pub(crate) fn milliseconds(ns: i128) -> f64 {
    ns as f64 / 1e6
}
