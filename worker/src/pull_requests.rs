//! The requests for tasks that wait at the server: how many tasks they still ask for, and when to ask for
//! more. Arithmetic only; the caller sends and receives.
//!
//! Deliveries do not say which request they answer, so only the sum is kept. It is corrected by what the
//! server says when a request ends, and bounded by the requests that cannot have ended unheard.

use std::collections::VecDeque;
use std::time::Duration;

use stepwell_shared::shard::Shards;
use tokio::time::Instant;

/// How long a request waits at the server.
const EXPIRES: Duration = Duration::from_secs(30);

/// How long it waits where the queue has several shards: so long a slot is kept for a shard that has nothing, while
/// another one may have.
const EXPIRES_OF_SEVERAL: Duration = Duration::from_millis(500);

/// How often the server says that a waiting request is not forgotten, if it waits for longer.
const IDLE_HEARTBEAT: Duration = Duration::from_secs(5);

/// After so long without a word while requests wait, the server has forgotten them.
const SILENCE: Duration = Duration::from_secs(11);

/// A request is over this long after it has expired, whether or not its end was heard of.
const GRACE: Duration = Duration::from_secs(2);

/// The requests that wait.
#[derive(Debug)]
pub(crate) struct PullRequests {
    outstanding: usize,
    waiting: VecDeque<Request>,
    next: u64,
    heard: Instant,
    paused_until: Option<Instant>,
    expires: Duration,
    /// Whether something was asked for that does not come any more.
    in_vain: bool,
}

#[derive(Debug)]
struct Request {
    number: u64,
    batch: usize,
    expires: Instant,
}

impl PullRequests {
    /// None yet, of a queue with so many shards.
    pub(crate) fn new(shards: Shards, now: Instant) -> Self {
        let expires = if shards == Shards::ONE { EXPIRES } else { EXPIRES_OF_SEVERAL };
        Self {
            outstanding: 0,
            waiting: VecDeque::new(),
            next: 1,
            heard: now,
            paused_until: None,
            expires,
            in_vain: false,
        }
    }

    /// The longest time for which a request waits.
    pub(crate) fn expires(&self) -> Duration {
        self.expires
    }

