//! When the `state` bucket is read through next. Never reads it, and never asks what time it is.

use std::time::{Duration, Instant};

/// How often it is read. It is read whole, so not often.
const EVERY: Duration = Duration::from_secs(60);

/// How soon it is read again when the partitions are new; then every pause is twice the one before. A run that was stuck
/// under the owner before is tried again first, so the first reading after that does not find it.
const SOON: Duration = Duration::from_secs(2);

/// After reading it, so many times as long it is not read. Reading is unhurried as well: it leaves three quarters of the
/// time that it takes to others.
const SHARE: u32 = 5;

/// How it was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read {
    /// How long reading took.
    pub(crate) took: Duration,
    /// Something is left to be done that does not wait for the usual time.
    pub(crate) more: bool,
}

/// The rhythm of reading.
#[derive(Debug)]
pub(crate) struct Rhythm {
    usual: Duration,
    owned: Vec<u32>,
    pause: Duration,
    next: Option<Instant>,
}

impl Rhythm {
    /// One that reads at least so often, if that leaves time for anything else.
    pub(crate) fn new(at_least_every: Duration) -> Self {
        let usual = EVERY.min(at_least_every);
        Self { usual, owned: Vec::new(), pause: SOON.min(usual), next: None }
    }

    /// Whether it is to be read now, when these partitions are owned: when it is time, and when they are new and have been
    /// the same since it was asked last.
    pub(crate) fn due(&mut self, owned: &[u32], now: Instant) -> bool {
        if owned != self.owned {
            self.owned = owned.to_vec();
            (self.pause, self.next) = (SOON.min(self.usual), None);
            return false;
        }
        !owned.is_empty() && self.next.is_none_or(|next| now >= next)
    }

    /// Takes note that it was read.
    pub(crate) fn read(&mut self, read: &Read, now: Instant) {
        let at_least = read.took.saturating_mul(SHARE);
        let pause = if read.more { at_least.min(EVERY.max(read.took)) } else { self.pause.max(at_least) };
        self.next = Some(now + pause);
        self.pause = (2 * self.pause).min(self.usual);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Read = Read { took: Duration::from_millis(10), more: false };

    #[test]
    fn new_partitions_are_read_at_once_and_then_more_and_more_rarely() {
        let (began, mut rhythm) = (Instant::now(), Rhythm::new(Duration::from_secs(600)));
        assert!(!rhythm.due(&[], began) && !rhythm.due(&[], began), "there is nothing to read");
        assert!(!rhythm.due(&[1], began), "more may come");
        let mut read_at = Vec::new();
        for second in 0..200 {
            let now = began + Duration::from_secs(second);
            if rhythm.due(&[1], now) {
                read_at.push(second);
                rhythm.read(&QUICK, now);
            }
        }
        assert_eq!(read_at, [0, 2, 6, 14, 30, 62, 122, 182]);
    }

    #[test]
    fn partitions_that_went_and_came_back_are_new() {
        let (now, mut rhythm) = (Instant::now(), Rhythm::new(EVERY));
        assert!(!rhythm.due(&[1, 2], now));
        assert!(rhythm.due(&[1, 2], now));
        rhythm.read(&QUICK, now);
        for owned in [&[][..], &[1][..]] {
            assert!(!rhythm.due(owned, now));
            assert!(!rhythm.due(&[1, 2], now));
            assert!(rhythm.due(&[1, 2], now));
            rhythm.read(&QUICK, now);
            assert!(!rhythm.due(&[1, 2], now), "it was read just now");
        }
    }

    #[test]
    fn reading_has_its_share_of_the_time_and_no_more() {
        let (now, mut rhythm) = (Instant::now(), Rhythm::new(Duration::from_secs(5)));
        let after = |seconds| now + Duration::from_secs(seconds);
        assert!(!rhythm.due(&[1], now));
        rhythm.read(&Read { took: Duration::from_secs(10), more: false }, now);
        assert!(!rhythm.due(&[1], after(49)));
        assert!(rhythm.due(&[1], after(50)));
        rhythm.read(&Read { took: Duration::from_millis(50), more: true }, now);
        assert!(rhythm.due(&[1], after(1)), "there is more");
        rhythm.read(&Read { took: Duration::from_millis(50), more: false }, now);
        assert!(!rhythm.due(&[1], after(3)));
        assert!(rhythm.due(&[1], after(5)), "as often as was asked for");
    }
}
