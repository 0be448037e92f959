//! What a run knows while its code is driven: the numbers it has given out, what is pending, what has
//! arrived. Changed by events ([`apply`]) and by the code's own calls, and by nothing else.

mod apply;
mod park;
mod query;
mod shared;
mod state;
mod step;

pub(crate) use park::ParkedFor;
pub(crate) use query::Handler;
pub(crate) use shared::Shared;
pub(crate) use state::{Asked, Phase, State, too_many_commands};
pub(crate) use step::{Outcome, StepKind};
