//! What a running activity says of its progress: the time of the last word, and the latest details, until
//! somebody writes them down. Nothing here sends anything.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stepwell_shared::payload::Payload;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How often details are written down at most, as a share of the heartbeat timeout: often enough that the
/// next attempt finds fresh ones.
const SHARE_OF_TIMEOUT: f64 = 0.8;

/// The same when there is no timeout.
const WITHOUT_TIMEOUT: Duration = Duration::from_secs(30);

/// Details are never older than this when the process dies, however long the timeout.
const LONGEST: Duration = Duration::from_secs(60);

/// The heartbeats of one attempt.
#[derive(Debug)]
pub(crate) struct Heartbeats {
    state: Mutex<State>,
    heard: Notify,
}

#[derive(Debug)]
struct State {
    last: Instant,
    latest: Option<Payload>,
    unwritten: bool,
}

impl Heartbeats {
    /// The attempt begins now; that counts as a heartbeat.
    pub(crate) fn new() -> Self {
        let state = State { last: Instant::now(), latest: None, unwritten: false };
        Self { state: Mutex::new(state), heard: Notify::new() }
    }

    /// Takes a word from the activity.
    pub(crate) fn beat(&self, details: Option<Payload>) {
        let mut state = self.lock();
        state.last = Instant::now();
        if let Some(details) = details {
            state.latest = Some(details);
            state.unwritten = true;
            drop(state);
            self.heard.notify_one();
        }
    }

    /// Waits until there are details that nobody has written down.
    pub(crate) async fn unwritten(&self) {
        while !self.lock().unwritten {
            self.heard.notified().await;
        }
    }

    /// When the activity was heard of last.
    pub(crate) fn last(&self) -> Instant {
        self.lock().last
    }

    /// The latest details.
    pub(crate) fn latest(&self) -> Option<Payload> {
        self.lock().latest.clone()
    }

    /// The latest details, if nobody has written them down.
    pub(crate) fn take_unwritten(&self) -> Option<Payload> {
        let mut state = self.lock();
        if std::mem::take(&mut state.unwritten) { state.latest.clone() } else { None }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The shortest time between two writings.
pub(crate) fn writing_interval(timeout: Option<Duration>) -> Duration {
    timeout.map_or(WITHOUT_TIMEOUT, |timeout| timeout.mul_f64(SHARE_OF_TIMEOUT)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn details_are_written_once_and_kept() {
        let heartbeats = Heartbeats::new();
        heartbeats.beat(None);
        assert_eq!(heartbeats.take_unwritten(), None);
        for n in 0..3 {
            heartbeats.beat(Some(Payload::encode(&n).unwrap()));
        }
        heartbeats.unwritten().await;
        assert_eq!(heartbeats.take_unwritten().unwrap().json(), "2");
        assert_eq!(heartbeats.take_unwritten(), None);
        assert_eq!(heartbeats.latest().unwrap().json(), "2");
    }

    #[test]
    fn writing_is_throttled_by_the_timeout() {
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(writing_interval(seconds(10)), Duration::from_secs(8));
        assert_eq!(writing_interval(seconds(3_600)), LONGEST);
        assert_eq!(writing_interval(None), WITHOUT_TIMEOUT);
    }
}
