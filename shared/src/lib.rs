//! The contract between client, orchestrator and worker: every id, name, message and record that
//! crosses a process boundary, and nothing else.
//!
//! This crate is data and arithmetic. It never does I/O, never reads a clock and never draws a random
//! number. The JSON shapes defined here are documented for other languages in `docs/wire-format.md`.

pub mod announce;
pub mod api;
pub mod command;
pub mod encoding;
pub mod error_code;
pub mod failure;
pub mod headers;
pub mod history;
pub mod ids;
pub mod limits;
pub mod message;
pub mod options;
pub mod ownership;
pub mod pack;
pub mod packed_report;
pub mod partition;
pub mod payload;
pub mod permissions;
pub mod rejection;
pub mod retry;
pub mod rng;
pub mod shard;
pub mod stored;
pub mod subject;
pub mod summary;
pub mod task;
