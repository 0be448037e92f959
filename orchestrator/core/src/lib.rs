//! What happens to a run, decided without a clock, a network or a random number.
//!
//! [`Workflow`] holds the current run of one workflow id. The shell around it goes through one loop,
//! live and after a crash alike:
//!
//! 1. [`Workflow::receive`] takes what arrived and stages the events that follow from it;
//! 2. [`Workflow::advance`] stages what follows without anything arriving (the next compensation);
//! 3. [`Workflow::turn_request`] says whether workflow code is to be asked; its answer goes to
//!    [`Workflow::answer`] or [`Workflow::stall`];
//! 4. [`Workflow::seal`] turns all that was staged into one [`Record`](stepwell_shared::history::Record)
//!    and the [`Effect`]s that may be carried out once the record is stored.
//!
//! What arrives is read by [`decode_event`], which knows of no run.
//!
//! A run is changed while it is staged, before the record is stored. When storing fails the shell throws
//! the workflow away and rebuilds it with [`Workflow::apply`] from what is stored; events and turns go
//! through the same functions in both cases, so there is one way in which a run changes.
//!
//! This crate never does I/O, reads a clock, draws a random number or starts a task: times and new run
//! ids are arguments.

mod alarms;
mod decide;
mod decode;
mod describe;
mod effect;
mod error;
mod input;
mod legality;
mod mark;
pub mod ownership;
mod run;
mod size;
mod step;
mod turn;
mod unpack;
mod unwind;
mod workflow;

pub use alarms::CANCEL_REPEAT_MS;
pub use decode::{Decoded, Refusal, Timings, decode_event};
pub use effect::{Dispatch, Effect};
pub use error::{IllegalRecord, InvalidTurn};
pub use input::{Arrival, Input, Ruling};
pub use turn::TurnRequest;
pub use unpack::{PackedReport, is_pack, unpack};
pub use workflow::{Commit, Workflow};
