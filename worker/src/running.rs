//! The attempts that run or were reported in this process, and the steps that were cancelled before their
//! tasks came.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::Subject;
use stepwell_shared::api::AttemptRequest;
use stepwell_shared::ids::{RunId, StepId, WorkflowId};
use stepwell_shared::shard::Shard;
use stepwell_shared::task::ActivityTask;
use tokio_util::sync::CancellationToken;

/// How many cancelled steps are remembered for tasks that come later. The orchestrator repeats a
/// cancellation until the step has ended, so one that is forgotten is heard of again.
const REMEMBERED_CANCELLATIONS: usize = 10_000;

/// How many reported attempts are remembered. A server that is killed may forget what it delivered and what
/// was acknowledged in the last moments; tasks of that time come again as if for the first time.
const REMEMBERED_REPORTS: usize = 10_000;

/// The attempts that run here.
#[derive(Debug, Default)]
pub(crate) struct RunningAttempts(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    attempts: BTreeMap<Key, Attempt>,
    cancelled: HashSet<(RunId, StepId)>,
    order: VecDeque<(RunId, StepId)>,
    reported: HashSet<Key>,
    reported_order: VecDeque<Key>,
}

type Key = (RunId, StepId, u32);

/// What this process knows of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing.
    No,
    /// It runs here, or its report is not stored yet.
    Running,
    /// It ran here, and its report is stored.
    Reported,
}

#[derive(Debug)]
struct Attempt {
    workflow_id: WorkflowId,
    token: String,
    ack: Subject,
    /// Where the task lies.
    shard: Shard,
    /// Its sequence number there.
    sequence: u64,
    since: Instant,
    /// Whether it is known that nobody else has it.
    decided: bool,
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

    /// Waits until the worker asks for it because it ends.
    pub(crate) async fn asked_by_worker(&self) {
        self.token.cancelled().await;
        if self.asked_by_run() {
            std::future::pending().await
        }
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
    key: Key,
    pub(crate) stop: Arc<Stop>,
}

impl RunningAttempts {
    /// Enters an attempt. If its step was cancelled before, it is told to stop from the beginning.
    pub(crate) fn enter(
        &self,
        task: &ActivityTask,
        ack: Subject,
        (shard, sequence): (Shard, u64),
    ) -> Entry<'_> {
        let stop = Arc::new(Stop::default());
        let mut inner = self.lock();
        if inner.cancelled.contains(&(task.run_id.clone(), task.step)) {
            stop.ask_for_run();
        }
        let key = (task.run_id.clone(), task.step, task.attempt);
        let entered = Attempt {
            workflow_id: task.workflow_id.clone(),
            token: task.token.clone(),
            ack,
            shard,
            sequence,
            since: Instant::now(),
            decided: false,
            stop: Arc::clone(&stop),
        };
        inner.attempts.insert(key.clone(), entered);
        Entry { attempts: self, key, stop }
    }

