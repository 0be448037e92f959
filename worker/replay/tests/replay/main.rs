//! Workflow code driven by hand: events in, commands out, and the same again from history.

mod activities;
mod cancelling;
mod combinators;
mod conditions;
mod foreign_waits;
mod harness;
mod limits;
mod nondeterminism;
mod panics;
mod programs;
mod properties;
mod queries;
mod races;
mod records;
mod sagas;
mod signals;
mod values;