    /// A request for so many tasks, as the server reads it.
    pub(crate) fn body(&self, batch: usize) -> String {
        let expires = self.expires.as_nanos();
        // A heartbeat must come at least twice before a request is over.
        if self.expires >= IDLE_HEARTBEAT * 2 {
            let heartbeat = IDLE_HEARTBEAT.as_nanos();
            format!(r#"{{"batch":{batch},"expires":{expires},"idle_heartbeat":{heartbeat}}}"#)
        } else {
            format!(r#"{{"batch":{batch},"expires":{expires}}}"#)
        }
    }

    /// How many tasks are to be asked for, if any. While at least half of the free slots are asked for, not
    /// every slot that is given back costs a request: as long as requests wait, no task does.
    pub(crate) fn wanted(&self, free: usize, now: Instant) -> Option<usize> {
        if self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        let few = self.outstanding * 2 <= free;
        (few && free > self.outstanding).then(|| free - self.outstanding)
    }

    /// How many tasks were asked for and may still come.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// A request for `batch` tasks goes out; gives its number.
    pub(crate) fn sent(&mut self, batch: usize, now: Instant) -> u64 {
        if self.outstanding == 0 {
            self.waiting.clear();
            self.heard = now;
        }
        let number = self.next;
        self.next += 1;
        self.outstanding += batch;
        self.waiting.push_back(Request { number, batch, expires: now + self.expires });
        number
    }

    /// A task arrived.
    pub(crate) fn delivered(&mut self, now: Instant) {
        self.heard = now;
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    /// The server said that it is still there.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// A request ended with so many tasks not delivered; `None`: with all of them.
    pub(crate) fn ended(&mut self, number: u64, undelivered: Option<usize>, now: Instant) {
        self.heard = now;
        let Some(place) = self.waiting.iter().position(|request| request.number == number) else {
            return; // Forgotten before; it is not part of the sum any more.
        };
        if let Some(request) = self.waiting.remove(place) {
            let undelivered = undelivered.unwrap_or(request.batch).min(request.batch);
            self.come_no_more(undelivered);
        }
    }

    /// The server has forgotten all requests.
    pub(crate) fn forget(&mut self) {
        self.come_no_more(self.outstanding);
        self.waiting.clear();
    }

    /// Whether, since it was asked last, a request ended without bringing everything: others may have the slots.
    pub(crate) fn take_in_vain(&mut self) -> bool {
        std::mem::take(&mut self.in_vain)
    }

    fn come_no_more(&mut self, tasks: usize) {
        self.outstanding = self.outstanding.saturating_sub(tasks);
        self.in_vain |= tasks > 0;
    }

    /// Asks for nothing for a while.
    pub(crate) fn pause(&mut self, until: Instant) {
        self.paused_until = Some(until);
    }

    /// Corrects the sum by the time that has passed. True when the server is silent for too long.
    pub(crate) fn tick(&mut self, now: Instant) -> bool {
        while self.waiting.front().is_some_and(|request| request.expires + GRACE <= now) {
            self.waiting.pop_front();
        }
        let most = self.waiting.iter().map(|request| request.batch).sum();
        self.come_no_more(self.outstanding.saturating_sub(most));
        self.outstanding > 0 && now.duration_since(self.heard) >= SILENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[tokio::test]
    async fn asks_again_when_half_of_the_free_slots_are_not_asked_for() {
        let now = Instant::now();
        let mut requests = PullRequests::new(Shards::ONE, now);
        assert_eq!(requests.wanted(0, now), None);
        assert_eq!(requests.wanted(16, now), Some(16));
        requests.sent(16, now);
        assert_eq!(requests.wanted(16, now), None);
        // Tasks come and go one by one: the slot is free again, the request is used up by and by.
        for _ in 0..7 {
            requests.delivered(now);
            assert_eq!(requests.wanted(16, now), None);
        }
        requests.delivered(now);
        assert_eq!(requests.wanted(16, now), Some(8));
        // What was delivered cannot come any more, though nobody said that the request is over.
        assert_eq!(requests.outstanding(), 8);
        // A single slot is asked for at once.
        let mut requests = PullRequests::new(Shards::ONE, now);
        requests.sent(1, now);
        requests.delivered(now);
        assert_eq!(requests.wanted(0, now), None);
        assert_eq!(requests.wanted(1, now), Some(1));
    }

    #[tokio::test]
    async fn what_the_server_says_at_the_end_corrects_the_sum() {
        let now = Instant::now();
        let mut requests = PullRequests::new(Shards::ONE, now);
        let first = requests.sent(8, now);
        for _ in 0..5 {
            requests.delivered(now);
        }
        let second = requests.sent(4, now);
        requests.ended(first, Some(3), now);
        assert_eq!(requests.wanted(8, now), Some(4));
        requests.ended(first, Some(3), now);
        assert_eq!(requests.wanted(8, now), Some(4), "a repeat changes nothing");
        assert!(requests.take_in_vain() && !requests.take_in_vain());
        requests.ended(second, None, now);
        assert_eq!(requests.wanted(8, now), Some(8));
        assert!(requests.take_in_vain());
        let third = requests.sent(1, now);
        requests.delivered(now);
        requests.ended(third, Some(0), now);
        assert!(!requests.take_in_vain(), "it has brought everything");
    }

    #[tokio::test]
    async fn a_request_whose_end_was_not_heard_of_is_over_all_the_same() {
        let start = Instant::now();
        let mut requests = PullRequests::new(Shards::ONE, start);
        requests.sent(8, start);
        requests.heard(after(start, 29));
        assert!(!requests.tick(after(start, 31)));
        assert_eq!(requests.wanted(8, after(start, 31)), None);
        requests.heard(after(start, 32));
        assert!(!requests.tick(after(start, 33)));
        assert_eq!(requests.wanted(8, after(start, 33)), Some(8));
    }

    #[tokio::test]
    async fn of_several_shards_requests_are_short() {
        let now = Instant::now();
        let one = PullRequests::new(Shards::ONE, now);
        assert_eq!(one.body(8), r#"{"batch":8,"expires":30000000000,"idle_heartbeat":5000000000}"#);
        let several = PullRequests::new(Shards::try_from(2).unwrap(), now);
        assert_eq!(several.body(8), r#"{"batch":8,"expires":500000000}"#);
    }

    #[tokio::test]
    async fn silence_is_noticed_only_while_requests_wait() {
        let start = Instant::now();
        let mut requests = PullRequests::new(Shards::ONE, start);
        assert!(!requests.tick(after(start, 60)));
        requests.sent(1, after(start, 60));
        assert!(!requests.tick(after(start, 70)));
        assert!(requests.tick(after(start, 71)));
        requests.forget();
        assert!(!requests.tick(after(start, 72)));
        requests.pause(after(start, 75));
        assert_eq!(requests.wanted(1, after(start, 74)), None);
        assert_eq!(requests.wanted(1, after(start, 75)), Some(1));
    }
}
