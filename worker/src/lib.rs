//! Durable execution and sagas on NATS JetStream.
//!
//! A workflow is an ordinary `async fn`. Every step that it takes is recorded; when a process dies, another
//! one picks the workflow up at the step it had reached, hours or months later. What touches the world, a
//! request, a query, a file, is an activity: an `async fn` as well, tried again as its policy says.
//!
//! ```no_run
//! use serde::{Deserialize, Serialize};
//! use stepwell::prelude::*;
//!
//! const APPROVE: Signal<bool> = Signal::new("approve_summary");
//! const STATUS: Query<(), Status> = Query::new("get_status");
//!
//! #[derive(Debug, Serialize, Deserialize)]
//! pub enum Status {
//!     Processing,
//!     AwaitingApproval,
//! }
//!
//! #[derive(Debug, Serialize, Deserialize)]
//! pub enum Outcome {
//!     Saved,
//!     Rejected,
//! }
//!
//! /// Policies are declared on the activity and may be replaced at the call.
//! #[activity(start_to_close = "10s")]
//! async fn fetch_document(_ctx: ActivityContext, id: String) -> Result<String, ActivityError> {
//!     Ok(std::fs::read_to_string(id)?)
//! }
//!
//! #[activity(
//!     start_to_close = "30s",
//!     heartbeat = "10s",
//!     retry(max_attempts = 5, initial = "1s", non_retryable = ["InvalidApiKey"])
//! )]
//! async fn generate_summary(ctx: ActivityContext, text: String) -> Result<String, ActivityError> {
//!     ctx.heartbeat("asking the model");
//!     if text.is_empty() {
//!         return Err(ActivityError::new("Empty", "there is nothing to summarise").non_retryable());
//!     }
//!     Ok(text.chars().take(100).collect())
//! }
//!
//! /// Activities may be methods of a value that holds clients and pools.
//! pub struct Library {
//!     folder: std::path::PathBuf,
//! }
//!
//! #[activities]
//! impl Library {
//!     #[activity(start_to_close = "10s")]
//!     async fn save(&self, ctx: ActivityContext, name: String, text: String) -> Result<(), ActivityError> {
//!         // The key is the same in every attempt: a repeat overwrites, it does not add.
//!         Ok(std::fs::write(self.folder.join(name).join(ctx.idempotency_key()), text)?)
//!     }
//!
//!     #[activity(start_to_close = "10s")]
//!     async fn unsave(
//!         &self,
//!         _ctx: ActivityContext,
//!         undo: Undo<(String, String), ()>,
//!     ) -> Result<(), ActivityError> {
//!         let (name, _) = undo.input;
//!         Ok(std::fs::remove_file(self.folder.join(name).join(undo.idempotency_key))?)
//!     }
//! }
//!
//! /// Local variables are the state. The code must do the same on every replay: no clocks, no randomness,
//! /// no I/O but through `ctx`.
//! #[workflow(queue = "documents")]
//! async fn document_pipeline(ctx: WorkflowContext, id: String) -> Result<Outcome, WorkflowError> {
//!     let status = ctx.answer(STATUS, Status::Processing);
//!     let text = ctx.run(fetch_document, id.clone()).await?;
//!     let summary = ctx.run(generate_summary, text).queue("gpu").max_attempts(3).await?;
//!     // Undone, in reverse order, when the workflow fails or is cancelled after this.
//!     ctx.run(save, (id, summary)).compensate(unsave).await?;
//!     status.set(Status::AwaitingApproval);
//!     match ctx.receive(APPROVE).timeout(days(7)).await {
//!         Ok(true) => Ok(Outcome::Saved),
//!         Ok(false) | Err(WaitError::TimedOut) => {
//!             ctx.compensate().await?;
//!             Ok(Outcome::Rejected)
//!         }
//!         Err(error) => Err(error.into()),
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     stepwell::log::init();
//!     let client = Client::connect("nats://127.0.0.1:4222").await?;
//!     let handle = client.start(document_pipeline, "doc-7", "doc-7.txt".to_owned()).await?;
//!     handle.signal(APPROVE, true).await?;
//!
//!     Worker::new(client, "documents")
//!         .workflow(document_pipeline)
//!         .activity(fetch_document)
//!         .activities(Library { folder: "library".into() })
//!         .metrics("127.0.0.1:9464")
//!         .run()
//!         .await?;
//!     Ok(())
//! }
//! ```
//!
//! A worker serves one queue; `generate_summary` above runs on workers of the queue `gpu`, which register
//! it. [`log`] says how workflow code logs, [`testing`] how activities are tested without a worker.

// The macros write `::stepwell::…`, here as everywhere.
extern crate self as stepwell;

pub mod client;
pub mod log;
pub mod prelude;
pub mod testing;

mod activity;
mod activity_limits;
mod activity_outcome;
mod activity_runner;
mod activity_tasks;
mod announcer;
mod closed_runs;
mod consumer_watch;
mod error;
mod given_before;
mod keepalive;
mod metric_definitions;
mod metrics_server;
mod orchestrators;
mod pack_replies;
mod pull_requests;
mod pull_words;
mod queue_shards;
mod rebuild;
mod registry;
mod report;
mod report_packs;
mod roll_call;
mod run_cache;
mod running;
mod sealing;
mod service;
mod shares;
mod signals;
mod slots;
mod until_stored;
mod wanted;
mod worker;
mod workflow_tasks;

pub use activity::code::{ActivityCode, ActivityFn, ActivitySet};
pub use activity::context::{ActivityContext, ActivityInfo};
pub use activity::error::ActivityError;
pub use client::{Client, RequestError, ResultError, Start, StartError, WorkflowHandle};
pub use error::WorkerError;
pub use worker::Worker;

pub use stepwell_connection::{ConnectError, Connection, ConnectionOptions, HttpOptions};
pub use stepwell_encryption as encryption;
pub use stepwell_encryption::{Encryption, KeyRing, KeysError};
pub use stepwell_macros::{activities, activity, workflow};
pub use stepwell_shared as shared;
pub use stepwell_shared::failure::{Failure, FailureKind};
pub use stepwell_shared::ids::{Namespace, RunId, StepId, WorkflowId};
pub use stepwell_shared::options::ActivityOptions;
pub use stepwell_shared::payload::Payload;
pub use stepwell_shared::retry::RetryPolicy;
pub use stepwell_shared::summary::{RunSummary, Status};
pub use stepwell_worker_replay::{
    Activity, ActivityCall, ActivityDefaults, ActivityFailure, ActivityHandle, Answer, BoxFuture, Cancelled,
    CancelledFuture, Compensating, Either, Instance, MalformedSignal, Query, QueryFailed, Race, RaceAll,
    Random, Receive, RunInfo, Signal, Signals, Sleep, Stalled, Undo, WaitError, WaitUntil, WorkflowCode,
    WorkflowContext, WorkflowDefinition, WorkflowError, days, hours, join, join_all, mins, secs,
    select_biased, try_join, try_join_all,
};
pub use tokio_util::sync::CancellationToken;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;

/// The examples of the documents, compiled with the tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../README.md")]
    struct Readme;

    #[doc = include_str!("../../docs/guide.md")]
    struct Guide;
}
