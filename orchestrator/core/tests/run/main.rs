//! What the core decides, as histories: what arrived goes in, records and effects come out.
//!
//! Every step of every test also rebuilds the workflow from its records and compares it with the live
//! one; see [`support::World`].

mod cancelling;
mod properties;
mod records;
mod reports;
mod retries;
mod sagas;
mod stalls;
mod starting;
mod stopping;
mod support;
mod turns;
