//! Why an orchestrator process gives up. Everything else is retried.

use stepwell_connection::provision::ProvisionError;
use stepwell_connection::{ConnectError, JetStreamError};
use thiserror::Error;

/// How far beyond the last checkpoint a stream goes on that lost events: histories know of events that no
/// checkpoint has yet, and take lower numbers for repeats.
const RESUME_AFTER: u64 = 1_000_000;

/// Why an orchestrator process gives up.
#[derive(Debug, Error)]
pub enum OrchestratorError {
    /// NATS cannot be reached or refuses the credentials.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Streams and buckets cannot be made, or are not what they must be.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// A request to JetStream failed while starting.
    #[error("starting failed while {doing}: {source}")]
    Start {
        /// What was tried.
        doing: &'static str,
        /// What came back.
        source: JetStreamError,
    },
    /// The EVENTS stream is shorter than what was already read from it.
    #[error(
        "the EVENTS stream ends at {last_sequence}, but {seen} was already read from it: acknowledged events \
         are gone, or the stream was made anew. Nothing was changed. Restore the stream; or, if the loss is \
         accepted, let its numbers go on beyond everything that was read, which empties it: `nats stream \
         purge STEPWELL_<namespace>_EVENTS --seq {}`",
        seen + RESUME_AFTER
    )]
    StreamRegressed {
        /// Its last sequence.
        last_sequence: u64,
        /// The highest checkpoint.
        seen: u64,
    },
    /// The HTTP address cannot be used.
    #[error("cannot serve HTTP on {address}: {source}")]
    Http {
        /// The address.
        address: std::net::SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}
