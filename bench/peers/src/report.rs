//! The figures as a table for people and as JSON for programs, with what must be known to read them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;
use serde_json::{Map, Value, json};
use stepwell_bench_measure::statistics::Samples;

use crate::arguments::Contestant;

/// What has to be known to compare the figures.
const CAVEATS: &[&str] = &[
    "Stepwell's nats-server acknowledges what the operating system has and syncs to disk every two minutes, its \
     default: a process may die at any time, a power failure may cost the last seconds of a single server. `Stepwell, \
     synced` syncs every write, as the peers do by default; compare these with each other.",
    "Restate syncs each batch of its log to disk before it acknowledges, its default; `no sync` is \
     rocksdb-disable-wal-fsync. Compare Stepwell with that one where a disk's sync counts.",
    "Temporal's is the development server, one process on one SQLite file with a write-ahead log, which is not \
     meant for production; with synchronous=FULL each transaction is synced, `no sync` is synchronous=NORMAL, which \
     syncs at checkpoints.",
    "A step of Stepwell is an activity in another process, of Restate a call to a service in another process, of \
     Temporal an activity in the process of its workflow, which its SDK may start there at once. All are recorded \
     before the next one starts.",
    "In-process steps are ctx.run of Restate, each of which is recorded, and local activities of Temporal, which are \
     recorded together at the end of their workflow task: ten of them are one write.",
    "Workflows in flight: 500 with Stepwell and Restate (200 with signals), 50 with Temporal.",
    "The time of a peer's step, one in flight, is the driver's time over the steps, with starts and ends of workflows of \
     50 steps; p50 and p99 are between one step and the next where steps are done, and for Stepwell what its own \
     benchmark calls so.",
    "Signalling Restate is a call of a second handler that resolves the workflow's promise.",
    "Servers have their defaults and as many threads as they like; workers have one thread each.",
];

/// One figure of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Figure {
    StepsPerSecond,
    InProcessStepsPerSecond,
    MsPerStep,
    StepP50Ms,
    StepP99Ms,
    InProcessMsPerStep,
    SignalsPerSecond,
    FanOut1000Seconds,
    CpuSecondsPer1000Steps,
}

/// The figures of one turn.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turn(BTreeMap<Figure, f64>);

/// Everything that was measured.
pub(crate) struct Report {
    contestants: Vec<Contestant>,
    turns: BTreeMap<(Contestant, usize), Turn>,
    failures: Vec<String>,
    load: Samples,
}

impl Figure {
    const ALL: [Self; 9] = [
        Self::StepsPerSecond,
        Self::InProcessStepsPerSecond,
        Self::MsPerStep,
        Self::StepP50Ms,
        Self::StepP99Ms,
        Self::InProcessMsPerStep,
        Self::SignalsPerSecond,
        Self::FanOut1000Seconds,
        Self::CpuSecondsPer1000Steps,
    ];

    /// The name in JSON, where Stepwell's own benchmark has it, the same as there.
    fn key(self) -> &'static str {
        match self {
            Self::StepsPerSecond => "steps_per_second",
            Self::InProcessStepsPerSecond => "in_process_steps_per_second",
            Self::MsPerStep => "ms_per_step",
            Self::StepP50Ms => "ms_per_step_p50",
            Self::StepP99Ms => "ms_per_step_p99",
            Self::InProcessMsPerStep => "in_process_ms_per_step",
            Self::SignalsPerSecond => "signals_per_second",
            Self::FanOut1000Seconds => "fan_out_1000_seconds",
            Self::CpuSecondsPer1000Steps => "cpu_seconds_per_1000_steps",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::StepsPerSecond => "steps/s, many workflows of 10 steps in flight",
            Self::InProcessStepsPerSecond => "in-process steps/s, many workflows of 10 steps in flight",
            Self::MsPerStep => "ms/step, one workflow in flight",
            Self::StepP50Ms => "ms from one step to the next, one in flight, p50",
            Self::StepP99Ms => "ms from one step to the next, one in flight, p99",
            Self::InProcessMsPerStep => "ms/in-process step, one workflow in flight",
            Self::SignalsPerSecond => "signals/s: start, wait, signal, complete",
            Self::FanOut1000Seconds => "fan-out of 1,000, joined, s",
            Self::CpuSecondsPer1000Steps => "CPU s per 1,000 steps, all processes",
        }
    }

    fn digits(self) -> usize {
        match self {
            Self::StepsPerSecond | Self::InProcessStepsPerSecond | Self::SignalsPerSecond => 0,
            Self::MsPerStep | Self::StepP50Ms | Self::StepP99Ms | Self::InProcessMsPerStep => 3,
            Self::FanOut1000Seconds | Self::CpuSecondsPer1000Steps => 3,
        }
    }

    fn more_is_better(self) -> bool {
        match self {
            Self::StepsPerSecond | Self::InProcessStepsPerSecond | Self::SignalsPerSecond => true,
            Self::MsPerStep | Self::StepP50Ms | Self::StepP99Ms | Self::InProcessMsPerStep => false,
            Self::FanOut1000Seconds | Self::CpuSecondsPer1000Steps => false,
        }
    }
}

impl Turn {
    pub(crate) fn set(&mut self, figure: Figure, value: f64) {
        self.0.insert(figure, value);
    }

    /// In one line, while it goes on.
    pub(crate) fn line(&self) -> String {
        let figures = self.0.iter().map(|(figure, value)| {
            let digits = figure.digits();
            format!("{} {value:.digits$}", figure.key())
        });
        figures.collect::<Vec<_>>().join(", ")
    }
}

