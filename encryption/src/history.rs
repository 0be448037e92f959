//! What is recorded: commands on their way out, events and records on their way in.

use stepwell_shared::command::Command;
use stepwell_shared::history::{Event, Record};
use stepwell_shared::ids::{RunId, StepId, WorkflowId};

use crate::error::PayloadError;
use crate::payloads::Payloads;
use crate::place::Place;

impl Payloads {
    /// Encrypts what the commands of a turn carry.
    ///
    /// # Errors
    /// [`PayloadError`] of the first that could not be encrypted; none of them must be sent then.
    pub fn seal_commands(
        &self,
        id: &WorkflowId,
        run_id: &RunId,
        commands: &mut [Command],
    ) -> Result<(), PayloadError> {
        if !self.encrypts() {
            return Ok(());
        }
        commands.iter_mut().try_for_each(|command| match command {
            Command::RunActivity(activity) => {
                let place = Place::ActivityInput(run_id, StepId::Action(activity.seq));
                self.seal(id, place, &mut activity.input)
            }
            Command::CompleteRun { result } => self.seal(id, Place::WorkflowResult(run_id), result),
            Command::FailRun { failure } | Command::CancelRun { failure } => {
                self.seal_failure(id, run_id, None, failure)
            }
            Command::CancelActivity { .. }
            | Command::StartTimer { .. }
            | Command::CancelTimer { .. }
            | Command::RaceWon { .. }
            | Command::Pivot { .. }
            | Command::Compensate { .. } => Ok(()),
        })
    }

    fn open_command(
        &self,
        id: &WorkflowId,
        run_id: &RunId,
        command: &mut Command,
    ) -> Result<(), PayloadError> {
        match command {
            Command::RunActivity(activity) => {
                let place = Place::ActivityInput(run_id, StepId::Action(activity.seq));
                self.open(id, place, &mut activity.input)
            }
            Command::CompleteRun { result } => self.open(id, Place::WorkflowResult(run_id), result),
            Command::FailRun { failure } | Command::CancelRun { failure } => {
                self.open_failure(id, run_id, None, failure)
            }
            Command::CancelActivity { .. }
            | Command::StartTimer { .. }
            | Command::CancelTimer { .. }
            | Command::RaceWon { .. }
            | Command::Pivot { .. }
            | Command::Compensate { .. } => Ok(()),
        }
    }

    /// Decrypts what an event carries.
    ///
    /// # Errors
    /// [`PayloadError`] when it cannot be decrypted here.
    pub fn open_event(&self, id: &WorkflowId, run_id: &RunId, event: &mut Event) -> Result<(), PayloadError> {
        match event {
            Event::RunStarted(started) => {
                self.open(id, Place::WorkflowInput(&started.workflow_type), &mut started.input)
            }
            Event::SignalReceived { name, payload, request_id: _ } => {
                self.open(id, Place::Signal(name), payload)
            }
            Event::AttemptFailed { step, failure, heartbeat, .. } => {
                self.open_failure(id, run_id, Some(*step), failure)?;
                match heartbeat {
                    Some(heartbeat) => self.open(id, Place::Heartbeat(run_id, *step), heartbeat),
                    None => Ok(()),
                }
            }
            Event::ActivityCompleted { seq, result, .. } => {
                self.open(id, Place::ActivityResult(run_id, StepId::Action(*seq)), result)
            }
            Event::ActivityFailed { seq, failure, .. } => {
                self.open_failure(id, run_id, Some(StepId::Action(*seq)), failure)
            }
            Event::CompensationFailed { seq, failure } => {
                self.open_failure(id, run_id, Some(StepId::Undo(*seq)), failure)
            }
            Event::RunTimedOut { failure } => self.open_failure(id, run_id, None, failure),
            Event::CancelRequested { .. }
            | Event::RunTerminated { .. }
            | Event::AttemptStarted { .. }
            | Event::AttemptRefused { .. }
            | Event::AttemptScheduled { .. }
            | Event::ActivityCancelled { .. }
            | Event::TimerFired { .. }
            | Event::CompensationStarted { .. }
            | Event::CompensationCompleted { .. }
            | Event::CompensationResolved { .. }
            | Event::CompensationsFinished { .. } => Ok(()),
        }
    }

    /// Decrypts what a record carries, but for the message of a stall, which nothing depends on.
    ///
    /// # Errors
    /// [`PayloadError`] of the first payload that cannot be decrypted here.
    pub fn open_record(&self, id: &WorkflowId, record: &mut Record) -> Result<(), PayloadError> {
        let Record { run_id, events, turn, .. } = record;
        events.iter_mut().try_for_each(|event| self.open_event(id, run_id, event))?;
        let mut commands = turn.iter_mut().flat_map(|turn| &mut turn.commands);
        commands.try_for_each(|command| self.open_command(id, run_id, command))
    }

    /// Decrypts for people what can be decrypted of a record; the rest stays as it is.
    pub fn reveal_record(&self, id: &WorkflowId, record: &mut Record) {
        let Record { run_id, events, turn, stall, .. } = record;
        for event in events {
            let _ = self.open_event(id, run_id, event);
        }
        for command in turn.iter_mut().flat_map(|turn| &mut turn.commands) {
            let _ = self.open_command(id, run_id, command);
        }
        if let Some(stall) = stall {
            let _ = self.open_text(id, Place::StallMessage(run_id), &mut stall.message);
        }
    }
}
