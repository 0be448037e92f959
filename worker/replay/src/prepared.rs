//! A call of an activity before it is asked for, and the checks that it passes then. A call that does
//! not pass emits no command: it resolves to a failure that names the activity and the line.

use std::panic::Location;
use std::sync::Arc;

use stepwell_shared::command::{Command, Compensation, RunActivity};
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::ids::Name;
use stepwell_shared::options::ActivityOptions;
use stepwell_shared::payload::Payload;

use crate::error::ActivityFailure;
use crate::handle::{ActivityHandle, Stage};
use crate::run::{Shared, StepKind};
use crate::wait::PendingStep;

pub(crate) struct Prepared {
    pub(crate) run: Arc<Shared>,
    pub(crate) shielded: bool,
    pub(crate) at: &'static Location<'static>,
    pub(crate) activity: Arc<str>,
    pub(crate) queue: Option<String>,
    pub(crate) input: Result<Payload, String>,
    pub(crate) options: ActivityOptions,
    pub(crate) undo: Option<PreparedUndo>,
    pub(crate) wait_on_cancel: bool,
}

pub(crate) struct PreparedUndo {
    pub(crate) activity: String,
    pub(crate) queue: Option<String>,
    pub(crate) options: ActivityOptions,
}

impl Prepared {
    /// Asks for the activity.
    pub(crate) fn start<O>(&self) -> ActivityHandle<O> {
        let stage = match self.ask() {
            Ok(Some(step)) => Stage::Open(step),
            Ok(None) => Stage::Dead,
            Err(failure) => Stage::Refused(ActivityFailure::new(&self.activity, None, failure)),
        };
        ActivityHandle::new(self.activity.clone(), stage)
    }

    fn ask(&self) -> Result<Option<PendingStep>, Failure> {
        let Some(mut state) = self.run.act("run an activity") else { return Ok(None) };
        if !self.shielded && state.cancel.is_some() {
            let message = format!("the run was asked to stop before the call at {}", self.at);
            return Err(Failure::new(FailureKind::Cancelled, message));
        }
        let Some(started) = &state.started else { return Ok(None) };
        let command = self.command(&started.queue)?;
        let kind = StepKind::Activity { wait_on_cancel: self.wait_on_cancel };
        let seq = state.begin_step(kind, self.shielded, self.at, |seq| {
            Command::RunActivity(RunActivity { seq, ..command })
        });
        Ok(seq.map(|seq| PendingStep::new(self.run.clone(), seq)))
    }

    /// The command, but for its number.
    fn command(&self, run_queue: &Name) -> Result<RunActivity, Failure> {
        let activity_type = self.name("its type", &self.activity)?;
        let queue = self.queue(self.queue.as_deref(), run_queue)?;
        self.check("", &self.options)?;
        let compensation = self.undo.as_ref().map(|undo| self.compensation(undo, run_queue)).transpose()?;
        let input = self
            .input
            .clone()
            .map_err(|reason| self.refuse(FailureKind::Payload, &format!("its input {reason}")))?;
        let options = self.options.clone();
        Ok(RunActivity { seq: 0, activity_type, queue, input, options, compensation })
    }

    fn compensation(&self, undo: &PreparedUndo, run_queue: &Name) -> Result<Box<Compensation>, Failure> {
        let activity_type = self.name("the type of its compensation", &undo.activity)?;
        let queue = self.queue(undo.queue.as_deref(), run_queue)?;
        self.check(&format!("its compensation `{activity_type}`: "), &undo.options)?;
        Ok(Box::new(Compensation { activity_type, queue, options: undo.options.clone() }))
    }

    fn queue(&self, queue: Option<&str>, run_queue: &Name) -> Result<Name, Failure> {
        match queue {
            Some(queue) => self.name("its queue", queue),
            None => Ok(run_queue.clone()),
        }
    }

    fn name(&self, what: &str, text: &str) -> Result<Name, Failure> {
        Name::new(text).map_err(|error| self.invalid(&format!("{what}: {error}")))
    }

    fn check(&self, whose: &str, options: &ActivityOptions) -> Result<(), Failure> {
        options.validate().map_err(|error| self.invalid(&format!("{whose}{error}")))?;
        let retry = &options.retry;
        // Not only senseless: such numbers have no JSON form.
        if !(retry.backoff_coefficient >= 1.0 && retry.backoff_coefficient.is_finite()) {
            let found = retry.backoff_coefficient;
            return Err(
                self.invalid(&format!("{whose}backoff_coefficient is {found}; it must be at least 1"))
            );
        }
        if !(0.0..=1.0).contains(&retry.jitter) {
            let found = retry.jitter;
            return Err(self.invalid(&format!("{whose}jitter is {found}; it must be between 0 and 1")));
        }
        Ok(())
    }

    fn invalid(&self, reason: &str) -> Failure {
        let mut failure = self.refuse(FailureKind::Application, reason);
        failure.error_type = "InvalidOptions".to_owned();
        failure
    }

    fn refuse(&self, kind: FailureKind, reason: &str) -> Failure {
        let message = format!("activity `{}`, called at {}: {reason}", self.activity, self.at);
        let mut failure = Failure::new(kind, message);
        failure.non_retryable = true;
        failure
    }
}
