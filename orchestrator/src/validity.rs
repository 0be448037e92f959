//! Until when this process may act on what it has in memory. Who stood still, or was cut off, for longer than
//! its lease must not publish what it had decided before: somebody else has taken over and decides now.
//!
//! Appends to HISTORY need no such check, they are fenced; everything else that is published does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// A time limit that is moved on as the lease is renewed. All clones are the same limit.
#[derive(Debug, Clone)]
pub(crate) struct Validity(Arc<Mutex<Instant>>);

impl Validity {
    pub(crate) fn new(until: Instant) -> Self {
        Self(Arc::new(Mutex::new(until)))
    }

    /// The lease was renewed.
    pub(crate) fn extend(&self, until: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// The lease is lost.
    pub(crate) fn end(&self) {
        self.extend(Instant::now());
    }

    pub(crate) fn holds(&self) -> bool {
        Instant::now() < *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_holds_until_it_is_ended_or_over() {
        let validity = Validity::new(Instant::now());
        assert!(!validity.holds());
        validity.extend(Instant::now() + Duration::from_secs(3_600));
        let same = validity.clone();
        assert!(same.holds());
        validity.end();
        assert!(!same.holds());
    }
}
