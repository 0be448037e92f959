//! What is in the payloads of the benchmark's workflows.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use stepwell_bench_measure::payload::padded;

/// What a workflow is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// How many activities.
    pub(crate) count: u32,
    /// How long to sleep, or until when, in milliseconds since 1970.
    pub(crate) delay_ms: u64,
    filler: String,
}

impl Plan {
    pub(crate) fn activities(count: u32) -> Self {
        padded(|filler| Self { count, delay_ms: 0, filler })
    }

    pub(crate) fn sleep(delay_ms: u64) -> Self {
        padded(|filler| Self { count: 0, delay_ms, filler })
    }
}

/// A moment of this machine's clock.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// Nanoseconds since 1970.
    pub(crate) at_ns: u64,
    filler: String,
}

impl Stamp {
    pub(crate) fn now() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ns = u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX);
        padded(|filler| Self { at_ns, filler })
    }
}
