//! What a worker counts: steps, and the time between the steps of one workflow. The driver asks for it over
//! the worker's standard input; the end of that input ends the worker.
//!
//! Counting where steps are done is the same for every peer, and takes no part in what is measured.

use std::io::BufRead as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::payload::Step;

/// What was counted since it was last asked for.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Count {
    pub(crate) steps: u64,
    /// Microseconds from one step to the next of the same workflow, of those that are timed.
    pub(crate) gaps: Vec<u32>,
}

/// Counts.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    count: Count,
    last: Option<(u32, Instant)>,
}

impl Tally {
    /// Notes that this step is being done.
    pub(crate) fn note(&self, step: &Step) {
        let mut state = self.state();
        state.count.steps += 1;
        if !step.timed {
            return;
        }
        let now = Instant::now();
        // Timed workflows run one at a time, and a first step has none before it.
        if let Some((before, at)) = state.last
            && step.number == before + 1
        {
            let gap = u32::try_from((now - at).as_micros()).unwrap_or(u32::MAX);
            state.count.gaps.push(gap);
        }
        state.last = Some((step.number, now));
    }

    /// Prints `first`, then the count whenever a line is read; returns what hears of the end of the lines.
    pub(crate) fn answer(self: &Arc<Self>, first: String) -> oneshot::Receiver<Result<()>> {
        let (ended, end) = oneshot::channel();
        let tally = self.clone();
        // A thread of its own, so that an answer does not wait for what is measured.
        std::thread::spawn(move || {
            let _ = ended.send(tally.answer_lines(&first)); // nobody listens when the worker has failed
        });
        end
    }

    fn answer_lines(&self, first: &str) -> Result<()> {
        println!("{first}");
        for line in std::io::stdin().lock().lines() {
            line?;
            let count = std::mem::take(&mut self.state().count);
            println!("{}", serde_json::to_string(&count)?);
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    /// Adds what another worker counted.
    pub(crate) fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.gaps.extend(other.gaps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Plan;

    #[test]
    fn only_steps_that_follow_each_other_are_timed() {
        let tally = Tally::default();
        let (timed, other) = (Plan::new(3, true), Plan::new(3, false));
        for number in [0, 1, 2, 0, 1] {
            tally.note(&timed.step(number));
        }
        tally.note(&other.step(2));
        let count = &tally.state().count;
        assert_eq!((count.steps, count.gaps.len()), (6, 3));
    }
}
