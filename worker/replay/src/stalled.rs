//! Why a turn could not be made, and the sentences that say so.

use std::panic::Location;

use stepwell_shared::history::StallKind;
use thiserror::Error;

/// The code could not answer. The instance that returned it must be dropped; the run goes on with a
/// fresh one, replayed from its history, when the reason is gone.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Stalled {
    /// The kind of reason.
    pub kind: StallKind,
    /// For a person: what was found and what to do.
    pub message: String,
}

/// The most recent call of a context's method, to name the place in the code that a person should look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastCall {
    pub(crate) what: &'static str,
    pub(crate) at: &'static Location<'static>,
}

impl Stalled {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self { kind: StallKind::InvalidTurn, message: message.into() }
    }

    pub(crate) fn nondeterminism(message: impl Into<String>) -> Self {
        Self { kind: StallKind::Nondeterminism, message: message.into() }
    }

    /// `found` is a sentence that says what gave it away.
    pub(crate) fn foreign_wait(found: &str, last_call: Option<LastCall>) -> Self {
        let message = format!(
            "workflow code waits for something that is not Stepwell's: {found} {} In workflow code use \
             ctx.sleep instead of a runtime's sleep, timeout or interval; an activity instead of network, \
             file and database access and of spawned tasks; a signal (ctx.receive) or an activity's result \
             instead of a channel that is fed from outside",
            last_call_sentence(last_call)
        );
        Self { kind: StallKind::ForeignWait, message }
    }

    pub(crate) fn panic(what: &str, last_call: Option<LastCall>) -> Self {
        let message = format!(
            "workflow code panicked: {what}. {} Nothing was recorded of this turn; deploy code that does \
             not panic there, and the run goes on by itself",
            last_call_sentence(last_call)
        );
        Self { kind: StallKind::Panic, message }
    }
}

fn last_call_sentence(last_call: Option<LastCall>) -> String {
    match last_call {
        Some(LastCall { what, at }) => format!("The last Stepwell call before it was ctx.{what} at {at}."),
        None => "It had made no Stepwell call before.".to_owned(),
    }
}
