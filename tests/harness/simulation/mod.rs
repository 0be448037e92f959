//! The seeded simulation: the orchestrator's core, workflow code driven by the replay crate, a model of
//! JetStream, clocks, crashes, lost messages. One seed is one run, always the same.
//!
//! What the orchestrator's and the worker's shells do around the pure crates is written down here a second
//! time, in small; when they change, this changes with them.

mod check;
mod client;
mod code;
mod dice;
mod drive;
mod history;
mod orchestrator;
mod process;
mod program;
mod service;
mod timers;
mod worker;
mod world;

pub use process::{Failure, run_seed};
pub use world::{Sabotage, Stats};

use stepwell_shared::ids::Name;

/// The queue of all workflow code and all activities.
fn queue() -> Name {
    Name::new(code::TYPE).expect("a valid name")
}
