//! The seeded simulation: the orchestrator's core, workflow code driven by the replay crate, a model of
//! JetStream, clocks, crashes, lost messages. One seed is one run, always the same.
//!
//! What the orchestrator's and the worker's shells do around the pure crates is written down here a second
//! time, in small; when they change, this changes with them.

pub mod backend;
mod check;
mod check_owners;
mod client;
pub mod code;
pub mod dice;
mod drive;
mod effects;
mod engine;
mod events;
mod faults;
mod history;
mod keeper;
mod knobs;
mod membership;
mod orchestrator;
mod owners;
mod process;
pub mod program;
mod progress;
mod recovery;
mod reports;
mod sending;
mod server;
mod service;
mod stats;
mod timers;
mod wire;
mod worker;
mod world;

pub use knobs::Sabotage;
pub use process::{Failure, run_seed};
pub use stats::Stats;

use stepwell_shared::ids::Name;

/// The queue of all workflow code and all activities.
fn queue() -> Name {
    Name::new(code::TYPE).expect("a valid name")
}
