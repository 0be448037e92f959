//! What is in the payloads of the peers' workflows: of the same size as in Stepwell's benchmark.

use serde::{Deserialize, Serialize};
use stepwell_bench_measure::payload::padded;

/// What a workflow is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) steps: u32,
    /// Whether the worker that does the steps notes the time between them.
    pub(crate) timed: bool,
    filler: String,
}

/// What a step gets and returns.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Step {
    /// Its place in the workflow, from 0.
    pub(crate) number: u32,
    pub(crate) timed: bool,
    filler: String,
}

impl Plan {
    pub(crate) fn new(steps: u32, timed: bool) -> Self {
        padded(|filler| Self { steps, timed, filler })
    }

    /// The step in this place.
    pub(crate) fn step(&self, number: u32) -> Step {
        padded(|filler| Step { number, timed: self.timed, filler })
    }
}
