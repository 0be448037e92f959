//! Why an orchestrator process gives up. Everything else is retried.

use stepwell_connection::provision::ProvisionError;
use stepwell_connection::{ConnectError, JetStreamError};
use stepwell_shared::subject::Stream;
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
    /// A stream is shorter than what was already read from it or written to it.
    #[error("{}", regressed(*.stream, *.last_sequence, *.seen))]
    StreamRegressed {
        /// EVENTS or HISTORY.
        stream: Stream,
        /// Its last sequence.
        last_sequence: u64,
        /// The highest sequence that was seen.
        seen: u64,
    },
    /// Others would reach the HTTP address, and nothing is said of them.
    #[error("will not serve HTTP on {address}: {reason}")]
    HttpAccess {
        /// The address.
        address: std::net::SocketAddr,
        /// Why not, and what to do.
        reason: String,
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

fn regressed(stream: Stream, last_sequence: u64, seen: u64) -> String {
    let remedy = match stream {
        Stream::Events => format!(
            "let its numbers go on beyond everything that was read, which empties it: `nats stream purge \
             STEPWELL_<namespace>_EVENTS --seq {}`",
            seen + RESUME_AFTER
        ),
        Stream::History(_) | Stream::Tasks(_) | Stream::Rejected => "remove the checkpoints, so that the events that \
             are still stored are read again: `nats kv del STEPWELL_<namespace>_owners checkpoint.<number>` for \
             each partition"
            .to_owned(),
    };
    format!(
        "the {stream} stream ends at {last_sequence}, but {seen} was already seen in it: acknowledged messages \
         are gone, or the stream was made anew. Nothing was changed. Restore the stream; or, if the loss is \
         accepted, {remedy}"
    )
}
