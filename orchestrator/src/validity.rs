//! Until when this process may act on what it has in memory. Who stood still, or was cut off, for longer than
//! its lease must not publish what it had decided before: somebody else has taken over and decides now.
//!
//! Appends to HISTORY need no such check, they are fenced; everything else that is published does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A time limit that is moved on as the lease is renewed. All clones are the same limit.
#[derive(Debug, Clone)]
pub(crate) struct Validity(Arc<Mutex<Instant>>);

impl Validity {
    pub(crate) fn new(until: Instant) -> Self {
        Self(Arc::new(Mutex::new(until)))
    }

    /// The lease was renewed. False when that was too late: what was to be published meanwhile was left to a
    /// successor, so this one must stop.
    #[must_use]
    pub(crate) fn extend(&self, until: Instant) -> bool {
        let mut limit = self.lock();
        let in_time = Instant::now() < *limit;
        if in_time {
            *limit = until;
        }
        in_time
    }

    /// The lease is lost.
    pub(crate) fn end(&self) {
        let mut limit = self.lock();
        *limit = Instant::now().min(*limit);
    }

    pub(crate) fn holds(&self) -> bool {
        Instant::now() < *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn what_is_over_stays_over() {
        let validity = Validity::new(Instant::now());
        assert!(!validity.extend(Instant::now() + Duration::from_secs(3_600)));
        assert!(!validity.holds());
    }
}
