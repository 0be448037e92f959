//! Until when this process may act on what it has in memory. Who stood still, or was cut off, for longer than
//! its lease must not publish what it had decided before: somebody else has taken over and decides now.
//!
//! Appends to HISTORY need no such check, they are fenced; everything else that is published does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A time limit that is moved on as the membership is renewed, and a partition's own end before it. All clones
/// are the same.
#[derive(Debug, Clone)]
pub(crate) struct Validity {
    limit: Arc<Mutex<Instant>>,
    ended: Arc<AtomicBool>,
}

impl Validity {
    pub(crate) fn new(until: Instant) -> Self {
        Self { limit: Arc::new(Mutex::new(until)), ended: Arc::default() }
    }

    /// The same limit, for something that may end before the others do.
    pub(crate) fn part(&self) -> Self {
        Self { limit: Arc::clone(&self.limit), ended: Arc::default() }
    }

    /// The membership was renewed. False when that was too late: what was to be published meanwhile was left
    /// to a successor, so this one must stop.
    #[must_use]
    pub(crate) fn extend(&self, until: Instant) -> bool {
        let mut limit = self.lock();
        let in_time = Instant::now() < *limit;
        if in_time {
            *limit = until;
        }
        in_time
    }

    /// Nothing holds any more, of no part.
    pub(crate) fn end_all(&self) {
        let mut limit = self.lock();
        *limit = Instant::now().min(*limit);
    }

    /// What this is about is somebody else's now.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(crate) fn holds(&self) -> bool {
        !self.ended.load(Ordering::Acquire) && Instant::now() < *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Instant> {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_holds_until_it_is_ended_or_over() {
        let hour = Duration::from_secs(3_600);
        let validity = Validity::new(Instant::now() + hour);
        let same = validity.clone();
        assert!(same.holds() && validity.extend(Instant::now() + 2 * hour));
        validity.end();
        assert!(!same.holds());
    }

    #[test]
    fn a_part_may_end_before_the_others() {
        let whole = Validity::new(Instant::now() + Duration::from_secs(3_600));
        let (one, other) = (whole.part(), whole.part());
        one.end();
        assert!(!one.holds() && other.holds() && whole.holds());
        whole.end_all();
        assert!(!other.holds() && !whole.holds());
        assert!(!Validity::new(Instant::now()).part().holds(), "the limit is the same");
    }

    #[test]
    fn what_is_over_stays_over() {
        let validity = Validity::new(Instant::now());
        assert!(!validity.extend(Instant::now() + Duration::from_secs(3_600)));
        assert!(!validity.holds());
    }
}
