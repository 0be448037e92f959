//! This crate against real servers. The binary is the one that `STEPWELL_NATS_SERVER` names, or that is
//! on `PATH`; every test has a server and a store of its own.

#![allow(clippy::unwrap_used)] // A failed step is a failed test.

mod chunked;
mod cluster;
mod history;
mod partition;
mod provision;
mod publisher;
mod support;
