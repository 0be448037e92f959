//! When a run wants to be woken: an ordered set of times with what each is for. Never early: an alarm is
//! due when the time given is at or past it.

use std::collections::BTreeSet;

use stepwell_shared::ids::{Seq, StepId};

/// How often a cancellation is told again to whoever may run the step, in milliseconds: it travels over
/// core NATS and may be missed by a worker that starts or reconnects.
pub const CANCEL_REPEAT_MS: u64 = 5_000;

/// What an alarm is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alarm {
    /// A timer of the code.
    Timer(Seq),
    /// The wait before a step's next attempt is over.
    Retry(StepId),
    /// The step waited for a worker too long.
    ScheduleToStart(StepId),
    /// The step took too long in all.
    ScheduleToClose(StepId),
    /// The run took too long.
    RunTimeout,
    /// The execution took too long.
    ExecutionTimeout,
    /// Ask the code again.
    Stall,
}

/// The alarms of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Alarms(BTreeSet<(u64, Alarm)>);

impl Alarms {
    pub(crate) fn set(&mut self, at_ms: u64, alarm: Alarm) {
        self.0.insert((at_ms, alarm));
    }

    pub(crate) fn clear(&mut self, at_ms: u64, alarm: Alarm) {
        self.0.remove(&(at_ms, alarm));
    }

    pub(crate) fn clear_all(&mut self) {
        self.0.clear();
    }

    pub(crate) fn next(&self) -> Option<u64> {
        self.0.first().map(|(at_ms, _)| *at_ms)
    }

    /// Alarms due at `now_ms`, earliest first.
    pub(crate) fn due(&self, now_ms: u64) -> impl Iterator<Item = Alarm> + '_ {
        self.0.iter().take_while(move |(at_ms, _)| *at_ms <= now_ms).map(|(_, alarm)| *alarm)
    }
}
