//! What was found, as text and as JSON.

use serde::Serialize;
use serde_json::Value;

use crate::text;

/// Width of the sentences on costs, in characters.
const COST_WIDTH: usize = 80;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// It works, and may not for long, or not well.
    Warning,
    /// It does not work.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// What was looked at.
    pub(super) name: String,
    /// How bad it is.
    pub(super) status: Status,
    /// What was found.
    pub(super) found: String,
    /// What to do, if there is something to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
    /// Numbers for programs, where there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) details: Option<Value>,
}

/// What failures would cost, in plain words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Durability {
    /// A process is killed.
    pub(super) process_kill: String,
    /// A machine is gone.
    pub(super) node_loss: String,
    /// The power fails.
    pub(super) power_cut: String,
}

/// Everything that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    /// In the order in which it was looked at.
    pub(super) checks: Vec<Check>,
    /// Missing when the streams could not be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) durability: Option<Durability>,
}

impl Report {
    pub(super) fn new() -> Self {
        Self { checks: Vec::new(), durability: None }
    }

    pub(super) fn ok(&mut self, name: &str, found: impl Into<String>) {
        self.push(name, Status::Ok, found.into(), None);
    }

    pub(super) fn note(&mut self, name: &str, found: impl Into<String>, advice: &str) {
        self.push(name, Status::Note, found.into(), Some(advice));
    }

    pub(super) fn warning(&mut self, name: &str, found: impl Into<String>, advice: &str) {
        self.push(name, Status::Warning, found.into(), Some(advice));
    }

    pub(super) fn problem(&mut self, name: &str, found: impl Into<String>, advice: &str) {
        self.push(name, Status::Problem, found.into(), Some(advice));
    }

    /// Adds numbers to what was said last.
    pub(super) fn details(&mut self, details: Value) {
        if let Some(last) = self.checks.last_mut() {
            last.details = Some(details);
        }
    }

    pub(super) fn problems(&self) -> usize {
        self.checks.iter().filter(|check| check.status == Status::Problem).count()
    }

    pub(super) fn text(&self) -> String {
        let width = self.checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
        let mut lines = Vec::new();
        for check in &self.checks {
            let mark = match check.status {
                Status::Ok => "ok     ",
                Status::Note => "note   ",
                Status::Warning => "WARNING",
                Status::Problem => "PROBLEM",
            };
            lines.push(format!("{mark}  {:<width$}  {}", check.name, text::line(&check.found)));
            if let Some(advice) = &check.advice {
                lines.push(format!("{:<9}{:<width$}  {}", "", "", text::line(advice)));
            }
        }
        if let Some(durability) = &self.durability {
            lines.push(String::new());
            lines.push("What failures would cost".into());
            let indent = " ".repeat(20);
            let mut line = |failure, cost| {
                lines.push(format!("  {failure:<18}{}", text::wrap(cost, COST_WIDTH, &indent)));
            };
            line("a killed process", &durability.process_kill);
            line("a lost node", &durability.node_loss);
            line("a power cut", &durability.power_cut);
        }
        lines.join("\n")
    }

    fn push(&mut self, name: &str, status: Status, found: String, advice: Option<&str>) {
        let advice = advice.filter(|advice| !advice.is_empty()).map(str::to_owned);
        self.checks.push(Check { name: name.to_owned(), status, found, advice, details: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_lines_up_and_names_what_to_do() {
        let mut report = Report::new();
        report.ok("server", "nats-server 2.15.1");
        report.problem("workers", "none", "start one");
        assert_eq!(report.problems(), 1);
        assert_eq!(
            report.text(),
            "ok       server   nats-server 2.15.1\nPROBLEM  workers  none\n                  start one"
        );
    }
}
