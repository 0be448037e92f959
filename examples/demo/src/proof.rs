//! The proof: compares what activities say they did (the ledger) with what was recorded (the histories).
//! Pure; it is itself tested with doctored ledgers, because a proof that cannot fail proves nothing.

use std::collections::{BTreeMap, BTreeSet};

use example_ledger::{Entry, Phase};
use stepwell_shared::command::Command;
use stepwell_shared::failure::FailureKind;
use stepwell_shared::history::{Event, Record};
use stepwell_shared::ids::StepId;

/// Which attempts of which step of which run.
type StepKey = (String, String);

/// What the history says of one step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// The activity type.
    pub(crate) activity: String,
    /// Whether it was ever put on its queue: compensations are registered long before, and mostly in vain.
    pub(crate) asked: bool,
    /// When its end was recorded, and whether that end was a result; `None` while it is open.
    pub(crate) ended: Option<(u64, bool)>,
    /// The number of the last attempt, once it ended.
    pub(crate) last_attempt: u32,
    /// Attempts that failed and were followed by another.
    pub(crate) failed: BTreeMap<u32, FailureKind>,
}

/// The steps of one run, as its history has them.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunHistory {
    /// The workflow.
    pub(crate) workflow_id: String,
    /// The run.
    pub(crate) run_id: String,
    /// Its steps.
    pub(crate) steps: BTreeMap<StepId, Recorded>,
    /// The workers that ran its code, in order, without repeats in a row.
    pub(crate) workers: Vec<String>,
}

impl RunHistory {
    /// Reads the steps off the records of one run.
    pub(crate) fn new(workflow_id: &str, records: &[Record]) -> Self {
        let run_id = records.first().map(|record| record.run_id.to_string()).unwrap_or_default();
        let mut history = Self { workflow_id: workflow_id.to_owned(), run_id, ..Self::default() };
        for record in records {
            for event in &record.events {
                history.event(event, record.at_ms);
            }
            let Some(turn) = &record.turn else { continue };
            for command in &turn.commands {
                history.command(command);
            }
            let worker = turn.worker.as_ref().map(ToString::to_string);
            if worker.is_some() && worker.as_ref() != history.workers.last() {
                history.workers.extend(worker);
            }
        }
        history
    }

    fn command(&mut self, command: &Command) {
        let Command::RunActivity(run) = command else { return };
        let action = self.step(StepId::Action(run.seq));
        (action.activity, action.asked) = (run.activity_type.to_string(), true);
        if let Some(compensation) = &run.compensation {
            self.step(StepId::Undo(run.seq)).activity = compensation.activity_type.to_string();
        }
    }

    fn event(&mut self, event: &Event, at_ms: u64) {
        match event {
            Event::AttemptFailed { step, attempt, failure, .. } => {
                self.step(*step).failed.insert(*attempt, failure.kind);
            }
            Event::ActivityCompleted { seq, attempt, .. } => {
                let step = self.step(StepId::Action(*seq));
                (step.ended, step.last_attempt) = (Some((at_ms, true)), *attempt);
            }
            Event::ActivityFailed { seq, attempt, .. } => {
                let step = self.step(StepId::Action(*seq));
                (step.ended, step.last_attempt) = (Some((at_ms, false)), *attempt);
            }
            Event::CompensationStarted { seq } => self.step(StepId::Undo(*seq)).asked = true,
            Event::ActivityCancelled { seq } => self.ends_after_failed(StepId::Action(*seq), at_ms, false),
            Event::CompensationCompleted { seq } => self.ends_after_failed(StepId::Undo(*seq), at_ms, true),
            Event::CompensationFailed { seq, .. } => self.ends_after_failed(StepId::Undo(*seq), at_ms, false),
            Event::RunStarted(_)
            | Event::SignalReceived { .. }
            | Event::CancelRequested { .. }
            | Event::RunTerminated { .. }
            | Event::RunTimedOut { .. }
            | Event::AttemptStarted { .. }
            | Event::AttemptRefused { .. }
            | Event::AttemptScheduled { .. }
            | Event::TimerFired { .. }
            | Event::CompensationResolved { .. }
            | Event::CompensationsFinished { .. } => {}
        }
    }

    /// An end that does not carry its attempt: it is the one after the last that failed.
    fn ends_after_failed(&mut self, step: StepId, at_ms: u64, result: bool) {
        let step = self.step(step);
        step.ended = Some((at_ms, result));
        step.last_attempt = step.failed.keys().next_back().copied().unwrap_or_default() + 1;
    }

