//! The figures as a table for people and as JSON for programs.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::driver::{Traffic, Window};
use crate::statistics::Samples;

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) steps_per_second: Samples,
    pub(crate) floor_steps_per_second: Samples,
    pub(crate) steps_ratio: Samples,
    pub(crate) ms_per_step: Samples,
    pub(crate) floor_ms_per_step: Samples,
    pub(crate) latency_ratio: Samples,
    pub(crate) cpu_seconds_per_1000_steps: Samples,
    pub(crate) fan_out_1000_seconds: Samples,
    pub(crate) signals_per_second: Samples,
    pub(crate) timers_per_second: Samples,
    pub(crate) steps_windows: Vec<Window>,
    pub(crate) floor_steps_windows: Vec<Window>,
    pub(crate) latency_windows: Vec<Window>,
    pub(crate) floor_latency_windows: Vec<Window>,
    pub(crate) memory_by_workflows: Vec<(usize, f64)>,
    pub(crate) peak_memory: Vec<(&'static str, Option<f64>)>,
}

/// The figures in words.
pub(crate) struct Report<'a>(&'a Figures);

/// What a ratio must reach.
enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl<'a> Report<'a> {
    pub(crate) fn new(figures: &'a Figures) -> Self {
        Self(figures)
    }

    /// For a terminal.
    pub(crate) fn table(&self) -> String {
        let f = self.0;
        let mut table = String::new();
        let _ = writeln!(table, "\n{:<44}{:>12}{:>26}", "", "median", "lowest - highest");
        row(&mut table, "steps/s, 500 in flight", &f.steps_per_second, 0, None);
        row(&mut table, "  the floor", &f.floor_steps_per_second, 0, None);
        row(&mut table, "  share of the floor", &f.steps_ratio, 2, Some(Target::AtLeast(0.5)));
        row(&mut table, "ms/step, one in flight", &f.ms_per_step, 3, None);
        row(&mut table, "  the floor", &f.floor_ms_per_step, 3, None);
        row(&mut table, "  times the floor", &f.latency_ratio, 2, Some(Target::AtMost(1.6)));
        row(&mut table, "fan-out of 1,000, s", &f.fan_out_1000_seconds, 3, Some(Target::AtMost(1.0)));
        row(&mut table, "signals/s, start to end, 200 in flight", &f.signals_per_second, 0, None);
        row(&mut table, "timers/s, all due at once", &f.timers_per_second, 0, None);
        row(&mut table, "CPU s per 1,000 steps, all processes", &f.cpu_seconds_per_1000_steps, 3, None);
        shares(&mut table, "500 in flight", &f.steps_windows, &f.floor_steps_windows);
        shares(&mut table, "one in flight", &f.latency_windows, &f.floor_latency_windows);
        let _ = writeln!(table, "\nmost memory in use, MiB");
        for (place, memory) in &f.peak_memory {
            let memory = memory.map_or("-".to_owned(), |memory| format!("{memory:.1}"));
            let _ = writeln!(table, "  {place:<42}{memory:>12}");
        }
        if !f.memory_by_workflows.is_empty() {
            let _ = writeln!(table, "\nmemory of the orchestrator after finished workflows, MiB");
            for (workflows, memory) in &f.memory_by_workflows {
                let _ = writeln!(table, "  {workflows:<42}{memory:>12.1}");
            }
        }
        table
    }

    /// For a program. What was not measured is left out.
    pub(crate) fn json(&self) -> Result<String> {
        let f = self.0;
        let mut json = Map::new();
        let medians = [
            ("steps_per_second", &f.steps_per_second),
            ("ms_per_step", &f.ms_per_step),
            ("floor_steps_per_second", &f.floor_steps_per_second),
            ("floor_ms_per_step", &f.floor_ms_per_step),
            ("fan_out_1000_seconds", &f.fan_out_1000_seconds),
            ("signals_per_second", &f.signals_per_second),
            ("timers_per_second", &f.timers_per_second),
            ("cpu_seconds_per_1000_steps", &f.cpu_seconds_per_1000_steps),
            ("steps_share_of_floor", &f.steps_ratio),
            ("latency_times_floor", &f.latency_ratio),
        ];
        let mut spread = Map::new();
        for (name, samples) in medians {
            if !samples.is_empty() {
                json.insert(name.into(), json!(samples.median()));
                spread.insert(name.into(), json!(samples.range()));
            }
        }
        json.insert("spread".into(), Value::Object(spread));
        let busy = [
            ("steps", &f.steps_windows),
            ("floor_steps", &f.floor_steps_windows),
            ("latency", &f.latency_windows),
            ("floor_latency", &f.floor_latency_windows),
        ];
        let busy = busy.into_iter().filter(|(_, windows)| !windows.is_empty()).map(|(name, windows)| {
            let busy: Map<_, _> = busy_shares(windows)
                .into_iter()
                .map(|(place, share)| (place.to_owned(), json!(share)))
                .collect();
            (name.to_owned(), Value::Object(busy))
        });
        json.insert("cpu_share_by_process".into(), Value::Object(busy.collect()));
        let memory: Map<_, _> =
            f.peak_memory.iter().map(|(place, memory)| ((*place).to_owned(), json!(memory))).collect();
        json.insert("peak_memory_mib".into(), Value::Object(memory));
        if !f.memory_by_workflows.is_empty() {
            json.insert("orchestrator_memory_mib".into(), json!(f.memory_by_workflows));
        }
        Ok(serde_json::to_string_pretty(&Value::Object(json))? + "\n")
    }
}

