//! What the benchmark and its part for the peers have in common: statistics, what processes use, payloads of one size.
//! Starts nothing and depends on no runtime.

pub mod payload;
pub mod statistics;
pub mod usage;
