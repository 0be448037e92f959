//! Stepwell's turn: its own benchmark, whose JSON is read.

use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::process::Command;

use crate::arguments::{Options, Workload};
use crate::folder;
use crate::report::{Figure, Turn};

/// Where the figures are in its JSON, by section.
const FIGURES: [(&str, &str, Figure); 6] = [
    ("steps", "steps_per_second", Figure::StepsPerSecond),
    ("steps", "cpu_seconds_per_1000_steps", Figure::CpuSecondsPer1000Steps),
    ("latency", "ms_per_step_p50", Figure::StepP50Ms),
    ("latency", "ms_per_step_p99", Figure::StepP99Ms),
    ("signals", "signals_per_second", Figure::SignalsPerSecond),
    ("fan-out", "fan_out_1000_seconds", Figure::FanOut1000Seconds),
];

/// The same on a server that syncs every write, which is measured for steps alone.
const SYNCED_FIGURES: [(&str, &str, Figure); 2] = [
    ("steps-synced", "steps_per_second", Figure::StepsPerSecond),
    ("steps-synced", "cpu_seconds_per_1000_steps", Figure::CpuSecondsPer1000Steps),
];

/// What is asked of its benchmark.
const WORKLOADS: [(Workload, &str); 4] = [
    (Workload::Steps, "steps"),
    (Workload::Latency, "latency"),
    (Workload::Signals, "signals"),
    (Workload::FanOut, "fan-out"),
];

/// Runs it once.
pub(crate) async fn turn(options: &Options) -> Result<Turn> {
    let asked = WORKLOADS.iter().filter(|(workload, _)| options.wants(*workload));
    measure(options, &asked.map(|(_, name)| *name).collect::<Vec<_>>(), &FIGURES).await
}

/// Runs what it has on a server that syncs every write.
pub(crate) async fn synced_turn(options: &Options) -> Result<Turn> {
    let asked: &[&str] = if options.wants(Workload::Steps) { &["steps-synced"] } else { &[] };
    measure(options, asked, &SYNCED_FIGURES).await
}

async fn measure(options: &Options, asked: &[&str], wanted: &[(&str, &str, Figure)]) -> Result<Turn> {
    let mut turn = Turn::default();
    if asked.is_empty() {
        return Ok(turn);
    }
    let folder = folder::for_one_turn("stepwell")?;
    let json = folder.path().join("figures.json");
    let mut command = Command::new(options.stepwell.as_ref().context("--stepwell is missing")?);
    command.args(["--repetitions", "1", "--json"]).arg(&json);
    command.args(asked.iter().flat_map(|name| ["--only", name]));
    if options.quick {
        command.arg("--quick");
    }
    // Its table compares with its floor, which is another matter.
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    let status = command.status().await.context("cannot run Stepwell's benchmark")?;
    if !status.success() {
        bail!("Stepwell's benchmark ended with {status}");
    }
    let figures: Value = serde_json::from_slice(&tokio::fs::read(&json).await?)?;
    for (section, name, figure) in wanted.iter().filter(|(section, ..)| asked.contains(section)) {
        let value = figures.pointer(&format!("/{section}/{name}/median")).and_then(Value::as_f64);
        turn.set(*figure, value.with_context(|| format!("Stepwell's benchmark gives no {section}/{name}"))?);
    }
    Ok(turn)
}
