//! The contract's own rules: names, subjects, bodies, chunks, retry arithmetic. Each holds for every
//! value, so most are properties.

#![allow(clippy::unwrap_used, reason = "a test that meets what it does not expect is to fail")]

mod bodies;
mod chunks;
mod failures;
mod names;
mod retries;
mod subjects;
