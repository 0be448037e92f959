//! Records of a history, one row per event and per command.

use std::collections::HashMap;

use stepwell_shared::command::Command;
use stepwell_shared::history::Record;
use stepwell_shared::ids::{Name, Seq};

use super::events;
use crate::text;
use crate::times::Times;

/// Writes records, oldest first. It remembers what each step is, to name it when it ends.
pub(crate) struct HistoryView {
    times: Times,
    started_at_ms: Option<u64>,
    steps: HashMap<Seq, Name>,
}

impl HistoryView {
    /// The columns of a row.
    pub(crate) const HEADER: [&str; 4] = ["record", "time", "what", "detail"];

    pub(crate) fn new(times: Times) -> Self {
        Self { times, started_at_ms: None, steps: HashMap::new() }
    }

    /// The rows of the next record.
    pub(crate) fn rows(&mut self, record: &Record) -> Vec<[String; 4]> {
        let start = *self.started_at_ms.get_or_insert(record.at_ms);
        let mut rows = Vec::new();
        let mut row = |what: String, detail: String| {
            let first = rows.is_empty();
            let index = if first { record.index.to_string() } else { String::new() };
            let time = if first { self.times.since(start, record.at_ms) } else { String::new() };
            rows.push([index, time, what, detail]);
        };
        for event in &record.events {
            row(event.name().to_owned(), events::event(event, &self.steps));
        }
        for command in record.turn.iter().flat_map(|turn| &turn.commands) {
            if let Command::RunActivity(run) = command {
                self.steps.insert(run.seq, run.activity_type.clone());
            }
            let (what, detail) = events::command(command, &self.steps);
            row(format!("→ {what}"), detail);
        }
        if let Some(stall) = &record.stall {
            row("stalled".into(), format!("{}: {}", stall.kind.name(), stall.message));
        }
        if rows.is_empty() {
            // The code was asked and had nothing to ask for.
            rows.push([
                record.index.to_string(),
                self.times.since(start, record.at_ms),
                "→ nothing".into(),
                String::new(),
            ]);
        }
        rows
    }

    /// A row by itself, for output that goes on.
    pub(crate) fn line([index, time, what, detail]: &[String; 4]) -> String {
        text::line(&format!("{index:>6}  {time:<10}  {what:<22}  {detail}")).trim_end().to_owned()
    }
}
