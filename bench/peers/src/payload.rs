//! The payloads of 200 bytes that every message carries, as in Stepwell's benchmark.

use serde::{Deserialize, Serialize};

/// Bytes of a payload's JSON text.
pub(crate) const PAYLOAD_BYTES: usize = 200;

/// What a workflow is to do, padded to [`PAYLOAD_BYTES`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) steps: u32,
    /// Whether the worker that does the steps notes the time between them.
    pub(crate) timed: bool,
    filler: String,
}

/// What a step gets and returns, padded to [`PAYLOAD_BYTES`].
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

/// Text whose JSON form, with its quotes, has [`PAYLOAD_BYTES`].
pub(crate) fn text() -> String {
    filler(PAYLOAD_BYTES - 2)
}

fn padded<T: Serialize>(make: impl Fn(String) -> T) -> T {
    let empty = serde_json::to_string(&make(String::new())).map_or(0, |text| text.len());
    make(filler(PAYLOAD_BYTES.saturating_sub(empty)))
}

fn filler(len: usize) -> String {
    "stepwell ".chars().cycle().take(len).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_the_size_that_is_said() {
        let plan = Plan::new(1_000, true);
        assert_eq!(serde_json::to_string(&plan).unwrap().len(), PAYLOAD_BYTES);
        assert_eq!(serde_json::to_string(&plan.step(999)).unwrap().len(), PAYLOAD_BYTES);
        assert_eq!(serde_json::to_string(&text()).unwrap().len(), PAYLOAD_BYTES);
    }
}
