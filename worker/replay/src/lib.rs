//! Drives workflow code from history: events in, commands out.

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
