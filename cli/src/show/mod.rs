//! Answers of the API as text for people. Pure: what is shown depends on what is given alone.

mod description;
mod events;
mod history;
mod runs;
#[cfg(test)]
mod tests;

pub(crate) use description::description;
pub(crate) use history::HistoryView;
pub(crate) use runs::{obstacle, runs, standing, workers};

/// Longest value in a table, in characters; JSON output has all of it.
const VALUE_LIMIT: usize = 120;
