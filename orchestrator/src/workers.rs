//! The workers that are known now, from their announcements. A hint for people and for runs that wait for
//! a worker, and for tasks that a worker without their code had taken.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use stepwell_shared::announce::{ANNOUNCE_EXPIRY_MS, Announcement};
use stepwell_shared::ids::{Name, WorkerId};

use crate::metric_definitions::Metrics;

/// Most workers that are remembered; announcements of further ones are not.
const MAX_WORKERS: usize = 10_000;

/// The workers that are known now.
#[derive(Default)]
pub(crate) struct Workers {
    known: Mutex<HashMap<WorkerId, Seen>>,
}

struct Seen {
    announcement: Announcement,
    at: Instant,
}

impl Seen {
    fn alive(&self) -> bool {
        self.at.elapsed() < Duration::from_millis(ANNOUNCE_EXPIRY_MS)
    }
}

impl Workers {
    /// Takes an announcement. True when the worker, or something that it has code for, is new.
    pub(crate) fn announced(&self, announcement: Announcement) -> bool {
        let mut known = self.lock();
        if announcement.leaving {
            known.remove(&announcement.worker);
            return false;
        }
        let before = known.get(&announcement.worker);
        let new = before.is_none_or(|seen| {
            seen.announcement.workflows != announcement.workflows
                || seen.announcement.activities != announcement.activities
        });
        if before.is_some() || known.len() < MAX_WORKERS {
            known.insert(announcement.worker.clone(), Seen { announcement, at: Instant::now() });
        }
        new
    }

    /// Forgets workers that were not heard of for too long.
    pub(crate) fn sweep(&self) {
        self.lock().retain(|_, seen| seen.alive());
    }

    /// Writes the gauges, which hold nothing.
    pub(crate) fn count(&self, metrics: &Metrics) {
        let known = self.lock();
        let mut queues: BTreeMap<&Name, (i64, i64, i64)> = BTreeMap::new();
        for seen in known.values() {
            let sums = queues.entry(&seen.announcement.queue).or_default();
            sums.0 += 1;
            sums.1 += i64::from(seen.announcement.slots_used);
            sums.2 += i64::from(seen.announcement.slots.saturating_sub(seen.announcement.slots_used));
        }
        for (queue, (workers, used, free)) in queues {
            let queue = metrics.label(queue.as_str());
            metrics.workers.with_label_values(&[queue]).set(workers);
            metrics.worker_slots.with_label_values(&[queue, "used"]).set(used);
            metrics.worker_slots.with_label_values(&[queue, "free"]).set(free);
        }
    }

    /// The workers of a queue, or all of them, by id.
    pub(crate) fn list(&self, queue: Option<&Name>) -> Vec<Announcement> {
        let known = self.lock();
        let wanted =
            known.values().filter(|seen| queue.is_none_or(|queue| seen.announcement.queue == *queue));
        let mut list: Vec<_> =
            wanted.filter(|seen| seen.alive()).map(|seen| seen.announcement.clone()).collect();
        list.sort_by(|a, b| (&a.queue, &a.worker).cmp(&(&b.queue, &b.worker)));
        list
    }

    /// A worker of the queue that has code for this workflow type: the one that was heard of last.
    pub(crate) fn with_code(&self, queue: &Name, workflow_type: &Name) -> Option<WorkerId> {
        let known = self.lock();
        let able = known.values().filter(|seen| {
            let Announcement { queue: served, workflows, .. } = &seen.announcement;
            served == queue && workflows.contains(workflow_type) && seen.alive()
        });
        able.max_by_key(|seen| seen.at).map(|seen| seen.announcement.worker.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WorkerId, Seen>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
