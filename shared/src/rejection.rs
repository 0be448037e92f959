//! What happens to a message that cannot be taken in: it is set aside on the REJECTED stream with a
//! reason, and its sender is told if it asked to be.

use serde::{Deserialize, Serialize};

use crate::error_code::ErrorCode;

/// A message that was set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// Format version.
    pub v: u32,
    /// The kind of reason.
    pub code: ErrorCode,
    /// What was found and what to do.
    pub message: String,
    /// The subject that it was published to, as stored.
    pub subject: String,
    /// Its sequence number on the EVENTS stream.
    pub sequence: u64,
    /// When it was rejected, in milliseconds since 1970.
    pub at_ms: u64,
    /// The size of its body in bytes.
    pub size: usize,
    /// The beginning of its body, with what is not UTF-8 replaced.
    pub preview: String,
}
