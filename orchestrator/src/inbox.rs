//! Reading a partition's events in order, without acknowledgements: how far they have been dealt with is kept
//! in a checkpoint. Reading again what was read before is harmless.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::Message;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use stepwell_connection::crash::{self, Boundary};
use stepwell_connection::{JetStreamError, leader};
use stepwell_orchestrator_core::{Arrival, PackedReport, Refusal, decode_event, is_pack, unpack};
use stepwell_shared::headers::{ANSWER_TO, PACK};
use stepwell_shared::subject::{Stream, partition_events};
use tokio::sync::{Semaphore, mpsc};

use crate::answers::{self, answer_subject};
use crate::dispatcher::{Incoming, MAX_BYTES_IN_FLIGHT, MAX_IN_FLIGHT, ROOM_PAUSE, Request};
use crate::drive::Delivery;
use crate::error::OrchestratorError;
use crate::events_consumer::{Delivered, Read, connects, open};
use crate::floor::Receipt;
use crate::rejections::{self, Raw};
use crate::shell::{Shell, new_run_id};

/// Pause before the stream is opened again after an error.
const PAUSE: Duration = Duration::from_millis(500);

/// How long nothing may come before the leader is asked whether there is something: a consumer that stands
/// still says nothing of it.
const LOOK_AFTER: Duration = Duration::from_secs(10);

/// Most messages that are set aside at the same time, because they cannot be read; reading stops there. It is
/// reached when REJECTED does not store them as fast as somebody sends them, or not at all.
const MAX_SETTING_ASIDE: usize = 256;

/// Reads the partition's events from `next` on and hands them to the dispatcher, until nobody takes them any
/// more. `catch_up` is the last of them that there was at the start.
pub(crate) async fn read(shell: Arc<Shell>, inbox: mpsc::Sender<Incoming>, next: u64, catch_up: u64) {
    let aside = Arc::new(Semaphore::new(MAX_SETTING_ASIDE));
    let mut reader = Reader { shell, inbox, aside, next, catch_up, caught_up: false, alone: true };
    reader.say_if_caught_up().await;
    loop {
        let ended = match reader.open().await {
            Ok(events) => reader.read_from(events).await,
            Err(error) => {
                tracing::warn!(%error, "EVENTS cannot be opened; trying again");
                Ended::Failed
            }
        };
        match ended {
            Ended::Left => return,
            Ended::Elsewhere => {}
            Ended::Failed => tokio::time::sleep(PAUSE).await,
        }
        if reader.inbox.is_closed() {
            return;
        }
    }
}

struct Reader {
    shell: Arc<Shell>,
    inbox: mpsc::Sender<Incoming>,
    aside: Arc<Semaphore>,
    next: u64,
    catch_up: u64,
    caught_up: bool,
    /// Whether it reads with a consumer of its own: until it has caught up, and when it did not keep up with
    /// the others.
    alone: bool,
}

/// Why reading ended.
enum Ended {
    /// Nobody takes anything any more.
    Left,
    /// To go on with another consumer at once.
    Elsewhere,
    Failed,
}

impl Reader {
    /// Reads until the consumer is to be made anew.
    async fn read_from(&mut self, mut events: BoxStream<'static, Read>) -> Ended {
        let connected = connects(&self.shell.connection);
        loop {
            let Delivered { message, sequence, pending } = match self.next_of(&mut events, connected).await {
                Ok(Some(Ok(delivered))) => delivered,
                Ok(Some(Err(error))) => {
                    tracing::warn!(error, "reading EVENTS failed; opening it again");
                    return Ended::Failed;
                }
                Ok(None) => {
                    let shared = !self.alone;
                    self.alone = true;
                    return if shared { Ended::Elsewhere } else { Ended::Failed };
                }
                Err(ended) => return ended,
            };
            if sequence < self.next {
                continue;
            }
            self.next = sequence + 1;
            self.shell.backlog.store(pending, Ordering::Relaxed);
            wait_for_room(&self.shell, &self.inbox).await;
            if !take(&self.shell, &self.inbox, &self.aside, message, sequence).await {
                return Ended::Left;
            }
            if self.say_if_caught_up().await {
                return Ended::Elsewhere;
            }
        }
    }

