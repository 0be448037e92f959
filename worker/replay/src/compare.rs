//! Whether the code asked for what the history says it asked for, and, when not, a text that shows both
//! side by side.
//!
//! Commands are compared by shape: what kind, which number, which activity on which queue, who won.
//! Inputs, options, delays and results may differ; the recorded ones count.

use std::fmt::Write;

use stepwell_shared::command::Command;

use crate::duration::show_ms;
use crate::run::Asked;
use crate::stalled::Stalled;

/// How many commands before and after the first difference are shown.
const SHOWN_AROUND: usize = 3;

/// Longest failure text that is shown of a closing command, in characters.
const SHOWN_FAILURE_CHARS: usize = 80;

/// Compares one recorded turn with what the code asked for.
pub(crate) fn compare(record: u64, recorded: &[Command], asked: &[Asked]) -> Result<(), Stalled> {
    let same = |(left, right): &(&Command, &Asked)| same_shape(left, &right.command);
    let equal = recorded.iter().zip(asked).take_while(same).count();
    if equal == recorded.len() && equal == asked.len() {
        return Ok(());
    }
    Err(Stalled::nondeterminism(difference(record, recorded, asked, equal)))
}

/// What it means to ask for the same.
fn same_shape(recorded: &Command, asked: &Command) -> bool {
    match (recorded, asked) {
        (Command::RunActivity(left), Command::RunActivity(right)) => {
            (left.seq, &left.activity_type, &left.queue) == (right.seq, &right.activity_type, &right.queue)
        }
        (Command::CancelActivity { seq: left }, Command::CancelActivity { seq: right })
        | (Command::StartTimer { seq: left, .. }, Command::StartTimer { seq: right, .. })
        | (Command::CancelTimer { seq: left }, Command::CancelTimer { seq: right })
        | (Command::Pivot { seq: left }, Command::Pivot { seq: right })
        | (Command::Compensate { seq: left }, Command::Compensate { seq: right }) => left == right,
        (Command::RaceWon { seq, winner }, Command::RaceWon { seq: other_seq, winner: other_winner }) => {
            (seq, winner) == (other_seq, other_winner)
        }
        (Command::CompleteRun { .. }, Command::CompleteRun { .. })
        | (Command::FailRun { .. }, Command::FailRun { .. })
        | (Command::CancelRun { .. }, Command::CancelRun { .. }) => true,
        (
            Command::RunActivity(_)
            | Command::CancelActivity { .. }
            | Command::StartTimer { .. }
            | Command::CancelTimer { .. }
            | Command::RaceWon { .. }
            | Command::Pivot { .. }
            | Command::Compensate { .. }
            | Command::CompleteRun { .. }
            | Command::FailRun { .. }
            | Command::CancelRun { .. },
            _,
        ) => false,
    }
}

fn difference(record: u64, recorded: &[Command], asked: &[Asked], at: usize) -> String {
    let left = recorded.get(at).map(show);
    let right = asked.get(at).map(show_asked);
    let what = match (&left, &right) {
        (Some(left), Some(right)) => format!("history has {left}; the code did {right}"),
        (Some(left), None) => format!("history has {left}; the code did nothing more"),
        (None, Some(right)) => format!("history has nothing more; the code did {right}"),
        (None, None) => "no difference".to_owned(),
    };
    let mut text =
        format!("the code does not do what history says it did. Record {record}, command {}: {what}", at + 1);
    text += "\n";
    table(&mut text, recorded, asked, at);
    text += "Nothing was recorded. Deploy the code that this run started with, or code that asks for the same \
             things in the same order up to here, and the run goes on by itself; usual causes are a changed \
             workflow, the system's clock or random numbers instead of ctx.now and ctx.random, and iteration \
             over a HashMap";
    text
}

fn table(text: &mut String, recorded: &[Command], asked: &[Asked], at: usize) {
    let first = at.saturating_sub(SHOWN_AROUND);
    let end = recorded.len().max(asked.len()).min(at + 1 + SHOWN_AROUND);
    let rows: Vec<(String, String)> = (first..end)
        .map(|index| {
            let cell = |shown: Option<String>| shown.unwrap_or_else(|| "-".to_owned());
            (cell(recorded.get(index).map(show)), cell(asked.get(index).map(|asked| show(&asked.command))))
        })
        .collect();
    let width = rows.iter().map(|(left, _)| left.chars().count()).max().unwrap_or(0).max("history".len());
    // Writing to a String cannot fail.
    let _ = writeln!(text, "       # {:width$}  code", "history");
    for (offset, (left, right)) in rows.iter().enumerate() {
        let index = first + offset;
        let mark = if index == at { '>' } else { ' ' };
        let _ = writeln!(text, "{mark} {:>6} {left:width$}  {right}", index + 1);
    }
}

fn show_asked(asked: &Asked) -> String {
    let place = asked.at.map(|at| format!(" (at {at})")).unwrap_or_default();
    format!("{}{place}", show(&asked.command))
}

/// One command, on one line, for a person.
pub(crate) fn show(command: &Command) -> String {
    match command {
        Command::RunActivity(run) => {
            format!("run_activity #{} `{}` on queue `{}`", run.seq, run.activity_type, run.queue)
        }
        Command::CancelActivity { seq } => format!("cancel_activity #{seq}"),
        Command::StartTimer { seq, delay_ms } => format!("start_timer #{seq} {}", show_ms(*delay_ms)),
        Command::CancelTimer { seq } => format!("cancel_timer #{seq}"),
        Command::RaceWon { seq, winner } => format!("race_won #{seq} by branch {winner}"),
        Command::Pivot { seq } => format!("pivot #{seq}"),
        Command::Compensate { seq } => format!("compensate #{seq}"),
        Command::CompleteRun { .. } => "complete_run".to_owned(),
        Command::FailRun { failure } => format!("fail_run ({})", cut(&failure.to_string())),
        Command::CancelRun { failure } => format!("cancel_run ({})", cut(&failure.to_string())),
    }
}

/// The first line, shortened.
fn cut(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= SHOWN_FAILURE_CHARS {
        return line.to_owned();
    }
    line.chars().take(SHOWN_FAILURE_CHARS).chain(['…']).collect()
}
