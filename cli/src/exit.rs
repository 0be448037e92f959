//! Exit codes, and errors that know theirs. Scripts rely on the codes: one never changes its meaning.

use std::process::ExitCode;

use stepwell_connection::provision::ProvisionError;
use stepwell_connection::{ConnectError, JetStreamError};
use stepwell_shared::api::ApiError;
use stepwell_shared::error_code::ErrorCode;

use crate::text;

/// What an exit code says. `0` is success and has no place here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Something else went wrong; the text on stderr says what.
    Failure = 1,
    /// The command line or an input makes no sense.
    Usage = 2,
    /// There is no such workflow.
    NotFound = 3,
    /// The run ended, and not as completed.
    NotCompleted = 4,
    /// It took longer than the caller wanted to wait.
    Timeout = 5,
    /// The run is not in a state in which that can be done, or something else is in the way.
    Conflict = 6,
    /// The server does not let us.
    Permission = 7,
    /// There is no server, or no orchestrator.
    Unavailable = 8,
}

/// The table of exit codes in the help text.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failure
  2  the command line or an input makes no sense
  3  there is no such workflow
  4  the run ended otherwise than completed (result, start --wait)
  5  it took longer than --timeout
  6  conflict: the id has an open run, the run is closed or not stuck, or the port is taken
  7  the server refused the login, or a permission is missing
  8  no NATS server, or no orchestrator";

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    /// Nothing is printed when it is empty: what is to be said was said.
    message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// A failure about which everything has been said on stdout.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    /// With a message that was changed.
    pub(crate) fn rewritten(mut self, change: impl FnOnce(&mut String)) -> Self {
        change(&mut self.message);
        self
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Prints the message and returns the code.
    pub(crate) fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            eprintln!("error: {}", text::lines(&self.message));
        }
        ExitCode::from(self.exit as u8)
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::new(exit_of(error.code), error.to_string())
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let exit = match error {
            ConnectError::Option { .. } => Exit::Usage,
            ConnectError::Refused { .. } => Exit::Permission,
            ConnectError::Unreachable { .. } | ConnectError::Tls { .. } => Exit::Unavailable,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<ProvisionError> for Failure {
    fn from(error: ProvisionError) -> Self {
        let exit = match &error {
            ProvisionError::PartitionCount(_) | ProvisionError::ShardCount { .. } => Exit::Usage,
            ProvisionError::NoJetStream { .. } | ProvisionError::NotProvisioned { .. } => Exit::Unavailable,
            ProvisionError::JetStream { source, .. } => match source {
                JetStreamError::Unavailable | JetStreamError::TimedOut => Exit::Unavailable,
                JetStreamError::Refused { .. } | JetStreamError::Other(_) => Exit::Failure,
            },
            ProvisionError::ServerTooOld { .. }
            | ProvisionError::Different { .. }
            | ProvisionError::Fixed { .. }
            | ProvisionError::Vanished { .. }
            | ProvisionError::MadeAnew { .. }
            | ProvisionError::OwnersVanished { .. }
            | ProvisionError::Settings { .. } => Exit::Failure,
        };
        Self::new(exit, error.to_string())
    }
}

fn exit_of(code: ErrorCode) -> Exit {
    match code {
        ErrorCode::NotFound => Exit::NotFound,
        ErrorCode::AlreadyOpen | ErrorCode::AlreadyClosed | ErrorCode::NotStuck => Exit::Conflict,
        ErrorCode::InvalidId | ErrorCode::InvalidOptions | ErrorCode::PayloadTooLarge => Exit::Usage,
        ErrorCode::Unavailable => Exit::Unavailable,
        ErrorCode::MalformedSubject
        | ErrorCode::MalformedBody
        | ErrorCode::UnknownVersion
        | ErrorCode::AttemptOver
        | ErrorCode::UnknownStep
        | ErrorCode::WrongToken
        | ErrorCode::StorageFull
        | ErrorCode::QueryFailed
        | ErrorCode::Internal => Exit::Failure,
    }
}