    /// The next event, if there is one; an error when another consumer is to be taken: after a reconnect, and
    /// when this one stands still though there is something to read, which it may for reasons of its own.
    async fn next_of(
        &mut self,
        events: &mut BoxStream<'static, Read>,
        connected: u64,
    ) -> Result<Option<Read>, Ended> {
        let (mut idle, alone) = (Duration::ZERO, self.alone);
        loop {
            tokio::select! {
                biased;
                event = events.next() => return Ok(event),
                // Made only when it is waited for.
                () = async { tokio::time::sleep(PAUSE).await } => {}
            }
            if connects(&self.shell.connection) != connected {
                return Err(Ended::Failed);
            }
            idle += PAUSE;
            let look = if self.caught_up { LOOK_AFTER } else { PAUSE };
            if idle < look {
                continue;
            }
            idle = Duration::ZERO;
            match self.behind().await {
                Ok(Some(last)) if self.caught_up => {
                    let (partition, next) = (self.shell.partition, self.next);
                    tracing::warn!(partition, last, next, "EVENTS is not delivered");
                    self.shell.metrics.recovered.with_label_values(&["events"]).inc();
                    return Err(Ended::Failed);
                }
                Ok(None) if alone && self.caught_up => {
                    // It keeps up by now.
                    self.alone = false;
                    return Err(Ended::Elsewhere);
                }
                Ok(Some(_) | None) => {}
                Err(error) => tracing::debug!(%error, "EVENTS cannot be asked how far it goes"),
            }
        }
    }

    /// The partition's last event, as the leader has it, if it was not read yet.
    async fn behind(&mut self) -> Result<Option<u64>, JetStreamError> {
        let connection = &self.shell.connection;
        let name = Stream::Events.name(connection.namespace());
        let subject = partition_events(connection.namespace(), self.shell.partition);
        let last = leader::last_sequence(connection, &name, &subject).await?;
        if last >= self.next {
            return Ok(Some(last));
        }
        // What was to be caught up with may have been trimmed by now.
        self.catch_up = self.catch_up.min(last);
        self.say_if_caught_up().await;
        Ok(None)
    }

    /// Says that everything of before has been read; after the events that are in the inbox, which requests
    /// would overtake. Says it once, and returns true then: from now on it reads with the others.
    async fn say_if_caught_up(&mut self) -> bool {
        let now = !self.caught_up && self.next > self.catch_up;
        if now {
            self.caught_up = true;
            self.alone = false;
            wait_until_taken(&self.inbox).await;
            let _ = self.shell.requests.send(Request::CaughtUp).await;
        }
        now
    }

    async fn open(&self) -> Result<BoxStream<'static, Read>, JetStreamError> {
        let (connection, partition) = (&self.shell.connection, self.shell.partition);
        let name = Stream::Events.name(connection.namespace());
        let last_sequence = leader::state(connection, &name).await?.last_sequence;
        let seen = self.next - 1;
        if last_sequence < seen {
            let stream = Stream::Events;
            self.shell.halt(OrchestratorError::StreamRegressed { stream, last_sequence, seen });
            return Err(JetStreamError::Other("EVENTS ends before what was read from it".into()));
        }
        if self.alone {
            return open(connection, vec![partition_events(connection.namespace(), partition)], self.next)
                .await;
        }
        let mut events = self.shell.ground.reader.join(partition, self.next).await;
        Ok(futures_util::stream::poll_fn(move |context| events.poll_recv(context)).boxed())
    }
}

/// Takes one message in. False when the dispatcher is gone.
async fn take(
    shell: &Arc<Shell>,
    inbox: &mpsc::Sender<Incoming>,
    aside: &Arc<Semaphore>,
    message: Message,
    sequence: u64,
) -> bool {
    crash::at(Boundary::EventRead);
    let events = parts(shell, &message, sequence);
    let receipts: Vec<Receipt> = events.iter().map(|event| event.receipt).collect();
    if receipts.is_empty() {
        shell.floor.pass(sequence);
        return true;
    }
    shell.floor.begin(&receipts);
    let answer_to = message.headers.as_ref().and_then(|headers| headers.get(ANSWER_TO));
    let answer_to = answer_subject(answer_to.map(|value| value.as_str()));
    for event in events {
        if !take_part(shell, inbox, aside, event, answer_to.clone()).await {
            return false;
        }
    }
    true
}

