//! The SDK against a real NATS server. In most tests the test itself is the orchestrator; in the last file
//! the real one is.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod activities;
mod client;
mod closed_runs;
mod encryption;
mod end_to_end;
mod fetching;
mod observing;
mod old_tasks;
mod shutdown;
mod support;
mod workflow_tasks;
