//! What the code has asked for and waits for by number: activities, timers, compensation.

use std::panic::Location;
use std::task::Waker;

use stepwell_shared::command::Command;
use stepwell_shared::failure::Failure;
use stepwell_shared::ids::Seq;
use stepwell_shared::limits::MAX_PENDING_STEPS;
use stepwell_shared::payload::Payload;

use super::state::State;
use crate::stalled::Stalled;

/// One numbered wait.
pub(super) struct Step {
    kind: StepKind,
    shielded: bool,
    at: &'static Location<'static>,
    cancel_asked: bool,
    waker: Option<Waker>,
    outcome: Option<Outcome>,
}

/// What a number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StepKind {
    /// An activity.
    Activity {
        /// A cancelled one is waited for until no attempt of it runs any more.
        wait_on_cancel: bool,
    },
    /// A timer.
    Timer,
    /// The compensations that the code asked to be run.
    Compensation,
}

/// How a numbered wait ended.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// The activity returned.
    Completed(Payload),
    /// The activity failed.
    Failed(Failure),
    /// It was cancelled.
    Cancelled,
    /// The timer is due.
    Fired,
    /// The compensations have run.
    Compensated,
}

impl Outcome {
    /// Whether what has this kind can end like this.
    fn fits(&self, kind: StepKind) -> bool {
        match (self, kind) {
            (Self::Completed(_) | Self::Failed(_) | Self::Cancelled, StepKind::Activity { .. })
            | (Self::Fired, StepKind::Timer)
            | (Self::Compensated, StepKind::Compensation) => true,
            (Self::Completed(_) | Self::Failed(_) | Self::Cancelled, _)
            | (Self::Fired | Self::Compensated, _) => false,
        }
    }
}

impl State {
    /// Asks for something that is waited for, under the next number.
    pub(crate) fn begin_step(
        &mut self,
        kind: StepKind,
        shielded: bool,
        at: &'static Location<'static>,
        command: impl FnOnce(Seq) -> Command,
    ) -> Option<Seq> {
        if self.steps.len() >= MAX_PENDING_STEPS {
            self.fault.get_or_insert_with(|| too_many_pending(at));
            return None;
        }
        let seq = self.ask_new(Some(at), command)?;
        if kind == StepKind::Compensation {
            self.compensating = Some(seq);
        }
        let step = Step { kind, shielded, at, cancel_asked: false, waker: None, outcome: None };
        self.steps.insert(seq, step);
        Some(seq)
    }

    /// Takes the outcome, or leaves the waker. The waker that was there before is handed out to be
    /// dropped where no lock is held.
    pub(crate) fn poll_step(&mut self, seq: Seq, waker: &Waker) -> (Option<Outcome>, Option<Waker>) {
        let Some(step) = self.steps.get_mut(&seq) else { return (None, None) };
        if step.outcome.is_some() {
            self.progress += 1;
            return (self.steps.remove(&seq).and_then(|step| step.outcome), None);
        }
        if step.waker.as_ref().is_some_and(|before| before.will_wake(waker)) {
            return (None, None);
        }
        let before = step.waker.replace(waker.clone());
        self.awaited += usize::from(before.is_none());
        (None, before)
    }

    /// An event says how a step ended. What the code does not wait for, or what has ended, stays as it is.
    pub(super) fn settle(&mut self, seq: Seq, outcome: Outcome, wake: &mut Vec<Waker>) {
        let Some(step) = self.steps.get_mut(&seq) else { return };
        if step.outcome.is_some() || !outcome.fits(step.kind) {
            return;
        }
        step.outcome = Some(outcome);
        if let Some(waker) = step.waker.take() {
            self.awaited -= 1;
            wake.push(waker);
        }
    }

    /// The code asks for a step to be cancelled; returns whom to wake.
    pub(crate) fn cancel_step(&mut self, seq: Seq) -> Option<Waker> {
        let step = self.steps.get_mut(&seq)?;
        if step.outcome.is_some() {
            return None;
        }
        let (at, first) = (step.at, !std::mem::replace(&mut step.cancel_asked, true));
        let mut waker = None;
        if step.kind != (StepKind::Activity { wait_on_cancel: true }) {
            step.outcome = Some(Outcome::Cancelled);
            waker = step.waker.take();
            self.awaited -= usize::from(waker.is_some());
        }
        let command = cancel_command(step.kind, seq).filter(|_| first);
        if let Some(command) = command {
            self.ask_cancel(at, command);
        }
        waker
    }

    /// The run is asked to stop: every wait that is not shielded is cancelled, oldest first.
    pub(super) fn cancel_steps(&mut self, wake: &mut Vec<Waker>) {
        let open: Vec<Seq> = self
            .steps
            .iter()
            .filter(|(_, step)| !step.shielded && step.outcome.is_none())
            .map(|(seq, _)| *seq)
            .collect();
        wake.extend(open.into_iter().filter_map(|seq| self.cancel_step(seq)));
    }

    /// The code no longer cares. An open activity or timer is cancelled when the code itself dropped it
    /// (`ask`), and silently forgotten when the whole run goes away.
    pub(crate) fn abandon_step(&mut self, seq: Seq, ask: bool) -> Option<Waker> {
        let step = self.steps.remove(&seq)?;
        self.awaited -= usize::from(step.waker.is_some());
        let open = step.outcome.is_none() && !step.cancel_asked;
        if let Some(command) = cancel_command(step.kind, seq).filter(|_| ask && open) {
            self.ask_cancel(step.at, command);
        }
        step.waker
    }

    /// Everything that holds user code's wakers, to be dropped where no lock is held.
    pub(super) fn take_step_wakers(&mut self) -> Vec<Waker> {
        self.awaited = 0;
        std::mem::take(&mut self.steps).into_values().filter_map(|step| step.waker).collect()
    }
}

/// Compensation, once asked for, is not called off.
fn cancel_command(kind: StepKind, seq: Seq) -> Option<Command> {
    match kind {
        StepKind::Activity { .. } => Some(Command::CancelActivity { seq }),
        StepKind::Timer => Some(Command::CancelTimer { seq }),
        StepKind::Compensation => None,
    }
}

fn too_many_pending(at: &'static Location<'static>) -> Stalled {
    Stalled::invalid(format!(
        "workflow code has {MAX_PENDING_STEPS} activities and timers pending and asked for another one at \
         {at}; no more are allowed. Bound how many run at once with ctx.map_concurrent, or hand each \
         activity more than one item"
    ))
}
