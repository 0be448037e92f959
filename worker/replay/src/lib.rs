//! Drives workflow code from history: events in, commands out.
//!
//! A workflow is an ordinary async function. What makes it durable is that it can be run again from its
//! beginning, at any time and anywhere, and arrives at the same place: everything it learns from outside
//! is in its history, and everything it asks for is compared with what it asked for before. This crate is
//! that comparison and nothing else. It never does I/O, never reads a clock, never draws a random number
//! that is not a function of the run's id, and starts no thread; time and events are arguments.
//!
//! # The two sides
//!
//! Code sees a [`WorkflowContext`]. It runs activities, sleeps, receives signals, answers queries, and
//! combines all of that with ordinary combinators:
//!
//! ```
//! use stepwell_worker_replay::*;
//!
//! struct Summarise;
//!
//! impl Activity for Summarise {
//!     type Input = String;
//!     type Output = String;
//!     const NAME: &'static str = "summarise";
//!
//!     fn options() -> ActivityDefaults {
//!         ActivityDefaults::start_to_close(secs(60))
//!     }
//! }
//!
//! const APPROVE: Signal<bool> = Signal::new("approve");
//!
//! struct Pipeline;
//!
//! impl WorkflowDefinition for Pipeline {
//!     type Input = Vec<String>;
//!     type Output = Option<String>;
//!     const NAME: &'static str = "pipeline";
//!
//!     async fn run(ctx: WorkflowContext, pages: Vec<String>) -> Result<Option<String>, WorkflowError> {
//!         let parts = try_join_all(pages.into_iter().map(|page| ctx.run(Summarise, page))).await?;
//!         let approved = ctx.receive(APPROVE).timeout(days(3)).await?;
//!         Ok(approved.then(|| parts.join("\n")))
//!     }
//! }
//! ```
//!
//! The worker sees an [`Instance`]. It hands over the events of one turn and gets the commands that the
//! code asks for; or it replays recorded turns first:
//!
//! ```
//! # use stepwell_worker_replay::*;
//! # struct Nap;
//! # impl WorkflowDefinition for Nap {
//! #     type Input = ();
//! #     type Output = u32;
//! #     const NAME: &'static str = "nap";
//! #     async fn run(ctx: WorkflowContext, (): ()) -> Result<u32, WorkflowError> {
//! #         ctx.sleep(secs(30)).await?;
//! #         Ok(7)
//! #     }
//! # }
//! use stepwell_shared::command::Command;
//! use stepwell_shared::history::{Event, Record, RunStarted, Turn};
//! use stepwell_shared::ids::{Name, RunId, WorkflowId};
//! use stepwell_shared::payload::Payload;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let code = WorkflowCode::of::<Nap>(); // sleeps 30 s and returns 7
//! let (workflow_id, run_id) = (WorkflowId::new("nap 1")?, RunId::new("run-1")?);
//! let started = Event::RunStarted(Box::new(RunStarted {
//!     workflow_type: Name::new("nap")?,
//!     queue: Name::new("default")?,
//!     input: Payload::null(),
//!     request_id: None,
//!     run_timeout_ms: None,
//!     execution_timeout_ms: None,
//! }));
//!
//! let mut live = Instance::new(code.clone(), workflow_id.clone(), run_id.clone());
//! let commands = live.turn(&[started.clone()], 1_000, 1)?;
//! assert_eq!(commands, [Command::StartTimer { seq: 1, delay_ms: 30_000 }]);
//!
//! // The orchestrator recorded that turn. Later, somewhere else:
//! let turn = Turn { commands, worker: None, delivered: 1 };
//! let record =
//!     Record { v: 1, run_id: run_id.clone(), index: 1, at_ms: 1_000, through: 1, events: vec![started], turn: Some(turn), stall: None };
//! let mut successor = Instance::new(code, workflow_id, run_id);
//! successor.replay(&record)?;
//! let commands = successor.turn(&[Event::TimerFired { seq: 1 }], 31_000, 2)?;
//! assert_eq!(commands, [Command::CompleteRun { result: Payload::encode(&7)? }]);
//! # Ok(())
//! # }
//! ```
//!
//! # What a turn is
//!
//! 1. **All events first.** Every event of the turn is applied: results settle what waits for them,
//!    signals go to their buffers. A request to stop takes effect last, so what has a result keeps it.
//! 2. **Then the code**, polled until nothing moves any more: whoever was woken, then every condition of
//!    [`wait_until`](WorkflowContext::wait_until), again and again until a look changes nothing.
//! 3. **Then the commands**, in the order in which the code asked. A call asks when it is first polled or
//!    started; each takes the next number of the run.
//!
//! Turns are made in the same way live and on replay, from the recorded batches of events. That is why a
//! tie, such as a result and a timeout in one turn, is decided alike every time.
//!
//! # What code may do
//!
//! Anything that gives the same result when it is done again: compute, keep variables, share them between
//! branches, send through channels from one branch to another. Not: read the clock
//! ([`now`](WorkflowContext::now)), draw random numbers ([`random`](WorkflowContext::random),
//! [`uuid`](WorkflowContext::uuid)), iterate over a `HashMap`, or wait for anything that history does not
//! know ([activities](WorkflowContext::run) are for that).
//!
//! Three nets catch what is forbidden, each with a [`Stalled`] that names the line:
//! - Code that comes to rest while it waits for nothing of Stepwell's can never go on; that is certain,
//!   and reported in that very turn.
//! - Code that is woken from outside of a turn (a runtime's timer, a channel, a task) is reported at the
//!   next turn. Wakes between branches of the code are its own and are never taken for foreign ones.
//! - Code that asks for something else than history says is shown both, side by side.
//!
//! A stall records nothing. The run waits until code that can go on is deployed.
//!
//! # Dropping, cancelling, stopping
//!
//! Dropping a call or timer that is open cancels it. When the run is asked to stop or runs into its
//! timeout, every wait ends with a cancellation and new calls end at once, except under
//! [`shielded`](WorkflowContext::shielded). Code accepts by returning [`WorkflowError::Cancelled`], which
//! `?` does by itself; it may clean up before, or decline and go on under a shield. What is open when the
//! code returns is cancelled by the end of the run, without commands.
//!
//! # Driving it from a runtime
//!
//! [`Instance`] is `Send`: it may be driven by one thread now and by another one later. A turn is plain
//! computation and takes about a microsecond per event. Drive it on a plain thread, or on one of a
//! runtime's blocking threads, and not inside of a runtime's task: a task counts what is awaited in it and
//! puts wakes off when its budget is used up, and those look like wakes from outside. Code that never
//! returns then holds up a thread that nobody else needs, too.

