//! Fetches activity tasks of a shard: asks the queue's consumer there for as many as there are free slots for it, and for
//! no more.
//!
//! Requests are raw, with one inbox of our own, because a request that waits at the server is what makes
//! a task start without a round trip.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use stepwell_connection::provision::{ProvisionError, ensure_queue, find_queue};
use stepwell_shared::encoding::decode;
use stepwell_shared::shard::{Shard, Shards};
use stepwell_shared::subject::Stream;
use stepwell_shared::task::ActivityTask;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::activity_runner::{ActivitySide, Delivery};
use crate::consumer_watch;
use crate::given_before::GivenBefore;
use crate::pull_requests::PullRequests;
use crate::pull_words::{GivenOut, Word, meaning};
use crate::queue_shards::{FIRST_RETRY, LONGEST_RETRY, Readiness};

/// How often requests are looked over for what went wrong without a word.
const TICK: Duration = Duration::from_secs(1);

/// Pause after the server refused a request.
const REFUSED_PAUSE: Duration = Duration::from_millis(250);

/// Pause after a consumer has gone. The server may still be at removing it, and one of the same name that is made in
/// that moment begins where the old one was, past tasks that it had passed over, and goes from the disk with it.
const GONE_PAUSE: Duration = Duration::from_millis(500);

/// After so long without a request the consumer may be another one. Less than [`GONE_PAUSE`], so that in a shorter time
/// no worker makes it anew.
const UNTOLD: Duration = Duration::from_millis(250);

/// Longest such look.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest wait for the server to confirm that nothing more comes.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Messages that may come to the inbox besides tasks while it is being closed: the ends of requests, and words
/// that the server is still there.
const WORDS: usize = 64;

/// Most messages that are sent to close the inbox: half of what the client keeps for a subscription.
const MOST_MARKERS: usize = 32_768;

/// Hands a task back that was not begun.
const HAND_BACK: Bytes = Bytes::from_static(b"-NAK");

/// Where a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inbox {
    Current,
    /// That of before the last reconnect.
    Left,
}

/// Fetches tasks.
pub(crate) struct ActivityTasks {
    side: Arc<ActivitySide>,
    shard: Shard,
    tracker: TaskTracker,
    inbox: String,
    messages: Subscriber,
    /// How many messages the subscription has given.
    received: u64,
    /// The inbox before the last reconnect, and until when something may still come there.
    left: Option<(Subscriber, Instant)>,
    next_message_subject: String,
    requests: PullRequests,
    connects: u64,
    /// The last task that came to the inbox, as the consumer counts them.
    last_given_out: u64,
    /// Since when nothing was asked for, if nothing is.
    unasked_since: Option<Instant>,
}

impl ActivityTasks {
    /// Subscribes to an inbox; nothing is asked for yet.
    pub(crate) async fn new(
        side: Arc<ActivitySide>,
        (shard, shards): (Shard, Shards),
        tracker: TaskTracker,
    ) -> Result<Self, async_nats::SubscribeError> {
        let (inbox, messages) = open_inbox(&side).await?;
        let stream = Stream::Tasks(shard).name(side.connection.namespace());
        let next_message_subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{}", side.queue);
        let requests = PullRequests::new(shards, Instant::now());
        let connects = connects(&side);
        Ok(Self {
            side,
            shard,
            tracker,
            inbox,
            messages,
            received: 0,
            left: None,
            next_message_subject,
            requests,
            connects,
            last_given_out: 0,
            unasked_since: None,
        })
    }

