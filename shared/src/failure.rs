//! Failures as recorded data: what went wrong, whether to try again, and what caused it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::{MAX_FAILURE_BYTES, MAX_FAILURE_DEPTH, MAX_FAILURE_TEXT_BYTES, MAX_PAYLOAD_BYTES};
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

    /// Cut to what is recorded of a failure: [`MAX_FAILURE_TEXT_BYTES`] of each text, [`MAX_FAILURE_DEPTH`]
    /// causes, [`MAX_PAYLOAD_BYTES`] of details, and [`MAX_FAILURE_BYTES`] of all of it together, where the
    /// outer comes before its causes. The message says which details were left out.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.cut_texts();
        self.fit(1, MAX_FAILURE_BYTES);
        self
    }

    /// With a remark after the message, which stays within its bound.
    #[must_use]
    pub fn noting(mut self, remark: &str) -> Self {
        self.note(remark);
        self
    }

    /// The size of its own texts and fields in JSON, without details and cause; never less than it is.
    #[must_use]
    pub fn own_bytes(&self) -> usize {
        FIELD_BYTES + escaped_bytes(&self.error_type) + escaped_bytes(&self.message)
    }

    /// The failure, what caused it, what caused that, and so on.
    pub fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |failure| failure.cause.as_deref())
    }

    /// Leaves out details and causes beyond `room`, in which the texts of this one fit.
    fn fit(&mut self, depth: usize, room: usize) {
        let details = self.details.as_ref().map_or(0, Payload::size);
        let most = room.saturating_sub(self.own_bytes()).min(MAX_PAYLOAD_BYTES);
        if details > most {
            self.details = None;
            self.note(&format!("details of {details} bytes were left out; at most {most} are kept"));
        }
        let room = room.saturating_sub(self.own_bytes() + self.details.as_ref().map_or(0, Payload::size));
        self.cause = self.cause.take().filter(|_| depth < MAX_FAILURE_DEPTH).and_then(|mut cause| {
            cause.cut_texts();
            (cause.own_bytes() <= room).then(|| {
                cause.fit(depth + 1, room);
                cause
            })
        });
    }

    fn cut_texts(&mut self) {
        cut(&mut self.error_type, MAX_FAILURE_TEXT_BYTES);
        cut(&mut self.message, MAX_FAILURE_TEXT_BYTES);
    }

    fn note(&mut self, remark: &str) {
        let remark = format!(" [{remark}]");
        cut(&mut self.message, MAX_FAILURE_TEXT_BYTES.saturating_sub(remark.len() + ELLIPSIS.len_utf8()));
        self.message.push_str(&remark);
    }
}

/// Stands where text was cut.
const ELLIPSIS: char = '…';

/// The names and the other fields of a failure, without texts, details and cause, and a remark.
const FIELD_BYTES: usize = 256;

/// A text for people as it is recorded: cut at [`MAX_FAILURE_TEXT_BYTES`].
#[must_use]
pub fn recorded_text(text: &str) -> String {
    let mut text = text.to_owned();
    cut(&mut text, MAX_FAILURE_TEXT_BYTES);
    text
}

/// How many bytes a text has as a JSON string, without the quotes.
#[must_use]
pub fn escaped_bytes(text: &str) -> usize {
    let of_byte = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..=0x1f => 6,
        _ => 1,
    };
    text.bytes().map(of_byte).sum()
}

fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        let mut end = most;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push(ELLIPSIS);
    }
}
