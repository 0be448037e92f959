//! Publishing to JetStream with a window of acknowledgements of our own.
//!
//! All acknowledgements come to one inbox; the last token of the reply subject is the number under which
//! the sender waits. That saves a subscription, a timer and an id per message, and bounds what is in
//! flight: when the window is full, `publish` waits. It never repeats a message by itself.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::client::PublishErrorKind;
use async_nats::{Client, HeaderMap, Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use crate::ack::{self, Ack, PublishError};

/// Most messages without an acknowledgement. Enough to keep a server busy; far below the 65 536 messages
/// that the client buffers for the inbox, so that no acknowledgement is ever dropped there.
const WINDOW: usize = 4_096;

/// After this time without an acknowledgement the outcome counts as unknown.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// The same for what was sent on a connection that was lost, counted from the moment when the next one was
/// noticed: what the client had kept back for it is sent and acknowledged by then.
const RECONNECT_GRACE: Duration = Duration::from_secs(1);

/// How often overdue acknowledgements are looked for. One look walks the window.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);

/// Publishes to JetStream. Cheap to clone; all clones share one window.
#[derive(Clone, Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    _tasks: Arc<Tasks>,
}

/// The acknowledgement of a message that was sent. Dropping it does not take the message back.
#[derive(Debug)]
pub struct PendingAck(oneshot::Receiver<Result<Ack, PublishError>>);

impl Publisher {
    /// Subscribes to an inbox and starts to listen there.
    pub(crate) async fn start(client: &Client) -> Result<Self, async_nats::SubscribeError> {
        let inbox = client.new_inbox();
        let acks = client.subscribe(format!("{inbox}.*")).await?;
        let shared = Arc::new(Shared {
            client: client.clone(),
            prefix: format!("{inbox}."),
            window: Arc::new(Semaphore::new(WINDOW)),
            next: AtomicU64::new(1),
            waiting: Mutex::new(HashMap::with_capacity(WINDOW)),
        });
        let tasks = Tasks([
            tokio::spawn(receive(acks, Arc::downgrade(&shared))),
            tokio::spawn(sweep(Arc::downgrade(&shared))),
        ]);
        Ok(Self { shared, _tasks: Arc::new(tasks) })
    }

    /// Sends a message. When this returns it is on its way, in order after those sent before; the
    /// returned future tells whether it was stored. Waits while the window is full.
    ///
    /// # Errors
    /// [`PublishError::Closed`], or [`PublishError::Refused`] when the message is larger than the server
    /// takes. Everything else is told by the [`PendingAck`].
    pub async fn publish(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        body: Bytes,
    ) -> Result<PendingAck, PublishError> {
        let window = Arc::clone(&self.shared.window);
        let permit = window.acquire_owned().await.map_err(|_| PublishError::Closed)?;
        self.send(subject, headers, body, Some(permit)).await
    }

    /// The same without waiting for the window: for the few messages by which others see that this process is alive.
    /// Behind a full window they would come too late when the server is slow to store.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub async fn publish_at_once(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        body: Bytes,
    ) -> Result<PendingAck, PublishError> {
        self.send(subject, headers, body, None).await
    }

    async fn send(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        body: Bytes,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<PendingAck, PublishError> {
        let shared = &self.shared;
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        let connects = shared.connects();
        let waiting = Waiting { sender, sent_at: Instant::now(), connects, _permit: permit };
        shared.waiting().insert(number, waiting);
        let reply = format!("{}{number}", shared.prefix);
        let sent = match headers {
            Some(headers) => {
                shared.client.publish_with_reply_and_headers(subject, reply, headers, body).await
            }
            None => shared.client.publish_with_reply(subject, reply, body).await,
        };
        match sent {
            Ok(()) => Ok(PendingAck(receiver)),
            Err(error) => {
                shared.waiting().remove(&number);
                Err(not_sent(&error))
            }
        }
    }

    /// How many messages wait for their acknowledgement now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.waiting().len()
    }
}

impl Future for PendingAck {
    type Output = Result<Ack, PublishError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // The other end is dropped unanswered only when the publisher itself is gone.
        self.0.poll_unpin(context).map(|answer| answer.unwrap_or(Err(PublishError::UnknownOutcome)))
    }
}

#[derive(Debug)]
struct Shared {
    client: Client,
    prefix: String,
    window: Arc<Semaphore>,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    sender: oneshot::Sender<Result<Ack, PublishError>>,
    sent_at: Instant,
    /// How often the client had connected when it was sent.
    connects: u64,
    _permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct Tasks([JoinHandle<()>; 2]);

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        // Nothing panics while it is held; if it did, the map would still be whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connects(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    fn settle(&self, message: &Message) {
        let number =
            message.subject.strip_prefix(self.prefix.as_str()).and_then(|number| number.parse().ok());
        let Some(waiting) = number.and_then(|number: u64| self.waiting().remove(&number)) else {
            return; // Swept before; its sender knows that the outcome is unknown.
        };
        let outcome = if message.status == Some(StatusCode::NO_RESPONDERS) {
            Err(PublishError::NoResponders)
        } else {
            ack::parse(&message.payload)
        };
        // The sender may not care.
        let _ = waiting.sender.send(outcome);
    }

    fn give_up_on(&self, overdue: impl Fn(&Waiting) -> bool) {
        let given_up: Vec<Waiting> =
            self.waiting().extract_if(|_, waiting| overdue(waiting)).map(|(_, waiting)| waiting).collect();
        for waiting in given_up {
            let _ = waiting.sender.send(Err(PublishError::UnknownOutcome));
        }
    }
}

async fn receive(mut acks: Subscriber, shared: Weak<Shared>) {
    while let Some(message) = acks.next().await {
        let Some(shared) = shared.upgrade() else { return };
        shared.settle(&message);
    }
    // The client was closed: no acknowledgement comes any more.
    if let Some(shared) = shared.upgrade() {
        shared.window.close();
        shared.give_up_on(|_| true);
    }
}

async fn sweep(shared: Weak<Shared>) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut connects, mut connected_at) = (0, Instant::now());
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        let now = Instant::now();
        if shared.connects() != connects {
            (connects, connected_at) = (shared.connects(), now);
        }
        let settled_down = now.duration_since(connected_at) >= RECONNECT_GRACE;
        shared.give_up_on(|waiting| {
            let lost = settled_down && waiting.connects != connects;
            lost || now.duration_since(waiting.sent_at) >= ACK_TIMEOUT
        });
    }
}

fn not_sent(error: &async_nats::client::PublishError) -> PublishError {
    match error.kind() {
        PublishErrorKind::Send => PublishError::Closed,
        PublishErrorKind::MaxPayloadExceeded | PublishErrorKind::InvalidSubject => {
            PublishError::Refused { code: 400, err_code: 0, description: error.to_string() }
        }
    }
}
