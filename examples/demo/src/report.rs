//! The table at the end: every run, how it ended, how often each step was executed, what was resumed.

use std::collections::BTreeMap;

use comfy_table::{ContentArrangement, Table, presets};
use document_pipeline::workflow::Outcome;
use example_ledger::{Entry, Phase};
use stepwell_shared::failure::FailureKind;
use stepwell_shared::ids::StepId;
use stepwell_shared::summary::RunSummary;

use crate::proof::RunHistory;

/// Widest that the table is made when the terminal does not say.
const WIDTH: u16 = 140;

/// The table of all runs. `orchestrator_kills` are the times at which it was killed.
pub(crate) fn table(
    runs: &[RunSummary],
    histories: &[RunHistory],
    ledger: &[Entry],
    orchestrator_kills: &[u64],
) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    if table.width().is_none() {
        table.set_width(WIDTH);
    }
    table.set_header(["run", "status", "steps and how often each was executed", "resumed"]);
    for summary in runs {
        let history = histories.iter().find(|history| history.run_id == summary.run_id.as_str());
        let executed = history.map(|history| executed(history, ledger)).unwrap_or_default();
        let resumed =
            history.map(|history| resumed(summary, history, orchestrator_kills)).unwrap_or_default();
        let status = format!("{}\n{}", summary.status.name(), detail(summary));
        table.add_row([summary.workflow_id.to_string(), status, executed, resumed]);
    }
    table.to_string()
}

/// What the status alone does not say: why it failed, or what became of the document.
fn detail(summary: &RunSummary) -> String {
    let outcome = summary.result.as_ref().and_then(|result| result.decode::<Outcome>().ok());
    match (outcome, &summary.failure) {
        (Some(Outcome::Saved { .. }), _) => "saved".to_owned(),
        (Some(Outcome::Rejected { timed_out: true }), _) => "rejected by timeout".to_owned(),
        (Some(Outcome::Rejected { timed_out: false }), _) => "rejected".to_owned(),
        (None, Some(failure)) => failure.error_type.clone(),
        (None, None) => String::new(),
    }
}

/// `fetch_document 1× · embed_chunk 49 steps 1×, 1 step 2×`
fn executed(history: &RunHistory, ledger: &[Entry]) -> String {
    let mut by_activity: BTreeMap<(u32, &str), BTreeMap<usize, usize>> = BTreeMap::new();
    for (step, recorded) in history.steps.iter().filter(|(_, recorded)| recorded.asked) {
        let step_name = step.to_string();
        let times = ledger.iter().filter(|entry| {
            entry.phase == Phase::Started && entry.run_id == history.run_id && entry.step == step_name
        });
        // In the order in which they were first asked for: actions, then what undid them, last first.
        let first = history.steps.iter().find(|(_, other)| other.activity == recorded.activity);
        let order = first.map_or(0, |(step, _)| match step {
            StepId::Action(seq) => *seq,
            StepId::Undo(seq) => u32::MAX - *seq,
        });
        let counts = by_activity.entry((order, &recorded.activity)).or_default();
        *counts.entry(times.count()).or_default() += 1;
    }
    let parts = by_activity.into_iter().map(|((_, activity), counts)| {
        let counts = counts.into_iter().map(|(times, steps)| match steps {
            1 => format!("{times}×"),
            _ => format!("{steps} steps {times}×"),
        });
        format!("{activity} {}", counts.collect::<Vec<_>>().join(", "))
    });
    parts.collect::<Vec<_>>().join(" · ")
}

fn resumed(summary: &RunSummary, history: &RunHistory, orchestrator_kills: &[u64]) -> String {
    let mut parts = Vec::new();
    let mut lost: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (step, recorded) in &history.steps {
        if recorded.failed.values().any(|kind| *kind == FailureKind::Lost) {
            lost.entry(&recorded.activity).or_default().push(step.to_string());
        }
    }
    if !lost.is_empty() {
        let lost =
            lost.into_iter().map(|(activity, steps)| format!("{activity} (step {})", steps.join(", ")));
        let lost = lost.collect::<Vec<_>>().join(", ");
        parts.push(format!("executed again after its worker was killed: {lost}"));
    }
    if history.workers.len() > 1 {
        parts.push("code replayed in another worker".to_owned());
    }
    let closed = summary.closed_at_ms.unwrap_or(u64::MAX);
    let survived =
        orchestrator_kills.iter().filter(|at| summary.started_at_ms < **at && **at < closed).count();
    if survived > 0 {
        parts.push("outlived an orchestrator".to_owned());
    }
    parts.join("; ")
}