    /// What is known of this very attempt.
    pub(crate) fn known(&self, run_id: &RunId, step: StepId, attempt: u32) -> Known {
        let (inner, key) = (self.lock(), (run_id.clone(), step, attempt));
        if inner.attempts.contains_key(&key) {
            Known::Running
        } else if inner.reported.contains(&key) {
            Known::Reported
        } else {
            Known::No
        }
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

    /// What to ask of the runs of attempts which have run for at least `age` and were not told to stop; of each run once.
    pub(crate) fn runs(&self, age: Duration) -> Vec<(RunId, AttemptRequest)> {
        let inner = self.lock();
        let mut runs: Vec<(RunId, AttemptRequest)> = Vec::new();
        for ((run_id, step, number), attempt) in &inner.attempts {
            let old = attempt.since.elapsed() >= age && !attempt.stop.token.is_cancelled();
            if old && runs.last().is_none_or(|(last, _)| last != run_id) {
                let request = AttemptRequest {
                    id: attempt.workflow_id.to_string(),
                    run_id: run_id.to_string(),
                    step: *step,
                    attempt: *number,
                    token: attempt.token.clone(),
                    run_only: true,
                };
                runs.push((run_id.clone(), request));
            }
        }
        runs
    }

    /// Tells every attempt of a run to stop. Returns how many were not told before.
    pub(crate) fn cancel_run(&self, run_id: &RunId) -> usize {
        let inner = self.lock();
        let attempts = inner.attempts.iter().filter(|((of, ..), _)| of == run_id);
        let untold = attempts.filter(|(_, attempt)| !attempt.stop.token.is_cancelled());
        untold.map(|(_, attempt)| attempt.stop.ask_for_run()).count()
    }

    /// Sequence numbers of a shard's tasks that are held here; of what is not decided only if `undecided`.
    pub(crate) fn tasks(&self, shard: Shard, undecided: bool) -> Vec<u64> {
        let inner = self.lock();
        let of_shard = inner.attempts.values().filter(|attempt| attempt.shard == shard);
        let held = of_shard.filter(|attempt| attempt.decided || undecided);
        held.map(|attempt| attempt.sequence).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry<'_> {
    /// Nobody else has the attempt.
    pub(crate) fn decided(&self) {
        if let Some(attempt) = self.attempts.lock().attempts.get_mut(&self.key) {
            attempt.decided = true;
        }
    }

    /// The attempt's report is stored.
    pub(crate) fn reported(self) {
        let mut inner = self.attempts.lock();
        if inner.reported.insert(self.key.clone()) {
            inner.reported_order.push_back(self.key.clone());
        }
        if inner.reported_order.len() > REMEMBERED_REPORTS
            && let Some(oldest) = inner.reported_order.pop_front()
        {
            inner.reported.remove(&oldest);
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.attempts.lock().attempts.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stepwell_shared::shard::Shards;

    use super::*;

    fn run(n: usize) -> RunId {
        RunId::new(format!("run-{n}")).unwrap()
    }

    fn enter(running: &RunningAttempts, n: usize, step: StepId, attempt: u32) -> Entry<'_> {
        let task = json!({
            "v": 1, "workflow_id": "w", "workflow_type": "t", "run_id": run(n), "step": step, "attempt": attempt,
            "type": "a", "input": null, "idempotency_key": "k", "token": format!("token-{n}"),
            "scheduled_at_ms": 0,
        });
        let task = serde_json::from_str(&task.to_string()).unwrap();
        running.enter(&task, Subject::from_static("ack"), (Shard::FIRST, n as u64))
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
    fn an_attempt_is_known_while_it_runs_and_when_it_was_reported() {
        let running = RunningAttempts::default();
        let known = |attempt| running.known(&run(1), StepId::Action(7), attempt);
        let entry = enter(&running, 1, StepId::Action(7), 3);
        assert_eq!((known(3), known(4)), (Known::Running, Known::No));
        assert_eq!(
            (running.tasks(Shard::FIRST, true), running.tasks(Shard::FIRST, false)),
            (vec![1], vec![])
        );
        entry.decided();
        assert_eq!((running.alive(Duration::ZERO).len(), running.tasks(Shard::FIRST, false)), (1, vec![1]));
        assert!(running.tasks(Shards::try_from(2).unwrap().of_partition(1), true).is_empty());
        assert_eq!(running.alive(Duration::from_secs(3_600)).len(), 0);
        drop(entry);
        assert_eq!(known(3), Known::No, "it was not reported");
        enter(&running, 1, StepId::Action(7), 4).reported();
        assert_eq!((known(4), running.alive(Duration::ZERO).len()), (Known::Reported, 0));
        for n in 0..REMEMBERED_REPORTS {
            enter(&running, n + 2, StepId::Action(7), 1).reported();
        }
        assert_eq!(known(4), Known::No, "only so many are remembered");
    }

    #[test]
    fn each_run_is_asked_about_once_until_its_attempts_are_told_to_stop() {
        let running = RunningAttempts::default();
        let entries = [(1, 7), (1, 8), (2, 7)].map(|(n, seq)| enter(&running, n, StepId::Action(seq), 1));
        let asked = |age| -> Vec<String> {
            running.runs(age).into_iter().map(|(_, request)| request.token).collect()
        };
        assert_eq!(asked(Duration::ZERO), ["token-1", "token-2"]);
        assert!(asked(Duration::from_secs(3_600)).is_empty());
        assert_eq!((running.cancel_run(&run(1)), running.cancel_run(&run(1))), (2, 0));
        assert_eq!(asked(Duration::ZERO), ["token-2"]);
        let told = entries.map(|entry| entry.stop.asked_by_run());
        assert_eq!(told, [true, true, false]);
    }
}
