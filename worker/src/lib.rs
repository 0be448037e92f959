//! Durable execution on NATS JetStream: workflows and activities as plain async functions.
//!
//! A workflow is an async function whose every step is recorded. When the process that runs it dies, another
//! one replays what is recorded and goes on at the step that had been reached. An activity is an async
//! function that does the work: calls a model, charges a card, writes a file.
//!
//! ```no_run
//! use stepwell::prelude::*;
//!
//! const APPROVE: Signal<bool> = Signal::new("approve");
//!
//! #[activity(start_to_close = "30s", retry(max_attempts = 5))]
//! async fn summarise(_ctx: ActivityContext, text: String) -> Result<String, ActivityError> {
//!     Ok(text.chars().take(100).collect())
//! }
//!
//! #[workflow(queue = "documents")]
//! async fn review(ctx: WorkflowContext, text: String) -> Result<Option<String>, WorkflowError> {
//!     let summary = ctx.run(summarise, text).await?;
//!     match ctx.receive(APPROVE).timeout(days(7)).await {
//!         Ok(true) => Ok(Some(summary)),
//!         Ok(false) | Err(WaitError::TimedOut) => Ok(None),
//!         Err(error) => Err(error.into()),
//!     }
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // In one process: a worker.
//! let client = Client::connect("nats://127.0.0.1:4222").await?;
//! Worker::new(client.clone(), "documents").workflow(review).activity(summarise).run().await?;
//!
//! // In another: start a run, approve it, wait for its result.
//! let run = client.start(review, "review-7", "a long text".to_owned()).await?;
//! run.signal(APPROVE, true).await?;
//! println!("{:?}", run.result().await?);
//! # Ok(())
//! # }
//! ```

mod activity_context;
mod activity_error;
mod activity_registry;
mod activity_runner;
mod activity_tasks;
mod announcer;
mod cancellations;
mod client;
mod heartbeats;
mod http;
mod metric_definitions;
pub mod prelude;
mod pull;
mod reports;
mod run_cache;
mod worker;
mod workflow_log;
mod workflow_registry;
mod workflow_tasks;

pub use activity_context::{ActivityContext, ActivityInfo};
pub use activity_error::ActivityError;
pub use activity_registry::{ActivityFunction, ActivityGroup, ActivityRegistry};
pub use client::{
    Client, ClientError, ResultError, Start, StartError, StartOptions, UntypedHandle, WorkflowHandle,
};
pub use worker::{Worker, WorkerError};

pub use stepwell_connection::{Connection, ConnectionOptions};
pub use stepwell_macros::{activities, activity, workflow};
pub use stepwell_shared as shared;
pub use stepwell_shared::failure::{Failure, FailureKind};
pub use stepwell_shared::payload::Payload;
pub use stepwell_shared::retry::RetryPolicy;
pub use stepwell_shared::summary::{RunSummary, Status};
pub use stepwell_worker_replay::*;

/// What the macros name. Not for use by hand.
#[doc(hidden)]
pub mod __private {
    /// The value type of a `Result`, whatever its error type.
    pub trait Returned {
        /// The type of a success.
        type Value;
    }

    impl<T, E> Returned for Result<T, E> {
        type Value = T;
    }
}
