//! How events change a run: results settle steps, signals are buffered, a request to stop cancels what
//! is not shielded. All events of a turn are applied before the code is polled.

use std::task::Waker;

use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::history::Event;

use super::state::State;
use super::step::Outcome;

impl State {
    /// Applies the events of one turn; returns whom to wake, in the order of the events.
    ///
    /// The request to stop takes effect after everything else of the turn: what has a result keeps it.
    pub(crate) fn apply<'a>(&mut self, events: impl IntoIterator<Item = &'a Event>) -> Vec<Waker> {
        self.ask_what_is_owed();
        let mut wake = Vec::new();
        let was_cancelled = self.cancel.is_some();
        for event in events {
            self.apply_one(event, &mut wake);
        }
        if self.cancel.is_some() && !was_cancelled {
            self.cancel_steps(&mut wake);
            self.wake_parked_for_cancel(&mut wake);
        }
        wake
    }

    fn apply_one(&mut self, event: &Event, wake: &mut Vec<Waker>) {
        match event {
            Event::RunStarted(started) => {
                if self.started.is_none() {
                    self.started = Some(started.clone());
                    self.started_at_ms = self.now_ms;
                }
            }
            Event::SignalReceived { name, payload, request_id: _ } => {
                self.buffer_signal(name.as_str(), payload.clone(), wake);
            }
            Event::CancelRequested { reason } => {
                self.cancel.get_or_insert_with(|| Failure::new(FailureKind::Cancelled, reason.as_str()));
            }
            Event::RunTimedOut { failure } => {
                self.cancel.get_or_insert_with(|| failure.clone());
            }
            Event::ActivityCompleted { seq, attempt: _, result } => {
                self.settle(*seq, Outcome::Completed(result.clone()), wake);
            }
            Event::ActivityFailed { seq, attempt: _, failure } => {
                self.settle(*seq, Outcome::Failed(failure.clone()), wake);
            }
            Event::ActivityCancelled { seq } => self.settle(*seq, Outcome::Cancelled, wake),
            Event::TimerFired { seq } => self.settle(*seq, Outcome::Fired, wake),
            Event::CompensationsFinished { seq: Some(seq) } => {
                self.end_compensations(*seq, wake);
                self.settle(*seq, Outcome::Compensated, wake);
            }
            // The rest is between orchestrator and workers; code does not see it.
            Event::CompensationsFinished { seq: None }
            | Event::RunTerminated { .. }
            | Event::AttemptFailed { .. }
            | Event::AttemptRefused { .. }
            | Event::AttemptScheduled { .. }
            | Event::AttemptStarted { .. }
            | Event::CompensationStarted { .. }
            | Event::CompensationCompleted { .. }
            | Event::CompensationFailed { .. }
            | Event::CompensationResolved { .. } => {}
        }
    }
}
