//! Stable codes of everything that Stepwell refuses. A code never changes its meaning and is never used
//! again; `docs/errors.md` says what to do about each.

use serde::{Deserialize, Serialize};

/// Why something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The subject is not one that Stepwell knows.
    MalformedSubject,
    /// The body is not the JSON that the subject wants.
    MalformedBody,
    /// The body's version is not one that this orchestrator reads.
    UnknownVersion,
    /// An id or name is empty, too long or holds what is not allowed.
    InvalidId,
    /// A payload or the message is larger than allowed.
    PayloadTooLarge,
    /// A timeout or policy cannot be carried out.
    InvalidOptions,
    /// The workflow id has an open run already.
    AlreadyOpen,
    /// There is no such workflow.
    NotFound,
    /// The run is closed.
    AlreadyClosed,
    /// The report is about an attempt that is over.
    AttemptOver,
    /// The report names a run or step that does not exist.
    UnknownStep,
    /// The report's token is not the one that the task carried.
    WrongToken,
    /// No compensation of that number waits for a decision.
    NotStuck,
    /// The namespace takes no new work: its storage is full.
    StorageFull,
    /// No orchestrator or worker answered in time.
    Unavailable,
    /// The query could not be answered.
    QueryFailed,
    /// Stepwell contradicted itself; please report it.
    Internal,
}

impl ErrorCode {
    /// The code as written in JSON, tables and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MalformedSubject => "malformed_subject",
            Self::MalformedBody => "malformed_body",
            Self::UnknownVersion => "unknown_version",
            Self::InvalidId => "invalid_id",
            Self::PayloadTooLarge => "payload_too_large",
            Self::InvalidOptions => "invalid_options",
            Self::AlreadyOpen => "already_open",
            Self::NotFound => "not_found",
            Self::AlreadyClosed => "already_closed",
            Self::AttemptOver => "attempt_over",
            Self::UnknownStep => "unknown_step",
            Self::WrongToken => "wrong_token",
            Self::NotStuck => "not_stuck",
            Self::StorageFull => "storage_full",
            Self::Unavailable => "unavailable",
            Self::QueryFailed => "query_failed",
            Self::Internal => "internal",
        }
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
