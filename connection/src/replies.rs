//! Requests on core NATS whose answers may be chains of chunks: one inbox for all of them, as
//! [`crate::publisher`] has one for acknowledgements. Requests that may go together do: those for one receiver that are
//! made in the same moment are one message, see [`crate::packs`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use stepwell_shared::encoding::{Assembler, ChunkPlace};
use stepwell_shared::headers::{CHUNK, PACK};
use stepwell_shared::limits::MAX_PACKED_BODY_BYTES;
use stepwell_shared::pack::PackIndex;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::chunked::{RequestError, pack_bytes};
use crate::packs::{Packed, Packs, pack};

/// Sends requests and hands each answer to whoever asked.
#[derive(Clone, Debug)]
pub(crate) struct Replies {
    shared: Arc<Shared>,
    to_send: Arc<Notify>,
    _tasks: Arc<Tasks>,
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
            state: Mutex::default(),
        });
        let to_send = Arc::new(Notify::new());
        let tasks = Tasks([
            tokio::spawn(receive(answers, Arc::downgrade(&shared))),
            tokio::spawn(send_together(Arc::clone(&to_send), Arc::downgrade(&shared))),
        ]);
        Ok(Self { shared, to_send, _tasks: Arc::new(tasks) })
    }

    /// Makes a subject on which one answer is expected.
    pub(crate) fn expect(&self) -> Expected {
        let number = self.shared.next();
        let (sender, receiver) = oneshot::channel();
        let waiting = Waiting { sender, answer: Assembler::default(), pack: None };
        self.shared.state().waiting.insert(number, waiting);
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
        sent.map_err(|error| not_sent(&error))?;
        expected.wait(timeout).await
    }

    /// The same, in one message with other requests for the same subject. Whoever listens there must take packs.
    pub(crate) async fn request_packed(
        &self,
        subject: String,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Vec<u8>, RequestError> {
        if body.len() > MAX_PACKED_BODY_BYTES {
            return self.request(subject, body, timeout).await;
        }
        let expected = self.expect();
        if self.shared.state().packs.add(subject, expected.number, body) {
            self.to_send.notify_one();
        }
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
        self.shared.subject(self.number)
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
        self.shared.state().take(self.number);
    }
}

#[derive(Debug)]
struct Shared {
    client: Client,
    prefix: String,
    next: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<u64, Waiting>,
    packs: Packs,
}

#[derive(Debug)]
struct Waiting {
    sender: oneshot::Sender<Result<Vec<u8>, RequestError>>,
    answer: Assembler,
    /// The pack that it was sent in.
    pack: Option<u64>,
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
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn subject(&self, number: u64) -> String {
        format!("{}{number}", self.prefix)
    }

    fn take_in(&self, message: &Message) {
        let number =
            message.subject.strip_prefix(self.prefix.as_str()).and_then(|number| number.parse().ok());
        let Some(number): Option<u64> = number else { return };
        let nobody = message.status == Some(StatusCode::NO_RESPONDERS);
        let mut state = self.state();
        let Some(members) = state.packs.members(number) else {
            if nobody {
                return state.end(number, Err(RequestError::NoResponders));
            }
            return state.take_in(number, place_of(message), &message.payload);
        };
        let members = members.to_vec();
        if nobody {
            return members.into_iter().for_each(|member| state.end(member, Err(RequestError::NoResponders)));
        }
        let header = message.headers.as_ref().and_then(|headers| headers.get(PACK));
        let index = header.and_then(|header| PackIndex::parse(header.as_str(), message.payload.len()));
        for (place, range) in index.iter().flat_map(PackIndex::bodies) {
            if let Some(member) = members.get(place) {
                state.take_in(*member, place_of(message), &message.payload[range]);
            }
        }
    }

    /// Sends what waits to be sent for one subject.
    async fn send(&self, subject: &str, requests: Vec<(u64, Bytes)>) {
        for Packed { members, index, body } in pack(requests, pack_bytes(&self.client)) {
            let sent = match (index, members.as_slice()) {
                (None, members) => {
                    let reply = self.subject(members.first().copied().unwrap_or_default());
                    self.client.publish_with_reply(subject.to_owned(), reply, body).await
                }
                (Some(index), members) => {
                    let number = self.next();
                    self.state().sent_in(number, members);
                    let mut headers = HeaderMap::new();
                    headers.insert(PACK, index.header());
                    let reply = self.subject(number);
                    self.client.publish_with_reply_and_headers(subject.to_owned(), reply, headers, body).await
                }
            };
            if let Err(error) = sent {
                let mut state = self.state();
                members.into_iter().for_each(|member| state.end(member, Err(not_sent(&error))));
            }
        }
    }
}

impl State {
    fn sent_in(&mut self, pack: u64, members: &[u64]) {
        self.packs.expect(pack, members.to_vec());
        for member in members {
            match self.waiting.get_mut(member) {
                Some(waiting) => waiting.pack = Some(pack),
                // It was given up meanwhile.
                None => self.packs.leave(pack),
            }
        }
    }

    fn take_in(&mut self, number: u64, place: Option<ChunkPlace>, bytes: &[u8]) {
        let Some(waiting) = self.waiting.get_mut(&number) else { return };
        if let Some(body) = waiting.answer.push(place, bytes) {
            self.end(number, Ok(body));
        }
    }

    fn end(&mut self, number: u64, answer: Result<Vec<u8>, RequestError>) {
        if let Some(waiting) = self.take(number) {
            // Whoever asked may have stopped waiting.
            let _ = waiting.sender.send(answer);
        }
    }

    fn take(&mut self, number: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&number)?;
        if let Some(pack) = waiting.pack {
            self.packs.leave(pack);
        }
        Some(waiting)
    }
}

fn not_sent(error: &async_nats::PublishError) -> RequestError {
    RequestError::NotSent { reason: error.to_string() }
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
        shared.state().waiting.clear();
    }
}

async fn send_together(to_send: Arc<Notify>, shared: Weak<Shared>) {
    loop {
        to_send.notified().await;
        // Whoever is about to ask as well gets the turn to do so.
        tokio::task::yield_now().await;
        let Some(shared) = shared.upgrade() else { return };
        let pending = shared.state().packs.take();
        for (subject, requests) in pending {
            shared.send(&subject, requests).await;
        }
    }
}
