//! Pulling tasks: never more than there are free slots, with a request always waiting at the server while
//! there is a free slot.
//!
//! Each request says how many tasks it wants; what was asked for and has not come counts as used. A request
//! ends when it is filled, when it expires, or when its heartbeats stop (the server restarted).

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::{Client, Message, StatusCode};
use tokio::time::Instant;

/// How long a request waits at the server.
const EXPIRES: Duration = Duration::from_secs(30);

/// How often the server says that a request still waits.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// A request that was not heard of for this long is lost: two heartbeats and a half.
const SILENCE: Duration = Duration::from_secs(5);

/// The requests for tasks that wait at the server.
pub(crate) struct Pulls {
    subject: String,
    prefix: String,
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
}

struct Waiting {
    wanted: usize,
    heard: Instant,
}

/// What a message to the inbox is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// A task.
    Task,
    /// Nothing to do: the request waits, or has ended.
    Nothing,
    /// The consumer is gone and must be made again.
    ConsumerGone,
}

impl Pulls {
    /// `inbox`: all answers come to subjects one token below it.
    pub(crate) fn new(stream: &str, consumer: &str, inbox: &str) -> Self {
        Self {
            subject: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
            prefix: format!("{inbox}."),
            next: 0,
            waiting: BTreeMap::new(),
        }
    }

    /// How many tasks were asked for and have not come.
    pub(crate) fn wanted(&self) -> usize {
        self.waiting.values().map(|waiting| waiting.wanted).sum()
    }

    /// Asks for more when a good part of the free slots is not asked for. `free`: slots without a task.
    pub(crate) async fn top_up(&mut self, client: &Client, free: usize, slots: usize) {
        let wanted = self.wanted();
        let more = free.saturating_sub(wanted);
        if more == 0 || (wanted > 0 && more < slots.div_ceil(2)) {
            return;
        }
        self.next += 1;
        let reply = format!("{}{}", self.prefix, self.next);
        let body = format!(
            "{{\"batch\":{more},\"expires\":{},\"idle_heartbeat\":{}}}",
            EXPIRES.as_nanos(),
            HEARTBEAT.as_nanos()
        );
        match client.publish_with_reply(self.subject.clone(), reply, body.into()).await {
            Ok(()) => {
                self.waiting.insert(self.next, Waiting { wanted: more, heard: Instant::now() });
            }
            Err(error) => tracing::warn!(%error, "tasks could not be asked for; trying again"),
        }
    }

    /// Takes note of a message to the inbox.
    pub(crate) fn arrived(&mut self, message: &Message) -> Arrived {
        // A task's own subject is that of the stream; which request it answers is not said, so the oldest
        // one is charged. Statuses name their request.
        let Some(status) = message.status else {
            if let Some(mut oldest) = self.waiting.first_entry() {
                let waiting = oldest.get_mut();
                waiting.wanted -= 1;
                waiting.heard = Instant::now();
                if waiting.wanted == 0 {
                    oldest.remove();
                }
            }
            return Arrived::Task;
        };
        let number = message.subject.strip_prefix(self.prefix.as_str()).and_then(|text| text.parse::<u64>().ok());
        let Some(number) = number else { return Arrived::Nothing };
        if status == StatusCode::IDLE_HEARTBEAT {
            if let Some(waiting) = self.waiting.get_mut(&number) {
                waiting.heard = Instant::now();
            }
            return Arrived::Nothing;
        }
        self.waiting.remove(&number);
        let gone = status == StatusCode::NO_RESPONDERS
            || message.description.as_deref().is_some_and(|text| text.contains("Consumer Deleted"));
        if gone { Arrived::ConsumerGone } else { Arrived::Nothing }
    }

    /// Forgets requests that were not heard of for too long.
    pub(crate) fn forget_lost(&mut self) {
        self.waiting.retain(|_, waiting| waiting.heard.elapsed() < SILENCE);
    }
}