    fn step(&mut self, step: StepId) -> &mut Recorded {
        self.steps.entry(step).or_default()
    }
}

/// What is wrong with the ledger, given the histories and the processes that were killed. Empty when
/// no step whose result had been recorded was executed again, every repetition has its reason, and
/// every recorded result has its execution.
pub(crate) fn findings(histories: &[RunHistory], ledger: &[Entry], killed: &BTreeSet<u32>) -> Vec<String> {
    let mut findings = Vec::new();
    let mut known = BTreeSet::new();
    for history in histories {
        for (step, recorded) in &history.steps {
            let key = (history.run_id.clone(), step.to_string());
            let entries: Vec<&Entry> = ledger.iter().filter(|entry| belongs(entry, &key)).collect();
            let name = format!("{} step {step} ({})", history.workflow_id, recorded.activity);
            findings.extend(
                step_findings(recorded, &entries, killed).into_iter().map(|text| format!("{name}: {text}")),
            );
            known.insert(key);
        }
    }
    for entry in ledger {
        if !known.contains(&(entry.run_id.clone(), entry.step.clone())) {
            findings.push(format!(
                "{} step {} ({}) was executed, but no history asks for it",
                entry.workflow_id, entry.step, entry.activity
            ));
        }
    }
    findings
}

fn belongs(entry: &Entry, (run_id, step): &StepKey) -> bool {
    entry.run_id == *run_id && entry.step == *step
}

/// How far the clocks of those that note times may be apart: activities note the wall clock, and an orchestrator
/// goes by one of its own.
const CLOCKS_APART_MS: u64 = 100;

fn step_findings(recorded: &Recorded, entries: &[&Entry], killed: &BTreeSet<u32>) -> Vec<String> {
    let mut findings = Vec::new();
    if !recorded.asked && !entries.is_empty() {
        findings.push("it was executed, but never put on its queue".to_owned());
    }
    let mut attempts: BTreeMap<u32, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        attempts.entry(entry.attempt).or_default().push(entry);
        if entry.activity != recorded.activity {
            findings
                .push(format!("the history asks for {}, {} was executed", recorded.activity, entry.activity));
        }
    }
    for (attempt, entries) in &attempts {
        let started: Vec<&&Entry> = entries.iter().filter(|entry| entry.phase == Phase::Started).collect();
        if started.len() > 1 {
            findings.push(format!("attempt {attempt} was executed {} times", started.len()));
        }
        let Some((ended_ms, _)) = recorded.ended else { continue };
        if started.iter().any(|entry| entry.at_ms > ended_ms + CLOCKS_APART_MS) {
            findings.push(format!("attempt {attempt} began after the end of the step had been recorded"));
        }
        if *attempt > recorded.last_attempt {
            findings.push(format!(
                "attempt {attempt} was executed, but the step ended with attempt {}",
                recorded.last_attempt
            ));
        } else if *attempt < recorded.last_attempt {
            findings.extend(unexplained(*attempt, recorded, entries, killed));
        }
    }
    if let Some((_, true)) = recorded.ended {
        let last = attempts.get(&recorded.last_attempt);
        let has = |phase| last.is_some_and(|entries| entries.iter().any(|entry| entry.phase == phase));
        if !has(Phase::Started) || !has(Phase::Finished) {
            findings.push(format!(
                "a result of attempt {} is recorded, but it was not executed",
                recorded.last_attempt
            ));
        }
    }
    findings
}

/// Why an attempt that was followed by another should not have been.
fn unexplained(
    attempt: u32,
    recorded: &Recorded,
    entries: &[&Entry],
    killed: &BTreeSet<u32>,
) -> Option<String> {
    match recorded.failed.get(&attempt) {
        None => {
            Some(format!("attempt {attempt} was followed by another, and the history has no failure of it"))
        }
        Some(FailureKind::Lost) if entries.iter().any(|entry| !killed.contains(&entry.pid)) => {
            Some(format!("attempt {attempt} counts as lost, but its process was not killed"))
        }
        Some(FailureKind::Application) if !entries.iter().any(|entry| entry.phase == Phase::Failed) => {
            Some(format!("attempt {attempt} counts as failed, but its activity did not say so"))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests;