    /// Fetches and starts tasks until `stop`. Then hands back what arrived too late.
    pub(crate) async fn run(mut self, stop: CancellationToken, ready: Arc<Readiness>) {
        let mut room = self.side.slots.room(self.shard);
        let mut found = false;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut consumer_known, mut pause) = (false, Duration::ZERO);
        loop {
            if !consumer_known {
                self.side.slots.ask_nothing(self.shard);
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = find_consumer(&self.side, self.shard, pause) => {}
                }
                pause = GONE_PAUSE;
                // Before the first request: what comes after it is new.
                self.given_before().note(&self.side).await;
                consumer_known = true;
                if !std::mem::replace(&mut found, true) {
                    ready.one_more();
                }
                self.requests.forget();
            }
            room.known();
            if !self.ask().await {
                consumer_known = false;
                continue;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                message = self.messages.next() => match message {
                    Some(message) => {
                        self.received += 1;
                        consumer_known = self.take(message, Inbox::Current);
                    }
                    None => return, // The connection was closed for good.
                },
                message = next_of(&mut self.left) => consumer_known = self.take(message, Inbox::Left),
                () = room.wait() => {}
                _ = ticks.tick() => consumer_known = self.look_over().await,
            }
        }
        self.side.slots.ask_nothing(self.shard);
        self.leave().await;
    }

    fn given_before(&self) -> &GivenBefore {
        &self.side.shards.of(self.shard).given_before
    }

    /// Asks for tasks if there are slots that nothing was asked for. False when the consumer has to be looked for.
    ///
    /// Whoever asks for nothing is not told that the consumer was deleted. After a while without a request it is looked
    /// at before the next one, because another worker may have made it anew.
    async fn ask(&mut self) -> bool {
        let now = Instant::now();
        let outstanding = self.requests.outstanding();
        if outstanding == 0 {
            self.unasked_since.get_or_insert(now);
        }
        let asked = (outstanding, self.requests.take_in_vain());
        let wanted = |free| self.requests.wanted(free, now);
        let Some(batch) = self.side.slots.ask(self.shard, asked, wanted) else { return true };
        let untold = self.unasked_since.take().is_some_and(|since| now - since >= UNTOLD);
        if untold && !self.look_at_consumer().await {
            return false;
        }
        let now = Instant::now();
        let number = self.requests.sent(batch, now);
        let body = self.requests.body(batch);
        let reply = format!("{}.{number}", self.inbox);
        let client = self.side.connection.client();
        if let Err(error) =
            client.publish_with_reply(self.next_message_subject.clone(), reply, body.into()).await
        {
            tracing::debug!(%error, "a request for tasks could not be sent");
            self.requests.ended(number, None, now);
            self.requests.pause(now + REFUSED_PAUSE);
        }
        true
    }

    /// False when it is not there.
    async fn look_at_consumer(&self) -> bool {
        let look = find_queue(&self.side.connection, &self.side.queue, self.shard);
        match tokio::time::timeout(LOOK_TIMEOUT, look).await {
            Ok(Ok(Some(consumer))) => consumer_watch::learn(&self.side, self.shard, &consumer),
            Ok(Ok(None)) => return false,
            Ok(Err(error)) => tracing::debug!(%error, "the queue's consumer could not be looked at"),
            Err(_) => tracing::debug!("the queue's consumer could not be looked at in time"),
        }
        true
    }

    /// A consumer gives out tasks with growing numbers. If they begin anew, it is another one, which was made before
    /// the word came that the old one is gone.
    fn compare(&mut self, consumer_sequence: u64) {
        if consumer_sequence <= self.last_given_out {
            self.given_before().another_consumer();
        }
        self.last_given_out = consumer_sequence;
    }

    /// Takes a task or a word about a request. False when the consumer has to be looked for.
    fn take(&mut self, message: Message, inbox: Inbox) -> bool {
        let now = Instant::now();
        let number = || message.subject.rsplit('.').next().and_then(|number| number.parse().ok());
        match meaning(&message) {
            Word::Task(given_out) => {
                match inbox {
                    Inbox::Current => self.compare(given_out.consumer_sequence),
                    // What comes there may be older than what has come to the current one.
                    Inbox::Left => {}
                }
                self.requests.delivered(now);
                self.start(message, given_out);
            }
            Word::Alive => self.requests.heard(now),
            Word::Ended { undelivered: Some(undelivered) } => {
                if let Some(number) = number() {
                    self.requests.ended(number, Some(undelivered), now);
                }
            }
            // How much of it was delivered is not known: the others are over as well, or soon.
            Word::Ended { undelivered: None } => {
                self.requests.forget();
                self.requests.pause(now + REFUSED_PAUSE);
            }
            Word::Refused => {
                tracing::warn!(
                    queue = %self.side.queue,
                    reason = message.description.as_deref().unwrap_or_default(),
                    "the server refused a request for tasks"
                );
                if let Some(number) = number() {
                    self.requests.ended(number, None, now);
                }
                self.requests.pause(now + REFUSED_PAUSE);
            }
            Word::ConsumerGone => return false,
            Word::Unknown => {
                tracing::warn!(subject = %message.subject, "a message in the inbox for tasks makes no sense");
            }
        }
        true
    }

    fn start(&self, message: Message, given_out: GivenOut) {
        let Some(ack) = message.reply else { return };
        let slot = self.side.slots.try_take();
        let delivery = Delivery { body: message.payload, shard: self.shard, ack, given_out, slot };
        let side = Arc::clone(&self.side);
        // In a box: a task is moved several times while it is made, and an attempt is large.
        self.tracker.spawn(Box::pin(async move { side.handle(delivery).await }));
    }

    /// False when the consumer has to be looked for.
    async fn look_over(&mut self) -> bool {
        let connects = connects(&self.side);
        if connects != self.connects
            && let Ok((inbox, messages)) = open_inbox(&self.side).await
        {
            // The server forgets requests when the connection is lost, and counts the inbox's messages anew.
            self.connects = connects;
            self.requests.forget();
            let left = std::mem::replace(&mut self.messages, messages);
            // If it was only the connection that was lost, requests of before may still be answered.
            self.left = Some((left, Instant::now() + self.requests.expires() + LEAVE_TIMEOUT));
            (self.inbox, self.received, self.last_given_out) = (inbox, 0, 0);
            self.given_before().note(&self.side).await;
        }
        self.left.take_if(|(_, until)| *until <= Instant::now());
        if self.requests.tick(Instant::now()) {
            tracing::warn!(queue = %self.side.queue, "no word about requests for tasks; asking anew");
            return false;
        }
        true
    }

    /// Stops the flow, and hands back what was on its way. A task that must not be attempted twice is run
    /// instead: handing it back would end it.
    ///
    /// The client drops what comes after it has unsubscribed, and the server may have sent more by then. So
    /// both are told to stop after the same number of messages, more than can be on their way, and the rest of
    /// them are sent from here.
    async fn leave(mut self) {
        // No more than the client keeps of them; who asks for so many tasks at once has most of them already.
        let markers = (self.requests.outstanding() + WORDS).min(MOST_MARKERS);
        let last = self.received + markers as u64;
        if let Err(error) = self.messages.unsubscribe_after(last).await {
            tracing::debug!(%error, "the connection ended before tasks could be handed back");
            return;
        }
        for _ in 0..markers {
            self.side.answer(&format!("{}.0", self.inbox).into(), Bytes::new()).await;
        }
        let end = Instant::now() + LEAVE_TIMEOUT;
        while let Ok(Some(message)) = tokio::time::timeout_at(end, self.messages.next()).await {
            let Word::Task(given_out) = meaning(&message) else { continue };
            let once = decode::<ActivityTask>(&message.payload)
                .is_ok_and(|task| task.maximum_attempts.is_some_and(|most| task.attempt >= most));
            if once && given_out.count == 1 {
                self.start(message, given_out);
            } else if let Some(ack) = &message.reply {
                self.side.metrics.handed_back.inc();
                self.side.answer(ack, HAND_BACK).await;
            }
        }
    }
}

