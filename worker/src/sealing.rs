//! Decrypting and encrypting around the code of a worker, and what is said when that cannot be done. Without
//! encryption nothing here costs anything.

use std::time::Duration;

use stepwell_encryption::{PayloadError, Payloads, Place};
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::history::{Record, StallKind};
use stepwell_shared::ids::{RunId, StepId, WorkerId, WorkflowId};
use stepwell_shared::message::Outcome;
use stepwell_shared::payload::Payload;
use stepwell_shared::task::WorkflowTask;
use stepwell_worker_replay::Stalled;

use crate::activity::code::payload_failure;

/// How often it is tried to encrypt how an attempt ended, and the first wait in between; each further wait is
/// twice as long. Six seconds in all: the attempt was made, and its result is worth waiting for.
const TRIES: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Why a worker cannot do a task, as it is recorded.
pub(crate) fn unreadable(worker: &WorkerId, error: &PayloadError) -> String {
    format!("worker {worker}: {error}")
}

/// Decrypts records for their replay.
pub(crate) fn open_records(
    payloads: &Payloads,
    task: &WorkflowTask,
    records: &mut [Record],
) -> Result<(), Stalled> {
    let opened = records.iter_mut().try_for_each(|record| payloads.open_record(&task.workflow_id, record));
    opened.map_err(|error| {
        tracing::warn!(workflow_id = %task.workflow_id, run_id = %task.run_id, %error, "a history cannot be decrypted");
        Stalled { kind: StallKind::UnreadablePayload, message: error.to_string() }
    })
}

/// Which step of which run an attempt is of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whose<'a> {
    pub(crate) id: &'a WorkflowId,
    pub(crate) run_id: &'a RunId,
    pub(crate) step: StepId,
}

/// Encrypts how an attempt ended. What cannot be encrypted is never sent: a failure that says so takes its
/// place, which is retried as the policy says.
pub(crate) async fn seal_outcome(payloads: &Payloads, whose: Whose<'_>, outcome: Outcome) -> Outcome {
    if !payloads.encrypts() {
        return outcome;
    }
    let Whose { id, run_id, step } = whose;
    let mut wait = FIRST_WAIT;
    let mut tries = 1;
    loop {
        let mut sealed = outcome.clone();
        let Err(error) = payloads.seal_outcome(id, run_id, step, &mut sealed) else { return sealed };
        tracing::warn!(workflow_id = %id, %step, %error, "the end of an attempt is not encrypted");
        if !error.retryable() || tries == TRIES {
            return instead(&outcome, &error);
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
        tries += 1;
    }
}

/// Encrypts heartbeat details; `None` when that cannot be done. The next ones may be.
pub(crate) fn seal_heartbeat(payloads: &Payloads, whose: Whose<'_>, mut details: Payload) -> Option<Payload> {
    match payloads.seal(whose.id, Place::Heartbeat(whose.run_id, whose.step), &mut details) {
        Ok(()) => Some(details),
        Err(error) => {
            tracing::warn!(workflow_id = %whose.id, %error, "heartbeat details are not written down");
            None
        }
    }
}

/// What is reported without a word of what could not be encrypted.
fn instead(outcome: &Outcome, error: &PayloadError) -> Outcome {
    let text = error.to_string();
    let failure = match outcome {
        Outcome::Failed { failure, .. } => {
            let mut bare = Failure::typed(failure.kind, failure.error_type.as_str(), text);
            bare.non_retryable = failure.non_retryable;
            bare.next_retry_delay_ms = failure.next_retry_delay_ms;
            bare
        }
        // It will be as large the next time.
        Outcome::Completed { .. } if !error.retryable() => payload_failure(text),
        Outcome::Completed { .. } | Outcome::Started {} | Outcome::Cancelled {} | Outcome::Refused { .. } => {
            Failure::typed(FailureKind::Application, "EncryptionFailed", text)
        }
    };
    Outcome::Failed { failure, heartbeat: None }
}
