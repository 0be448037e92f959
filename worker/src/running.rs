//! The attempts that run in this process, and the steps that were cancelled before their tasks came.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::Subject;
use stepwell_shared::ids::{RunId, StepId};
use tokio_util::sync::CancellationToken;

/// How many cancelled steps are remembered for tasks that come later. The orchestrator repeats a
/// cancellation until the step has ended, so one that is forgotten is heard of again.
const REMEMBERED_CANCELLATIONS: usize = 10_000;

/// The attempts that run here.
#[derive(Debug, Default)]
pub(crate) struct RunningAttempts(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    attempts: BTreeMap<(RunId, StepId, u32), Attempt>,
    cancelled: HashSet<(RunId, StepId)>,
    order: VecDeque<(RunId, StepId)>,
}

#[derive(Debug)]
struct Attempt {
    ack: Subject,
    since: Instant,
    stop: Arc<Stop>,
}

/// The word to stop, and who gave it.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    pub(crate) token: CancellationToken,
    by_run: AtomicBool,
}

impl Stop {
    /// Whether the run asked for it.
    pub(crate) fn asked_by_run(&self) -> bool {
        self.by_run.load(Ordering::Relaxed)
    }

    fn ask_for_run(&self) {
        self.by_run.store(true, Ordering::Relaxed);
        self.token.cancel();
    }
}

/// An attempt's place among those that run, until this is dropped.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    attempts: &'a RunningAttempts,
    key: (RunId, StepId, u32),
    pub(crate) stop: Arc<Stop>,
}

impl RunningAttempts {
    /// Enters an attempt. If its step was cancelled before, it is told to stop from the beginning.
    pub(crate) fn enter(&self, run_id: &RunId, step: StepId, attempt: u32, ack: Subject) -> Entry<'_> {
        let stop = Arc::new(Stop::default());
        let mut inner = self.lock();
        if inner.cancelled.contains(&(run_id.clone(), step)) {
            stop.ask_for_run();
        }
        let key = (run_id.clone(), step, attempt);
        let entered = Attempt { ack, since: Instant::now(), stop: Arc::clone(&stop) };
        inner.attempts.insert(key.clone(), entered);
        Entry { attempts: self, key, stop }
    }

    /// Whether this very attempt runs here.
    pub(crate) fn holds(&self, run_id: &RunId, step: StepId, attempt: u32) -> bool {
        self.lock().attempts.contains_key(&(run_id.clone(), step, attempt))
    }

    /// Tells every attempt of a step to stop, those that come later included.
    pub(crate) fn cancel(&self, run_id: RunId, step: StepId) {
        let mut inner = self.lock();
        let first = (run_id.clone(), step, 0);
        let last = (run_id.clone(), step, u32::MAX);
        for (_, attempt) in inner.attempts.range(first..=last) {
            attempt.stop.ask_for_run();
        }
        if inner.cancelled.insert((run_id.clone(), step)) {
            inner.order.push_back((run_id, step));
        }
        if inner.order.len() > REMEMBERED_CANCELLATIONS
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.cancelled.remove(&oldest);
        }
    }

    /// Tells every attempt to stop because the worker ends.
    pub(crate) fn stop_all(&self) {
        for attempt in self.lock().attempts.values() {
            attempt.stop.token.cancel();
        }
    }

    /// Where to say that attempts are alive which have run for at least `age`.
    pub(crate) fn alive(&self, age: Duration) -> Vec<Subject> {
        let inner = self.lock();
        let old = inner.attempts.values().filter(|attempt| attempt.since.elapsed() >= age);
        old.map(|attempt| attempt.ack.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.attempts.lock().attempts.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(n: usize) -> RunId {
        RunId::new(format!("run-{n}")).unwrap()
    }

    fn enter(running: &RunningAttempts, n: usize, step: StepId, attempt: u32) -> Entry<'_> {
        running.enter(&run(n), step, attempt, Subject::from_static("ack"))
    }

    #[test]
    fn a_cancellation_reaches_all_attempts_of_its_step_and_no_other() {
        let running = RunningAttempts::default();
        let ours = [1, 2].map(|attempt| enter(&running, 1, StepId::Action(7), attempt));
        let others = [
            enter(&running, 1, StepId::Action(8), 1),
            enter(&running, 1, StepId::Undo(7), 1),
            enter(&running, 2, StepId::Action(7), 1),
        ];
        running.cancel(run(1), StepId::Action(7));
        assert!(ours.iter().all(|entry| entry.stop.token.is_cancelled() && entry.stop.asked_by_run()));
        assert!(others.iter().all(|entry| !entry.stop.token.is_cancelled()));
        running.stop_all();
        assert!(others.iter().all(|entry| entry.stop.token.is_cancelled() && !entry.stop.asked_by_run()));
    }

    #[test]
    fn a_cancellation_is_remembered_for_a_while() {
        let running = RunningAttempts::default();
        for n in 0..=REMEMBERED_CANCELLATIONS {
            running.cancel(run(n), StepId::Action(1));
            running.cancel(run(n), StepId::Action(1));
        }
        assert!(!enter(&running, 0, StepId::Action(1), 1).stop.token.is_cancelled());
        assert!(enter(&running, 1, StepId::Action(1), 1).stop.token.is_cancelled());
    }

    #[test]
    fn an_attempt_is_held_until_it_leaves() {
        let running = RunningAttempts::default();
        let entry = enter(&running, 1, StepId::Action(7), 3);
        assert!(running.holds(&run(1), StepId::Action(7), 3));
        assert!(!running.holds(&run(1), StepId::Action(7), 4));
        assert_eq!(running.alive(Duration::ZERO).len(), 1);
        assert_eq!(running.alive(Duration::from_secs(3_600)).len(), 0);
        drop(entry);
        assert!(!running.holds(&run(1), StepId::Action(7), 3));
    }
}
