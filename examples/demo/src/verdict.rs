//! The verdict: the proof about steps, the audit of the books, the ends that the runs had to have, and
//! the results that must lie on disk.

use std::collections::{BTreeSet, HashMap};

use anyhow::Result;
use document_pipeline::results;
use document_pipeline::workflow::Outcome;
use example_ledger::{Entry, Phase};
use order_saga::audit::{End, audit};
use order_saga::batch::Expected;
use order_saga::books::Books;
use order_saga::order::Order;
use stepwell_shared::failure::FailureKind;
use stepwell_shared::summary::{RunSummary, Status};

use crate::cluster::Folder;
use crate::proof::{self, RunHistory};
use crate::runs::{Run, Work};

/// A question to what was saved, and the document that must answer it.
const QUESTION: (&str, &str) =
    ("a white rabbit with a watch and a waistcoat pocket", "alice-in-wonderland.txt");

/// All that is known at the end.
pub(crate) struct Evidence {
    /// What was to be done.
    pub(crate) runs: Vec<Run>,
    /// How the runs ended.
    pub(crate) summaries: Vec<RunSummary>,
    /// What was recorded.
    pub(crate) histories: Vec<RunHistory>,
    /// What the activities did.
    pub(crate) ledger: Vec<Entry>,
    /// The processes that were killed.
    pub(crate) killed: BTreeSet<u32>,
}

/// What follows from it.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// What holds.
    pub(crate) proved: Vec<String>,
    /// What does not; empty when all is well.
    pub(crate) findings: Vec<String>,
}

/// Judges the evidence.
pub(crate) fn judge(evidence: &Evidence, folder: &Folder) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    steps(evidence, &mut verdict);
    ends(evidence, &mut verdict);
    books(evidence, &Books::open(&folder.books(), &[])?.entries()?, &mut verdict);
    saved(evidence, folder, &mut verdict)?;
    Ok(verdict)
}

fn steps(evidence: &Evidence, verdict: &mut Verdict) {
    let findings = proof::findings(&evidence.histories, &evidence.ledger, &evidence.killed);
    let recorded = evidence.histories.iter().flat_map(|history| history.steps.values());
    let results = recorded.clone().filter(|step| matches!(step.ended, Some((_, true)))).count();
    let lost =
        recorded.flat_map(|step| step.failed.values()).filter(|kind| **kind == FailureKind::Lost).count();
    if lost == 0 {
        verdict.findings.push("no step was cut off by a kill; this proves too little".to_owned());
    }
    if findings.is_empty() {
        let executions = evidence.ledger.iter().filter(|entry| entry.phase == Phase::Started).count();
        verdict.proved.push(format!(
            "{results} results were recorded, {executions} executions took place, and no step whose result had \
             been recorded was executed again"
        ));
        verdict.proved.push(format!(
            "each of the {lost} executions that were cut off had been held by a process that was killed, and was \
             repeated"
        ));
    }
    verdict.findings.extend(findings);
}

fn ends(evidence: &Evidence, verdict: &mut Verdict) {
    let mut wrong = Vec::new();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for run in &evidence.runs {
        match evidence.summaries.iter().find(|summary| summary.workflow_id.as_str() == run.id) {
            None => wrong.push(format!("{} is not closed", run.id)),
            Some(summary) => match end(run, summary) {
                Ok(kind) => *counts.entry(kind).or_default() += 1,
                Err(text) => wrong.push(format!("{} {text}", run.id)),
            },
        }
    }
    if wrong.is_empty() {
        let mut counts: Vec<String> =
            counts.into_iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        counts.sort();
        verdict.proved.push(format!("every run ended as it had to: {}", counts.join(", ")));
    }
    verdict.findings.extend(wrong);
}

/// How a run ended, in a word, or what is wrong with that.
fn end(run: &Run, summary: &RunSummary) -> Result<&'static str, String> {
    let found = || {
        let result = summary.result.as_ref().map(|result| result.json().to_owned());
        let failure = summary.failure.as_ref().map(ToString::to_string);
        format!("{} ({})", summary.status.name(), result.or(failure).unwrap_or_default())
    };
    match &run.work {
        Work::Document { approved } => {
            let outcome = summary.result.as_ref().and_then(|result| result.decode::<Outcome>().ok());
            match (approved, outcome) {
                (true, Some(Outcome::Saved { .. })) => Ok("documents saved"),
                (false, Some(Outcome::Rejected { timed_out: true })) => Ok("documents rejected by timeout"),
                (true, _) => Err(format!("should have been saved, and is {}", found())),
                (false, _) => Err(format!("should have been rejected by timeout, and is {}", found())),
            }
        }
        Work::Order { expected: Expected::Delivered, .. } => {
            let delivered = summary.status == Status::Completed;
            delivered
                .then_some("orders delivered")
                .ok_or_else(|| format!("should have been delivered, and is {}", found()))
        }
        Work::Order { expected: Expected::Undone { because }, .. } => {
            let reason = summary.failure.as_ref().map(|failure| failure.error_type.as_str());
            match (summary.status, reason) {
                (Status::Compensated, Some(reason)) if reason == *because => Ok("orders undone"),
                _ => Err(format!("should have been undone because of {because}, and is {}", found())),
            }
        }
    }
}

fn books(evidence: &Evidence, entries: &[order_saga::books::Entry], verdict: &mut Verdict) {
    let orders = evidence.runs.iter().filter_map(|run| {
        let Work::Order { order, expected } = &run.work else { return None };
        let end = match expected {
            Expected::Delivered => End::Delivered,
            Expected::Undone { .. } => End::Undone,
        };
        Some((order.clone(), end))
    });
    let orders: Vec<(Order, End)> = orders.collect();
    let findings = audit(entries, &orders);
    if findings.is_empty() {
        verdict.proved.push(format!(
            "the books of {} orders are right: every charge applied once, every undone order fully refunded, every \
             sum kept",
            orders.len()
        ));
    }
    verdict.findings.extend(findings);
}

fn saved(evidence: &Evidence, folder: &Folder, verdict: &mut Verdict) -> Result<()> {
    let approved = evidence.runs.iter().filter(|run| matches!(run.work, Work::Document { approved: true }));
    let wanted: BTreeSet<String> = approved.map(|run| run.id.clone()).collect();
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder.results())? {
        found.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    if wanted != found {
        verdict.findings.push(format!("results should be saved of {wanted:?}, and are of {found:?}"));
        return Ok(());
    }
    let (question, answer) = QUESTION;
    let (hits, _) = results::search(&folder.results(), question, 1)?;
    match hits.first() {
        Some(hit) if hit.document == answer => verdict.proved.push(format!(
            "the results of exactly the {} approved documents are saved; \"{question}\" is found in {answer}",
            wanted.len()
        )),
        hit => {
            verdict.findings.push(format!("\"{question}\" should be found in {answer}, and is in {hit:?}"))
        }
    }
    Ok(())
}
