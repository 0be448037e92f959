//! The SDK against a real NATS server. In most tests the test itself is the orchestrator; in the last file
//! the real one is.

mod activities;
mod client;
mod end_to_end;
mod fetching;
mod observing;
mod shutdown;
mod support;
mod workflow_tasks;
