//! What the core decides, as histories: what arrived goes in, records and effects come out.
//!
//! Every step of every test also rebuilds the workflow from its records and compares it with the live
//! one; see [`support::World`].

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect is to fail"
)]

mod cancelling;
mod properties;
mod records;
mod reports;
mod retries;
mod sagas;
mod sizes;
mod stalls;
mod starting;
mod stopping;
mod support;
mod turns;