impl Report {
    pub(crate) fn new(contestants: &[Contestant]) -> Self {
        let contestants = contestants.to_vec();
        Self { contestants, turns: BTreeMap::new(), failures: Vec::new(), load: Samples::default() }
    }

    pub(crate) fn add(&mut self, contestant: Contestant, round: usize, turn: Turn) {
        self.turns.insert((contestant, round), turn);
    }

    pub(crate) fn fail(&mut self, error: String) {
        self.failures.push(error);
    }

    pub(crate) fn failed(&self) -> bool {
        !self.failures.is_empty()
    }

    /// How busy the machine was before a turn; the turn before it counts, too.
    pub(crate) fn note_load(&mut self, load: Option<f64>) {
        if let Some(load) = load {
            self.load.push(load);
        }
    }

    /// For a terminal.
    pub(crate) fn table(&self) -> String {
        let mut table = String::new();
        let _ = writeln!(
            table,
            "\n{:<28}{:>12}{:>26}{:>22}",
            "", "median", "lowest - highest", "Stepwell is better"
        );
        for figure in Figure::ALL {
            let rows = self.contestants.iter().map(|one| (*one, self.samples(*one, figure)));
            let rows: Vec<_> = rows.filter(|(_, samples)| !samples.median().is_nan()).collect();
            if rows.is_empty() {
                continue;
            }
            let _ = writeln!(table, "{}", figure.title());
            let digits = figure.digits();
            for (contestant, samples) in rows {
                let (lowest, highest) = samples.range();
                let range = format!("{lowest:.digits$} - {highest:.digits$}");
                let times = self.times_better(contestant, figure).median();
                let times = if times.is_nan() { String::new() } else { format!("{times:.2} times") };
                let _ = writeln!(
                    table,
                    "  {:<26}{:>12.digits$}{range:>26}{times:>22}",
                    contestant.name(),
                    samples.median()
                );
            }
        }
        let (lowest, highest) = self.load.range();
        let _ = writeln!(table, "\nload of the machine before turns: {lowest:.1} - {highest:.1}\n");
        for caveat in CAVEATS {
            let _ = writeln!(table, "- {caveat}");
        }
        for failure in &self.failures {
            let _ = writeln!(table, "FAILED: {failure}");
        }
        table
    }

    /// For a program. What was not measured is left out.
    pub(crate) fn json(&self) -> Result<String> {
        let mut json = Map::new();
        for contestant in &self.contestants {
            let (mut medians, mut spread, mut times) = (Map::new(), Map::new(), Map::new());
            for figure in Figure::ALL {
                let samples = self.samples(*contestant, figure);
                if samples.median().is_nan() {
                    continue;
                }
                medians.insert(figure.key().into(), json!(samples.median()));
                spread.insert(figure.key().into(), json!(samples.range()));
                let better = self.times_better(*contestant, figure).median();
                if !better.is_nan() {
                    times.insert(figure.key().into(), json!(better));
                }
            }
            medians.insert("spread".into(), Value::Object(spread));
            if *contestant != Contestant::Stepwell {
                medians.insert("stepwell_is_better_times".into(), Value::Object(times));
            }
            json.insert(contestant.key().into(), Value::Object(medians));
        }
        json.insert("load".into(), json!(self.load.range()));
        json.insert("caveats".into(), json!(CAVEATS));
        json.insert("failures".into(), json!(self.failures));
        Ok(serde_json::to_string_pretty(&Value::Object(json))? + "\n")
    }

    fn samples(&self, contestant: Contestant, figure: Figure) -> Samples {
        let mut samples = Samples::default();
        let turns = self.turns.iter().filter(|((of, _), _)| *of == contestant);
        for value in turns.filter_map(|(_, turn)| turn.0.get(&figure)) {
            samples.push(*value);
        }
        samples
    }

    /// How many times better Stepwell was, in each round.
    fn times_better(&self, than: Contestant, figure: Figure) -> Samples {
        let mut samples = Samples::default();
        if than == Contestant::Stepwell {
            return samples;
        }
        for ((of, round), turn) in &self.turns {
            let stepwell = self.turns.get(&(Contestant::Stepwell, *round));
            let stepwell = stepwell.and_then(|turn| turn.0.get(&figure));
            if let (true, Some(theirs), Some(ours)) = (*of == than, turn.0.get(&figure), stepwell) {
                samples.push(if figure.more_is_better() { ours / theirs } else { theirs / ours });
            }
        }
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_and_less_are_both_better_when_they_should_be() {
        let mut report = Report::new(&[Contestant::Stepwell, Contestant::Restate]);
        for (contestant, rate, time) in
            [(Contestant::Stepwell, 300.0, 1.0), (Contestant::Restate, 100.0, 2.0)]
        {
            let mut turn = Turn::default();
            turn.set(Figure::StepsPerSecond, rate);
            turn.set(Figure::MsPerStep, time);
            report.add(contestant, 0, turn);
        }
        assert_eq!(report.times_better(Contestant::Restate, Figure::StepsPerSecond).median(), 3.0);
        assert_eq!(report.times_better(Contestant::Restate, Figure::MsPerStep).median(), 2.0);
        assert!(report.times_better(Contestant::Stepwell, Figure::MsPerStep).median().is_nan());
        assert!(report.times_better(Contestant::Restate, Figure::SignalsPerSecond).median().is_nan());
    }
}
