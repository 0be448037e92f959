//! What a run has shown, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::book::Operations;
use super::faults::{Fault, by_kind};
use super::measure::Spread;

/// Most findings that are printed; all of them are in the JSON.
const MOST_SHOWN: usize = 20;

/// The outcome of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What it was made of.
    pub seed: u64,
    /// Servers.
    pub nodes: usize,
    /// Orchestrators in the beginning.
    pub orchestrators: usize,
    /// Workers of the workflows' queue in the beginning.
    pub workers: usize,
    /// How long load and faults went on, in seconds.
    pub seconds: f64,
    /// Every fault.
    pub faults: Vec<Fault>,
    /// Requests of clients, by kind.
    pub operations: BTreeMap<String, Operations>,
    /// Workflows that were asked for, metronomes included.
    pub workflows: usize,
    /// How they ended, by status.
    pub ends: BTreeMap<String, usize>,
    /// Records in their histories.
    pub records: usize,
    /// Attempts of activities that began.
    pub attempts: usize,
    /// Pieces of work that were done or undone, repeats included.
    pub effects: usize,
    /// Those of them that had been done before: the outside recognised them by their key.
    pub repeats: usize,
    /// Messages that were set aside, by code.
    pub set_aside: BTreeMap<String, usize>,
    /// Timers of closed runs that a killed server has forgotten to have removed.
    pub timers_back: usize,
    /// Processes that ended by themselves and were started again: who, and what it said last.
    pub ended_by_themselves: Vec<String>,
    /// After each kill of an orchestrator: time without a record in the partition that waited longest.
    pub takeover: Spread,
    /// How late timers were.
    pub timer_lag: Spread,
    /// Workflows that were open when the faults ended.
    pub open_at_the_end: usize,
    /// How long everything took to come to rest after the faults; `None` when it did not.
    pub rest_seconds: Option<f64>,
    /// What does not hold, what was lost. Nothing, in a run that is exact.
    pub findings: Vec<String>,
    /// Where logs, ledger and streams are kept, if something was found.
    pub kept_in: Option<String>,
}

impl Report {
    /// Whether everything was exact, and enough of it proved.
    #[must_use]
    pub fn exact(&self) -> bool {
        self.findings.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}, {} server(s), {} orchestrator(s), {} worker(s) of the workflows' queue, {:.0} s of load and faults",
            self.seed, self.nodes, self.orchestrators, self.workers, self.seconds
        )?;
        writeln!(f, "\nfaults, proved of injected")?;
        for (kind, (proved, all)) in by_kind(&self.faults) {
            writeln!(f, "  {:24} {proved} of {all}", kind.name())?;
        }
        writeln!(f, "\nrequests                       ok   refused   unknown and repeated")?;
        for (kind, Operations { ok, fail, unknown }) in &self.operations {
            writeln!(f, "  {kind:24} {ok:>6} {fail:>9} {unknown:>9}")?;
        }
        let list = |counts: &BTreeMap<String, usize>| {
            let list = counts.iter().map(|(name, count)| format!("{count} {name}"));
            let list = list.collect::<Vec<_>>().join(", ");
            if list.is_empty() { "none".to_owned() } else { list }
        };
        writeln!(f, "\nworkflows  {}: {}", self.workflows, list(&self.ends))?;
        writeln!(f, "records    {}", self.records)?;
        writeln!(f, "attempts   {}", self.attempts)?;
        writeln!(f, "effects    {}, of them repeats {}", self.effects, self.repeats)?;
        writeln!(f, "set aside  {}", list(&self.set_aside))?;
        if self.timers_back > 0 {
            writeln!(
                f,
                "timers of closed runs that are there again after a server was killed: {}",
                self.timers_back
            )?;
        }
        if !self.ended_by_themselves.is_empty() {
            writeln!(f, "ended by themselves and started again: {}", self.ended_by_themselves.len())?;
        }
        for said in self.ended_by_themselves.iter().take(MOST_SHOWN) {
            writeln!(f, "  {said}")?;
        }
        let spread = |it: &Spread| {
            format!(
                "p50 {} ms, p90 {} ms, p99 {} ms, most {} ms, of {}",
                it.p50_ms, it.p90_ms, it.p99_ms, it.max_ms, it.count
            )
        };
        writeln!(
            f,
            "\nno record after an orchestrator was killed, whatever else followed: {}",
            spread(&self.takeover)
        )?;
        writeln!(f, "timers late by: {}", spread(&self.timer_lag))?;
        match self.rest_seconds {
            Some(seconds) => writeln!(
                f,
                "at rest {seconds:.1} s after the last fault, when {} workflows were open",
                self.open_at_the_end
            )?,
            None => {
                writeln!(f, "NOT AT REST; {} workflows were open after the last fault", self.open_at_the_end)?
            }
        }
        if self.exact() {
            return writeln!(f, "\neverything is exact: nothing was lost, nothing was done twice");
        }
        writeln!(f, "\nNOT EXACT, {} findings:", self.findings.len())?;
        for finding in self.findings.iter().take(MOST_SHOWN) {
            writeln!(f, "  - {finding}")?;
        }
        if let Some(path) = &self.kept_in {
            writeln!(f, "logs, ledger and streams are kept in {path}")?;
        }
        Ok(())
    }
}