/// Finds or makes the queue's consumer, after a pause; waits for the namespace if there is none yet.
async fn find_consumer(side: &ActivitySide, shard: Shard, pause: Duration) {
    tokio::time::sleep(pause).await;
    let mut wait = FIRST_RETRY;
    loop {
        let error = match ensure_queue(&side.connection, &side.queue, shard).await {
            Ok(consumer) => {
                consumer_watch::learn(side, shard, &consumer);
                return;
            }
            Err(error) => error,
        };
        if let ProvisionError::NotProvisioned { .. } = error {
            tracing::warn!(%error, retry_in = ?wait, "waiting for the namespace");
        } else {
            tracing::warn!(%error, queue = %side.queue, retry_in = ?wait, "the queue's consumer is not there");
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_RETRY);
    }
}

/// The next message of an inbox that was left, if there is one.
async fn next_of(left: &mut Option<(Subscriber, Instant)>) -> Message {
    if let Some((messages, _)) = left
        && let Some(message) = messages.next().await
    {
        return message;
    }
    std::future::pending().await
}

async fn open_inbox(side: &ActivitySide) -> Result<(String, Subscriber), async_nats::SubscribeError> {
    let client = side.connection.client();
    let inbox = client.new_inbox();
    let messages = client.subscribe(format!("{inbox}.*")).await?;
    Ok((inbox, messages))
}

fn connects(side: &ActivitySide) -> u64 {
    side.connection.client().statistics().connects.load(Ordering::Relaxed)
}
