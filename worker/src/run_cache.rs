//! The live code of runs, kept between workflow tasks: least recently used goes first. Whoever works on a
//! run holds its slot, so a run has one task at a time.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stepwell_shared::ids::RunId;
use stepwell_worker_replay::Instance;

/// The place of one run: empty while its code is not in memory.
pub(crate) type RunSlot = Arc<tokio::sync::Mutex<Option<Kept>>>;

/// A run's live code.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) instance: Instance,
    /// Which turn it made last, in the orchestrator's words.
    pub(crate) mark: Option<String>,
}

/// The runs in memory, and those that are being worked on.
#[derive(Debug)]
pub(crate) struct RunCache {
    inner: Mutex<Inner>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Inner {
    runs: HashMap<RunId, Cached>,
    by_age: BTreeMap<u64, RunId>,
    next: u64,
}

#[derive(Debug)]
struct Cached {
    slot: RunSlot,
    used: u64,
}

/// What became of the cache after a task.
#[derive(Debug)]
pub(crate) struct Settled {
    /// Runs that had to make room; their code is dropped with this.
    pub(crate) evicted: Vec<RunSlot>,
    /// Runs that are left.
    pub(crate) size: usize,
}

impl RunCache {
    /// Keeps `capacity` runs; with 0 every run is replayed for every task.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { inner: Mutex::new(Inner::default()), capacity }
    }

    /// The run's slot, to be locked for a task. Give it back with [`settle`](Self::settle).
    pub(crate) fn slot(&self, run_id: &RunId) -> RunSlot {
        let mut inner = self.lock();
        let now = inner.next;
        inner.next += 1;
        if let Some(cached) = inner.runs.get_mut(run_id) {
            let before = std::mem::replace(&mut cached.used, now);
            let slot = Arc::clone(&cached.slot);
            inner.by_age.remove(&before);
            inner.by_age.insert(now, run_id.clone());
            return slot;
        }
        let slot = RunSlot::default();
        inner.runs.insert(run_id.clone(), Cached { slot: Arc::clone(&slot), used: now });
        inner.by_age.insert(now, run_id.clone());
        slot
    }

    /// The task is done and the slot no longer locked: forgets the run if its code is gone, and others if
    /// there are too many.
    pub(crate) fn settle(&self, run_id: &RunId, slot: RunSlot) -> Settled {
        let empty = slot.try_lock().is_ok_and(|instance| instance.is_none());
        drop(slot);
        let mut inner = self.lock();
        if empty {
            inner.remove_idle(run_id);
        }
        let mut evicted = Vec::new();
        while inner.runs.len() > self.capacity {
            let idle = |run_id: &&RunId| inner.runs.get(*run_id).is_some_and(Cached::idle);
            let Some(oldest) = inner.by_age.values().find(idle).cloned() else { break };
            evicted.extend(inner.remove_idle(&oldest));
        }
        Settled { evicted, size: inner.runs.len() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held: instances are dropped by callers.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Removes a run that nobody works on or waits for.
    fn remove_idle(&mut self, run_id: &RunId) -> Option<RunSlot> {
        if !self.runs.get(run_id).is_some_and(Cached::idle) {
            return None;
        }
        let cached = self.runs.remove(run_id)?;
        self.by_age.remove(&cached.used);
        Some(cached.slot)
    }
}

impl Cached {
    fn idle(&self) -> bool {
        // Clones are made under the lock that the caller holds.
        Arc::strong_count(&self.slot) == 1
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use stepwell_shared::ids::WorkflowId;
    use stepwell_worker_replay::WorkflowCode;

    use super::*;

    fn run(n: u32) -> RunId {
        RunId::new(format!("run-{n}")).unwrap()
    }

    fn instance(run_id: &RunId) -> Instance {
        let code = WorkflowCode::from_fn("w", |_, input| async { Ok(input) }.boxed());
        Instance::new(code, WorkflowId::new("w").unwrap(), run_id.clone())
    }

    /// A task: puts code into the slot if there is none. True when there was.
    fn work(cache: &RunCache, n: u32) -> (bool, Settled) {
        let run_id = run(n);
        let slot = cache.slot(&run_id);
        let hit = {
            let mut guard = slot.try_lock().unwrap();
            guard.replace(Kept { instance: instance(&run_id), mark: None }).is_some()
        };
        (hit, cache.settle(&run_id, slot))
    }

    #[test]
    fn the_least_recently_used_run_goes() {
        let cache = RunCache::new(2);
        assert!(!work(&cache, 1).0);
        assert!(!work(&cache, 2).0);
        assert!(work(&cache, 1).0);
        let (hit, settled) = work(&cache, 3);
        assert!(!hit);
        assert_eq!((settled.evicted.len(), settled.size), (1, 2));
        assert!(work(&cache, 1).0);
        assert!(!work(&cache, 2).0);
    }

    #[test]
    fn with_no_room_nothing_stays() {
        let cache = RunCache::new(0);
        for _ in 0..2 {
            let (hit, settled) = work(&cache, 1);
            assert!(!hit);
            assert_eq!((settled.evicted.len(), settled.size), (1, 0));
        }
    }

    #[test]
    fn a_run_that_is_worked_on_stays() {
        let cache = RunCache::new(1);
        let held = cache.slot(&run(1));
        let guard = held.try_lock().unwrap();
        let (_, settled) = work(&cache, 2);
        assert_eq!((settled.evicted.len(), settled.size), (1, 1));
        assert!(Arc::ptr_eq(&held, &cache.slot(&run(1))));
        drop(guard);
        assert_eq!(cache.settle(&run(1), held).size, 0);
    }

    #[test]
    fn a_run_whose_code_is_gone_is_forgotten() {
        let cache = RunCache::new(10);
        work(&cache, 1);
        let slot = cache.slot(&run(1));
        slot.try_lock().unwrap().take();
        assert_eq!(cache.settle(&run(1), slot).size, 0);
    }
}
