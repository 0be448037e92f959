//! What the core refuses: records that cannot follow, and answers of workflow code that break the rules.

use thiserror::Error;

/// A stored record does not fit the run that the records before it make. Either it was written by a
/// newer version, or the stream was tampered with or damaged; the run is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("record {index} of run {run_id} cannot follow: {reason}")]
pub struct IllegalRecord {
    /// The record's run.
    pub run_id: String,
    /// The record's index.
    pub index: u64,
    /// What does not fit.
    pub reason: String,
}

/// Workflow code, or the worker in its place, answered with commands that cannot be carried out. The run
/// is stalled with this text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("command {position} of the answer cannot be carried out: {reason}")]
pub struct InvalidTurn {
    /// The command's place in the answer, from 1.
    pub position: usize,
    /// What is wrong with it and what to do.
    pub reason: String,
}
