//! The futures that contexts make. Every one of them gives its place in the run back when it is dropped.

mod cancelled;
mod compensating;
mod condition;
mod parking;
mod pending_step;
mod receive;
mod signals;
mod sleep;

pub use cancelled::CancelledFuture;
pub use compensating::Compensating;
pub use condition::WaitUntil;
pub use receive::Receive;
pub use signals::Signals;
pub use sleep::Sleep;

pub(crate) use parking::Parking;
pub(crate) use pending_step::PendingStep;
pub(crate) use receive::take_signal;
pub(crate) use sleep::Timer;
