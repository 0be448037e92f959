//! What workers get and give: tasks on their way in, answers and reports on their way out.

use stepwell_shared::history::StallKind;
use stepwell_shared::ids::{RunId, StepId, WorkflowId};
use stepwell_shared::message::Outcome;
use stepwell_shared::payload::Payload;
use stepwell_shared::task::{ActivityTask, Answer, UndoInput, Work, WorkflowTask};

use crate::error::PayloadError;
use crate::payloads::Payloads;
use crate::place::Place;

/// What every envelope has in it. Looked for where a payload of the orchestrator's may have others in it.
const MARK: &str = "$stepwell.encrypted";

impl Payloads {
    /// Decrypts what a workflow task hands over.
    ///
    /// # Errors
    /// [`PayloadError`] of the first payload that cannot be decrypted here; the code must not see the task.
    pub fn open_workflow_task(&self, task: &mut WorkflowTask) -> Result<(), PayloadError> {
        let WorkflowTask { workflow_id: id, run_id, work, .. } = task;
        match work {
            Work::Turn { events, .. } => {
                events.iter_mut().try_for_each(|event| self.open_event(id, run_id, event))
            }
            Work::Query { name, argument } => self.open(id, Place::QueryArgument(name), argument),
        }
    }

    /// Encrypts the answer to a workflow task.
    ///
    /// # Errors
    /// [`PayloadError`] of the first payload that cannot be encrypted; the answer must not be sent.
    pub fn seal_answer(&self, task: &WorkflowTask, answer: &mut Answer) -> Result<(), PayloadError> {
        let (id, run_id) = (&task.workflow_id, &task.run_id);
        match (answer, &task.work) {
            (Answer::Commands { commands }, _) => self.seal_commands(id, run_id, commands),
            (Answer::QueryResult { result }, Work::Query { name, .. }) => {
                self.seal(id, Place::QueryAnswer(name), result)
            }
            (Answer::QueryFailed { message }, Work::Query { name, .. }) => {
                self.seal_text(id, Place::QueryFailure(name), message)
            }
            (Answer::Stalled { kind, message }, work) if quotes_code(*kind) => {
                let place = match work {
                    Work::Turn { .. } => Place::StallMessage(run_id),
                    // Whoever asked need not know which run answers.
                    Work::Query { name, .. } => Place::QueryFailure(name),
                };
                self.seal_text(id, place, message)
            }
            (Answer::QueryResult { .. } | Answer::QueryFailed { .. }, Work::Turn { .. })
            | (Answer::Stalled { .. } | Answer::Busy {}, _) => Ok(()),
        }
    }

    /// Decrypts what an activity task hands over.
    ///
    /// # Errors
    /// [`PayloadError`] of the first payload that cannot be decrypted here; the attempt must not be made.
    pub fn open_activity_task(&self, task: &mut ActivityTask) -> Result<(), PayloadError> {
        let ActivityTask { workflow_id: id, run_id, step, input, heartbeat, last_failure, .. } = task;
        match step {
            StepId::Action(_) => self.open(id, Place::ActivityInput(run_id, *step), input)?,
            StepId::Undo(seq) => self.open_undo(id, run_id, StepId::Action(*seq), input)?,
        }
        if let Some(heartbeat) = heartbeat {
            self.open(id, Place::Heartbeat(run_id, *step), heartbeat)?;
        }
        match last_failure {
            Some(text) => self.open_text(id, Place::FailureMessage(run_id, Some(*step)), text),
            None => Ok(()),
        }
    }

    /// The orchestrator made the input of a compensation of the input and output of its action.
    fn open_undo(
        &self,
        id: &WorkflowId,
        run_id: &RunId,
        action: StepId,
        input: &mut Payload,
    ) -> Result<(), PayloadError> {
        if !self.encrypts() && !input.json().contains(MARK) {
            return Ok(());
        }
        let place = Place::ActivityInput(run_id, action);
        let malformed = |error: serde_json::Error| PayloadError::Malformed {
            what: place.to_string(),
            reason: error.to_string(),
        };
        let mut undo: UndoInput = input.decode().map_err(malformed)?;
        self.open(id, place, &mut undo.input)?;
        if let Some(output) = &mut undo.output {
            self.open(id, Place::ActivityResult(run_id, action), output)?;
        }
        *input = Payload::encode(&undo).map_err(malformed)?;
        Ok(())
    }

    /// Encrypts how an attempt ended.
    ///
    /// # Errors
    /// [`PayloadError`] of the first payload that cannot be encrypted; the outcome must not be reported.
    pub fn seal_outcome(
        &self,
        id: &WorkflowId,
        run_id: &RunId,
        step: StepId,
        outcome: &mut Outcome,
    ) -> Result<(), PayloadError> {
        match outcome {
            Outcome::Completed { result } => self.seal(id, Place::ActivityResult(run_id, step), result),
            Outcome::Failed { failure, heartbeat } => {
                if let Some(details) = heartbeat {
                    match self.seal(id, Place::Heartbeat(run_id, step), details) {
                        Err(error @ PayloadError::TooLarge { .. }) => {
                            *heartbeat = None;
                            // What else the failure tells still counts.
                            failure.message = format!("[{error}; it was left out] {}", failure.message);
                        }
                        sealed => sealed?,
                    }
                }
                self.seal_failure(id, run_id, Some(step), failure)
            }
            Outcome::Started {} | Outcome::Cancelled {} | Outcome::Refused { .. } => Ok(()),
        }
    }
}

/// Whether the reason of a stall may quote what user code said or was given.
fn quotes_code(kind: StallKind) -> bool {
    match kind {
        StallKind::Nondeterminism | StallKind::ForeignWait | StallKind::Panic | StallKind::InvalidTurn => {
            true
        }
        StallKind::NoWorker
        | StallKind::UnknownType
        | StallKind::TaskTimeout
        | StallKind::UnreadablePayload => false,
    }
}
