//! Requests on core NATS whose answers may be chains of chunks: one inbox for all of them, as
//! [`crate::publisher`] has one for acknowledgements.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_nats::{Client, Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use stepwell_shared::encoding::{Assembler, ChunkPlace};
use stepwell_shared::headers::CHUNK;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::chunked::RequestError;

/// Sends requests and hands each answer to whoever asked.
#[derive(Clone, Debug)]
pub(crate) struct Replies {
    shared: Arc<Shared>,
    _task: Arc<Task>,
}

impl Replies {
    /// Subscribes to an inbox and starts to listen there.
    pub(crate) async fn start(client: &Client) -> Result<Self, async_nats::SubscribeError> {
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*")).await?;
        let shared = Arc::new(Shared {
            client: client.clone(),
            prefix: format!("{inbox}."),
            next: AtomicU64::new(1),
            waiting: Mutex::new(HashMap::new()),
        });
        let task = Task(tokio::spawn(receive(answers, Arc::downgrade(&shared))));
        Ok(Self { shared, _task: Arc::new(task) })
    }

    /// Makes a subject on which one answer is expected.
    pub(crate) fn expect(&self) -> Expected {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.shared.waiting().insert(number, Waiting { sender, answer: Assembler::default() });
        Expected { shared: Arc::clone(&self.shared), number, receiver }
    }

    /// Sends `body` and waits for the whole answer.
    pub(crate) async fn request(
        &self,
        subject: String,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Vec<u8>, RequestError> {
        let expected = self.expect();
        let sent = self.shared.client.publish_with_reply(subject, expected.subject(), body).await;
        sent.map_err(|error| RequestError::NotSent { reason: error.to_string() })?;
        expected.wait(timeout).await
    }
}

/// An answer that is expected. Dropped, it is expected no more.
#[derive(Debug)]
pub struct Expected {
    shared: Arc<Shared>,
    number: u64,
    receiver: oneshot::Receiver<Result<Vec<u8>, RequestError>>,
}

impl Expected {
    /// Where the answer is to be sent.
    #[must_use]
    pub fn subject(&self) -> String {
        format!("{}{}", self.shared.prefix, self.number)
    }

    /// Waits for the whole answer.
    ///
    /// # Errors
    /// [`RequestError`], after `timeout` at the latest.
    pub async fn wait(mut self, timeout: Duration) -> Result<Vec<u8>, RequestError> {
        match tokio::time::timeout(timeout, &mut self.receiver).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(RequestError::NotSent { reason: "the connection to NATS is closed".into() }),
            Err(_) => Err(RequestError::TimedOut { after: timeout }),
        }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.shared.waiting().remove(&self.number);
    }
}

#[derive(Debug)]
struct Shared {
    client: Client,
    prefix: String,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    sender: oneshot::Sender<Result<Vec<u8>, RequestError>>,
    answer: Assembler,
}

#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_in(&self, message: &Message) {
        let number =
            message.subject.strip_prefix(self.prefix.as_str()).and_then(|number| number.parse().ok());
        let Some(number): Option<u64> = number else { return };
        let mut waiting = self.waiting();
        let Some(entry) = waiting.get_mut(&number) else { return };
        let answer = if message.status == Some(StatusCode::NO_RESPONDERS) {
            Err(RequestError::NoResponders)
        } else {
            match entry.answer.push(place_of(message), &message.payload) {
                Some(body) => Ok(body),
                None => return,
            }
        };
        if let Some(entry) = waiting.remove(&number) {
            // Whoever asked may have stopped waiting.
            let _ = entry.sender.send(answer);
        }
    }
}

fn place_of(message: &Message) -> Option<ChunkPlace> {
    let header = message.headers.as_ref()?.get(CHUNK)?;
    ChunkPlace::parse(header.as_str())
}

async fn receive(mut answers: Subscriber, shared: Weak<Shared>) {
    while let Some(message) = answers.next().await {
        let Some(shared) = shared.upgrade() else { return };
        shared.take_in(&message);
    }
    if let Some(shared) = shared.upgrade() {
        shared.waiting().clear();
    }
}