fn row(table: &mut String, what: &str, samples: &Samples, digits: usize, target: Option<Target>) {
    if samples.is_empty() {
        return;
    }
    let (median, (lowest, highest)) = (samples.median(), samples.range());
    let range = format!("{lowest:.digits$} - {highest:.digits$}");
    let verdict = match target {
        None => String::new(),
        Some(Target::AtLeast(limit)) => format!("   at least {limit}: {}", reached(median >= limit)),
        Some(Target::AtMost(limit)) => format!("   at most {limit}: {}", reached(median <= limit)),
    };
    let _ = writeln!(table, "{what:<44}{median:>12.digits$}{range:>26}{verdict}");
}

fn reached(yes: bool) -> &'static str {
    if yes { "reached" } else { "MISSED" }
}

fn shares(table: &mut String, what: &str, real: &[Window], floor: &[Window]) {
    if real.is_empty() {
        return;
    }
    let (steps, floor_steps) = (steps(real), steps(floor));
    let (seconds, floor_seconds) = (seconds(real), seconds(floor));
    let _ =
        writeln!(table, "\n{what:<24}{:>14}{:>14}{:>14}{:>14}", "share of 1 s", "a step", "floor", "a step");
    let of_floor = busy_shares(floor);
    for (place, share) in busy_shares(real) {
        let floor_share = of_floor.iter().find(|(other, _)| *other == place).map(|(_, share)| *share);
        let floor_share = floor_share.unwrap_or(f64::NAN);
        let _ = writeln!(
            table,
            "  {place:<22}{:>12.0} %{:>11.0} us{:>12.0} %{:>11.0} us",
            share * 100.0,
            share * seconds / steps * 1e6,
            floor_share * 100.0,
            floor_share * floor_seconds / floor_steps * 1e6,
        );
    }
    for (name, read) in TRAFFIC {
        let sum = |windows: &[Window]| windows.iter().map(|window| read(&window.traffic)).sum::<u64>() as f64;
        let (a_step, of_floor) = (sum(real) / steps, sum(floor) / floor_steps);
        let _ = writeln!(table, "  {name:<22}{:>14}{a_step:>14.1}{:>14}{of_floor:>14.1}", "", "");
    }
}

/// What is read off the server's counters.
type Counter = fn(&Traffic) -> u64;

const TRAFFIC: [(&str, Counter); 4] = [
    ("messages to the server", |traffic| traffic.in_msgs),
    ("bytes to the server", |traffic| traffic.in_bytes),
    ("messages from it", |traffic| traffic.out_msgs),
    ("bytes from it", |traffic| traffic.out_bytes),
];

fn steps(windows: &[Window]) -> f64 {
    windows.iter().map(|window| window.steps).sum::<u64>() as f64
}

fn seconds(windows: &[Window]) -> f64 {
    windows.iter().map(|window| window.seconds).sum()
}

/// Processor seconds per second, by place, over all windows.
fn busy_shares(windows: &[Window]) -> Vec<(&'static str, f64)> {
    let seconds = seconds(windows);
    let Some(first) = windows.first() else { return Vec::new() };
    let places = first.cpu.iter().map(|(place, _)| *place);
    places
        .map(|place| {
            let used = windows.iter().flat_map(|window| &window.cpu).filter(|(other, _)| *other == place);
            (place, used.map(|(_, used)| used).sum::<f64>() / seconds)
        })
        .collect()
}