/// An event, or one of those in a pack.
struct Part {
    raw: Raw,
    receipt: Receipt,
    /// What of it is wrong already.
    refusal: Option<Refusal>,
}

/// What is in a message, but for what predecessors have set aside.
fn parts(shell: &Shell, message: &Message, sequence: u64) -> Vec<Part> {
    let bytes = u32::try_from(message.payload.len()).unwrap_or(u32::MAX);
    let part = |subject: String, body, place: Option<u8>, refusal| Part {
        raw: Raw { subject, body, sequence, place },
        receipt: Receipt { bytes, sequence, part: place.unwrap_or(0) },
        refusal,
    };
    let whole = |refusal| vec![part(message.subject.to_string(), message.payload.clone(), None, refusal)];
    let mut parts = if is_pack(&message.subject) {
        let header = message.headers.as_ref().and_then(|headers| headers.get(PACK));
        let header = header.map(|header| header.as_str());
        match unpack(&message.subject, header, &message.payload, shell.partitions) {
            Err(refusal) => whole(Some(refusal)),
            Ok(reports) => reports
                .into_iter()
                .map(|PackedReport { place, subject, body }| {
                    let (subject, refusal) = match subject {
                        Ok(subject) => (subject, None),
                        Err(refusal) => (message.subject.to_string(), Some(refusal)),
                    };
                    part(subject, message.payload.slice(body), u8::try_from(place).ok(), refusal)
                })
                .collect(),
        }
    } else {
        whole(None)
    };
    if !shell.set_aside.is_empty() {
        parts.retain(|part| !shell.set_aside.contains(&(sequence, part.raw.place)));
    }
    parts
}

/// Takes in one event. False when the dispatcher is gone.
async fn take_part(
    shell: &Arc<Shell>,
    inbox: &mpsc::Sender<Incoming>,
    aside: &Arc<Semaphore>,
    Part { raw, receipt, refusal }: Part,
    answer_to: Option<String>,
) -> bool {
    let tokens = &shell.tokens;
    let genuine = |token: &str, run_id: &_, step, attempt| tokens.verify(token, run_id, step, attempt);
    let decoded = match refusal {
        Some(refusal) => Err(refusal),
        None => decode_event(&raw.subject, &raw.body, genuine, new_run_id),
    };
    match decoded {
        Ok(decoded) => {
            let delivery = Delivery {
                arrival: Arrival { sequence: Some(raw.sequence), input: decoded.input },
                receipt: Some(receipt),
                answer_to,
                raw: Some(raw),
                timings: decoded.timings,
                republish: Vec::new(),
            };
            inbox.send(Incoming { id: decoded.workflow_id, delivery }).await.is_ok()
        }
        Err(refusal) => {
            // Setting it aside must not hold up the others.
            let Ok(permit) = Arc::clone(aside).acquire_owned().await else { return false };
            let shell = Arc::clone(shell);
            tokio::spawn(async move {
                let connection = &shell.connection;
                if !rejections::set_aside(&shell, &raw, refusal.code, &refusal.message).await {
                    return;
                }
                if let Some(answer_to) = answer_to {
                    let ruling = stepwell_orchestrator_core::Ruling::Rejected {
                        code: refusal.code,
                        message: refusal.message,
                        run_id: None,
                    };
                    if let Some(verdict) = answers::verdict(&ruling) {
                        answers::send(connection.client(), &answer_to, &verdict).await;
                    }
                }
                shell.floor.done(receipt);
                drop(permit);
            });
            true
        }
    }
}

/// Returns when what was read and is not done is less, or nobody takes more.
async fn wait_for_room(shell: &Shell, inbox: &mpsc::Sender<Incoming>) {
    let full = || {
        shell.floor.in_flight() >= shell.ground.share(MAX_IN_FLIGHT)
            || shell.floor.bytes_in_flight() >= shell.ground.share(MAX_BYTES_IN_FLIGHT)
    };
    while full() && !inbox.is_closed() {
        tokio::time::sleep(ROOM_PAUSE).await;
    }
}

/// Returns when the dispatcher has taken everything that was put into the inbox.
async fn wait_until_taken(inbox: &mpsc::Sender<Incoming>) {
    while inbox.capacity() < inbox.max_capacity() && !inbox.is_closed() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
