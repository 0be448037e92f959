//! The payloads of 200 bytes that every message carries.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Bytes of a payload's JSON text.
pub(crate) const PAYLOAD_BYTES: usize = 200;

/// Text whose JSON form, with its quotes, has [`PAYLOAD_BYTES`].
pub(crate) fn text() -> String {
    filler(PAYLOAD_BYTES - 2)
}

/// What a workflow is to do, padded to [`PAYLOAD_BYTES`].
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
        Self::new(count, 0)
    }

    pub(crate) fn sleep(delay_ms: u64) -> Self {
        Self::new(0, delay_ms)
    }

    fn new(count: u32, delay_ms: u64) -> Self {
        let empty = format!(r#"{{"count":{count},"delay_ms":{delay_ms},"filler":""}}"#).len();
        Self { count, delay_ms, filler: filler(PAYLOAD_BYTES - empty) }
    }
}

/// A moment of this machine's clock, padded to [`PAYLOAD_BYTES`].
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
        let empty = format!(r#"{{"at_ns":{at_ns},"filler":""}}"#).len();
        Self { at_ns, filler: filler(PAYLOAD_BYTES - empty) }
    }
}

fn filler(len: usize) -> String {
    "stepwell ".chars().cycle().take(len).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_the_size_that_is_said() {
        for plan in [Plan::activities(1), Plan::activities(1_000), Plan::sleep(12_345)] {
            assert_eq!(serde_json::to_string(&plan).unwrap().len(), PAYLOAD_BYTES);
        }
        assert_eq!(serde_json::to_string(&Stamp::now()).unwrap().len(), PAYLOAD_BYTES);
        assert_eq!(serde_json::to_string(&text()).unwrap().len(), PAYLOAD_BYTES);
    }
}