mod activity;
mod call;
mod compare;
mod concurrent;
mod context;
mod definition;
mod duration;
mod encode;
mod error;
mod handle;
mod info;
mod instance;
mod name;
mod panics;
mod prepared;
mod query;
mod race;
mod random;
mod run;
mod signal;
mod stalled;
mod turn;
mod wait;
mod wake;

pub use activity::{Activity, ActivityDefaults, Undo};
pub use call::ActivityCall;
pub use context::WorkflowContext;
pub use definition::{WorkflowCode, WorkflowDefinition};
pub use duration::{days, hours, mins, secs};
pub use error::{ActivityFailure, Cancelled, MalformedSignal, QueryFailed, WaitError, WorkflowError};
pub use handle::ActivityHandle;
pub use info::RunInfo;
pub use instance::Instance;
pub use panics::record_panic_locations;
pub use query::{Answer, Query};
pub use race::{Race, RaceAll};
pub use random::Random;
pub use signal::Signal;
pub use stalled::Stalled;
pub use wait::{CancelledFuture, Compensating, Receive, Signals, Sleep, WaitUntil};

pub use futures_util::future::{BoxFuture, Either, join_all, try_join_all};
pub use futures_util::{join, select_biased, try_join};

/// Workflow code may be moved between threads, so everything it holds across an await must allow that.
#[cfg(test)]
mod tests {
    use super::*;

    fn is_send<T: Send>(_: &T) {}

    #[test]
    fn instances_contexts_and_futures_can_be_sent() {
        fn futures(ctx: &WorkflowContext) {
            is_send(ctx);
            is_send(&ctx.run_untyped("any", stepwell_shared::payload::Payload::null()));
            is_send(&ctx.sleep(secs(1)));
            is_send(&ctx.receive(Signal::<u8>::new("any")));
            is_send(&ctx.signals(Signal::<u8>::new("any")));
            is_send(&ctx.wait_until(|| true));
            is_send(&ctx.compensate());
            is_send(&ctx.cancelled());
            is_send(&ctx.race(ctx.sleep(secs(1)), ctx.cancelled()));
            is_send(&ctx.map_concurrent(0..3, 2, |ctx, _| async move { ctx.sleep(secs(1)).await }));
        }
        let _: fn(&WorkflowContext) = futures;
        let _: fn(&Instance) = is_send::<Instance>;
    }
}
