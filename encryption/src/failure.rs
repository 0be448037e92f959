//! Failures: kind, type, whether and when to try again stay clear, since the orchestrator decides by them.
//! The message is sealed as a text; details and causes are sealed together, in the place of the details.

use serde::{Deserialize, Serialize};
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::ids::{RunId, StepId, WorkflowId};
use stepwell_shared::payload::Payload;

use crate::envelope::is_sealed;
use crate::error::PayloadError;
use crate::payloads::Payloads;
use crate::place::Place;

/// What is sealed in the place of the details.
#[derive(Serialize, Deserialize)]
struct Hidden {
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "stepwell_shared::payload::present"
    )]
    details: Option<Payload>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<Box<Failure>>,
}

impl Payloads {
    /// Encrypts what a failure of a step, or of the run, says in the user's words. Causes and then details for
    /// which there is no room are left out, and the message says so.
    ///
    /// # Errors
    /// [`PayloadError`] when the cipher fails; what is left of the failure must not be sent.
    pub fn seal_failure(
        &self,
        id: &WorkflowId,
        run_id: &RunId,
        step: Option<StepId>,
        failure: &mut Failure,
    ) -> Result<(), PayloadError> {
        if !self.encrypts() {
            return Ok(());
        }
        let bare = Failure::new(FailureKind::Application, "");
        let mut whole = std::mem::replace(failure, bare).bounded();
        let mut hidden = Hidden { details: whole.details.take(), cause: whole.cause.take() };
        let place = Place::FailureDetails(run_id, step);
        let mut left_out = None;
        while hidden.details.is_some() || hidden.cause.is_some() {
            let mut payload = Payload::encode(&hidden).map_err(|error| PayloadError::Cipher {
                what: place.to_string(),
                reason: error.to_string(),
            })?;
            match self.seal(id, place, &mut payload) {
                Ok(()) => {
                    whole.details = Some(payload);
                    break;
                }
                Err(PayloadError::TooLarge { .. }) if hidden.cause.take().is_some() => {
                    left_out = Some("causes were left out: they are too large when encrypted");
                }
                Err(PayloadError::TooLarge { .. }) => {
                    hidden.details = None;
                    left_out = Some("details were left out: they are too large when encrypted");
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(left_out) = left_out {
            // The remark goes first: the end of a long message is cut.
            whole.message = format!("[{left_out}] {}", whole.message);
        }
        self.seal_text(id, Place::FailureMessage(run_id, step), &mut whole.message)?;
        *failure = whole;
        Ok(())
    }

    /// Decrypts a failure. Those that an orchestrator made are plain; what they were caused by need not be.
    ///
    /// # Errors
    /// [`PayloadError`] when something in it cannot be decrypted here.
    pub fn open_failure(
        &self,
        id: &WorkflowId,
        run_id: &RunId,
        step: Option<StepId>,
        failure: &mut Failure,
    ) -> Result<(), PayloadError> {
        let mut next = Some(failure);
        while let Some(failure) = next {
            self.open_text(id, Place::FailureMessage(run_id, step), &mut failure.message)?;
            let Some(details) = &mut failure.details else {
                next = failure.cause.as_deref_mut();
                continue;
            };
            let place = Place::FailureDetails(run_id, step);
            let sealed = is_sealed(details);
            self.open(id, place, details)?;
            if sealed {
                let hidden: Hidden = details.decode().map_err(|error| PayloadError::Malformed {
                    what: place.to_string(),
                    reason: format!("line {}, column {} of what is in it", error.line(), error.column()),
                })?;
                failure.details = hidden.details;
                if hidden.cause.is_some() {
                    failure.cause = hidden.cause;
                    return Ok(());
                }
            }
            next = failure.cause.as_deref_mut();
        }
        Ok(())
    }
}
