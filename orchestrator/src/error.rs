//! Why an orchestrator process gives up. Everything else is retried.

use stepwell_connection::provision::ProvisionError;
use stepwell_connection::{ConnectError, JetStreamError};
use thiserror::Error;

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
         are gone, or the stream was made anew. Nothing was changed. Restore the stream, or delete the \
         checkpoints in the `owners` bucket if the loss is accepted"
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
