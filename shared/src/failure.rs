//! Failures as recorded data: what went wrong, whether to try again, and what caused it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::{MAX_FAILURE_DEPTH, MAX_FAILURE_TEXT_BYTES};
use crate::payload::Payload;

/// A failure that survives restarts and crosses languages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("{error_type}: {message}")]
pub struct Failure {
    /// Which part of the system saw it, and so what it says about the work.
    pub kind: FailureKind,
    /// The user's own word for it, such as `CardDeclined`; what `non_retryable` lists name.
    #[serde(rename = "type")]
    pub error_type: String,
    /// For a person.
    pub message: String,
    /// True when the code that failed knows that trying again is useless.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub non_retryable: bool,
    /// Wait this long before the next attempt, instead of what the policy says; milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_retry_delay_ms: Option<u64>,
    /// Data for the code that handles it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::payload::present")]
    pub details: Option<Payload>,
    /// What led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Box<Failure>>,
}

/// Which part of the system saw a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The user's code returned an error.
    Application,
    /// The user's code panicked.
    Panic,
    /// One attempt took longer than `start_to_close`.
    StartToClose,
    /// The activity sent no heartbeat for longer than `heartbeat_timeout`.
    Heartbeat,
    /// No worker took the task within `schedule_to_start`.
    ScheduleToStart,
    /// The activity with all its attempts took longer than `schedule_to_close`.
    ScheduleToClose,
    /// The worker that held the attempt is gone; what it did is unknown.
    Lost,
    /// It was cancelled.
    Cancelled,
    /// The run took longer than its `run_timeout` or `execution_timeout`.
    RunTimeout,
    /// The run was ended by an operator without asking the code.
    Terminated,
    /// A value could not be encoded or decoded, or was too large.
    Payload,
}

impl FailureKind {
    /// Whether another attempt makes sense at all.
    #[must_use]
    pub fn retryable(self) -> bool {
        match self {
            Self::Application | Self::Panic | Self::StartToClose | Self::Heartbeat | Self::Lost => true,
            Self::ScheduleToStart
            | Self::ScheduleToClose
            | Self::Cancelled
            | Self::RunTimeout
            | Self::Terminated
            | Self::Payload => false,
        }
    }

    /// The failure type given to failures that have no type of the user's.
    #[must_use]
    pub fn default_type(self) -> &'static str {
        match self {
            Self::Application => "ApplicationError",
            Self::Panic => "Panic",
            Self::StartToClose => "StartToCloseTimeout",
            Self::Heartbeat => "HeartbeatTimeout",
            Self::ScheduleToStart => "ScheduleToStartTimeout",
            Self::ScheduleToClose => "ScheduleToCloseTimeout",
            Self::Lost => "WorkerLost",
            Self::Cancelled => "Cancelled",
            Self::RunTimeout => "RunTimeout",
            Self::Terminated => "Terminated",
            Self::Payload => "PayloadError",
        }
    }
}

impl Failure {
    /// A failure of `kind` with that kind's own type name.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self::typed(kind, kind.default_type(), message)
    }

    /// A failure of `kind` with the user's own type name.
    #[must_use]
    pub fn typed(kind: FailureKind, error_type: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            error_type: error_type.into(),
            message: message.into(),
            non_retryable: false,
            next_retry_delay_ms: None,
            details: None,
            cause: None,
        }
    }

    /// A failure of the user's code from an error value: its type is the last part of the Rust type's path,
    /// and what caused it follows as far as [`MAX_FAILURE_DEPTH`].
    #[must_use]
    pub fn of_error<E: std::error::Error>(error: &E) -> Self {
        let path = std::any::type_name::<E>();
        let path = path.split('<').next().unwrap_or(path);
        let name = path.rsplit("::").next().unwrap_or(path);
        let mut failure = Self::typed(FailureKind::Application, name, error.to_string());
        failure.cause = Self::causes(error.source(), 1);
        failure
    }

    /// An error and what caused it, as a failure without a type of its own.
    #[must_use]
    pub fn of_dyn_error(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut failure = Self::new(FailureKind::Application, error.to_string());
        failure.cause = Self::causes(error.source(), 1);
        failure
    }

    fn causes(source: Option<&(dyn std::error::Error + 'static)>, depth: usize) -> Option<Box<Self>> {
        let source = source.filter(|_| depth < MAX_FAILURE_DEPTH)?;
        let mut failure = Self::new(FailureKind::Application, source.to_string());
        failure.cause = Self::causes(source.source(), depth + 1);
        Some(Box::new(failure))
    }

    /// Cut to [`MAX_FAILURE_TEXT_BYTES`] and [`MAX_FAILURE_DEPTH`], as everything that is recorded is.
    #[must_use]
    pub fn bounded(self) -> Self {
        self.bounded_at(1)
    }

    fn bounded_at(mut self, depth: usize) -> Self {
        cut(&mut self.error_type);
        cut(&mut self.message);
        self.cause = match self.cause {
            Some(cause) if depth < MAX_FAILURE_DEPTH => Some(Box::new(cause.bounded_at(depth + 1))),
            Some(_) | None => None,
        };
        self
    }
}

fn cut(text: &mut String) {
    if text.len() > MAX_FAILURE_TEXT_BYTES {
        let mut end = MAX_FAILURE_TEXT_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
}
