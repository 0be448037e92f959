//! Why a worker cannot run.

use stepwell_shared::ids::InvalidId;
use thiserror::Error;

/// Why a worker cannot run.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// Its queue has no valid name.
    #[error("cannot make a worker for the queue {queue:?}: {reason}")]
    Queue {
        /// The queue as given.
        queue: String,
        /// What is wrong with it.
        reason: InvalidId,
    },
    /// Something registered has no valid name.
    #[error("cannot register the {what} {name:?}: {reason}")]
    Name {
        /// `workflow` or `activity`.
        what: &'static str,
        /// The name as given.
        name: String,
        /// What is wrong with it.
        reason: InvalidId,
    },
    /// Two things of a kind have the same name.
    #[error(
        "two {what} are registered under the name {name:?}; a worker finds them by name, so register each once \
         and give one of them another name with `name = \"…\"` in its attribute"
    )]
    Duplicate {
        /// `workflows` or `activities`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// There is no code at all.
    #[error("the worker for the queue {queue:?} has neither workflows nor activities; register some")]
    Empty {
        /// The queue.
        queue: String,
    },
    /// An option makes no sense.
    #[error("cannot make a worker with {option} = {found}; it must be at least 1")]
    Option {
        /// Which option.
        option: &'static str,
        /// Its value.
        found: usize,
    },
    /// The metrics endpoint has no address.
    #[error("cannot serve metrics on {address:?}: {reason}")]
    Metrics {
        /// The address as given.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// A metric could not be made.
    #[error("cannot make the metrics: {0}")]
    MetricDefinition(#[from] prometheus::Error),
    /// The connection to NATS was closed while the worker started.
    #[error("cannot listen for tasks: {0}")]
    Subscribe(String),
}
