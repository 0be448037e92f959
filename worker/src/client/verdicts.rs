//! What became of the events that this client sent: one inbox for all of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_nats::{Client, SubscribeError, Subscriber};
use futures_util::StreamExt;
use stepwell_shared::api::Verdict;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Hands verdicts to those who wait for them.
#[derive(Debug)]
pub(crate) struct Verdicts {
    shared: Arc<Shared>,
    listener: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    inbox: String,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Verdict>>>,
}

/// A place at which a verdict is expected, until this is dropped.
#[derive(Debug)]
pub(crate) struct Expected {
    shared: Arc<Shared>,
    number: u64,
    /// Where it is to be sent.
    pub(crate) subject: String,
    /// Gives it.
    pub(crate) verdict: oneshot::Receiver<Verdict>,
}

impl Verdicts {
    pub(crate) async fn listen(client: &Client) -> Result<Self, SubscribeError> {
        let inbox = client.new_inbox();
        let messages = client.subscribe(format!("{inbox}.*")).await?;
        let shared = Arc::new(Shared { inbox, next: AtomicU64::new(1), waiting: Mutex::default() });
        let listener = tokio::spawn(receive(messages, Arc::downgrade(&shared)));
        Ok(Self { shared, listener })
    }

    /// Makes a place for a verdict.
    pub(crate) fn expect(&self) -> Expected {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (sender, verdict) = oneshot::channel();
        self.shared.waiting().insert(number, sender);
        let subject = format!("{}.{number}", self.shared.inbox);
        Expected { shared: Arc::clone(&self.shared), number, subject, verdict }
    }
}

impl Drop for Verdicts {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.shared.waiting().remove(&self.number);
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Verdict>>> {
        // Nothing panics while it is held.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn receive(mut messages: Subscriber, shared: Weak<Shared>) {
    while let Some(message) = messages.next().await {
        let Some(shared) = shared.upgrade() else { return };
        let number = message.subject.rsplit('.').next().and_then(|number| number.parse().ok());
        let Some(number): Option<u64> = number else { continue };
        match serde_json::from_slice::<Verdict>(&message.payload) {
            Ok(verdict) => {
                if let Some(sender) = shared.waiting().remove(&number) {
                    // Whoever asked may have stopped waiting.
                    let _ = sender.send(verdict);
                }
            }
            Err(error) => tracing::warn!(%error, "a verdict cannot be read"),
        }
    }
}
