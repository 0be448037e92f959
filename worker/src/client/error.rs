//! What can go wrong between a client and a workflow.

use stepwell_connection::chunked;
use stepwell_encryption::PayloadError;
use stepwell_shared::api::ApiError;
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::failure::Failure;
use stepwell_shared::ids::{InvalidId, RunId};
use stepwell_shared::summary::Status;
use thiserror::Error;

/// Why a workflow was not started, or is not known to be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StartError {
    /// The workflow id has an open run.
    #[error("workflow {id:?} has an open run already: {run_id}")]
    AlreadyOpen {
        /// The workflow id.
        id: String,
        /// Its open run.
        run_id: RunId,
    },
    /// Anything else; the same as other requests.
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// Why a request had no effect, or is not known to have had one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// The orchestrator refused it.
    #[error(transparent)]
    Rejected(#[from] ApiError),
    /// An id or name in it is not valid; it was not sent.
    #[error("the request was not sent: {0}")]
    Invalid(#[from] InvalidId),
    /// A value in it could not be encoded or encrypted, or is too large; it was not sent.
    #[error("the request was not sent: {0}")]
    Payload(String),
    /// An answer could not be read.
    #[error("the answer cannot be read: {0}")]
    Answer(String),
    /// No orchestrator answered in time.
    #[error("{}: {reason}", if *.stored {
        "the request is stored and will be carried out, but no orchestrator confirmed it in time"
    } else {
        "the request was not carried out, as far as is known"
    })]
    Unavailable {
        /// Whether it is certain that the request is stored, so that it will take effect once an
        /// orchestrator runs.
        stored: bool,
        /// What was seen.
        reason: String,
    },
}

/// Why a workflow has no result.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ResultError {
    /// The run is closed and did not complete.
    #[error("the workflow is {}{}", .status.name(), .failure.as_ref().map_or(String::new(), |failure| format!(": {failure}")))]
    Failed {
        /// How it ended.
        status: Status,
        /// Why.
        failure: Option<Failure>,
    },
    /// There is no such run, or it is so old that it was deleted.
    #[error("there is no workflow {id:?}{}", .run_id.as_ref().map_or(String::new(), |run| format!(" with run {run}")))]
    NotFound {
        /// The workflow id.
        id: String,
        /// The run, if a certain one was asked for.
        run_id: Option<RunId>,
    },
    /// The result is not what the handle expects.
    #[error("the result is not a `{expected}`: {reason}")]
    Type {
        /// The Rust type.
        expected: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The run could not be looked at.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl StartError {
    /// The stable code of the refusal, if the orchestrator refused.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::AlreadyOpen { .. } => Some(ErrorCode::AlreadyOpen),
            Self::Request(error) => error.code(),
        }
    }
}

impl RequestError {
    /// The stable code of the refusal, if the orchestrator refused.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Rejected(error) => Some(error.code),
            Self::Invalid(_) => Some(ErrorCode::InvalidId),
            Self::Payload(_) | Self::Answer(_) | Self::Unavailable { .. } => None,
        }
    }

    pub(crate) fn unavailable(stored: bool, reason: impl Into<String>) -> Self {
        Self::Unavailable { stored, reason: reason.into() }
    }
}

impl From<PayloadError> for RequestError {
    /// Of something that was not sent.
    fn from(error: PayloadError) -> Self {
        Self::Payload(error.to_string())
    }
}

impl From<chunked::RequestError> for RequestError {
    fn from(error: chunked::RequestError) -> Self {
        match error {
            chunked::RequestError::NoResponders => {
                Self::unavailable(false, "no orchestrator runs in this namespace; start one")
            }
            chunked::RequestError::TimedOut { .. } | chunked::RequestError::NotSent { .. } => {
                Self::unavailable(false, error.to_string())
            }
        }
    }
}
