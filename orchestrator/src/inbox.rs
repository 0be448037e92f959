//! Reading the EVENTS stream in order, without acknowledgements: how far it has been dealt with is kept in
//! checkpoints. Reading again what was read before is harmless.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy, pull::OrderedConfig};
use async_nats::jetstream::{Message, stream};
use futures_util::StreamExt as _;
use stepwell_connection::JetStreamError;
use stepwell_orchestrator_core::Arrival;
use stepwell_shared::headers::ANSWER_TO;
use stepwell_shared::subject::Stream;
use tokio::sync::{Semaphore, mpsc};

use crate::answers::{self, answer_subject};
use crate::decode::decode_event;
use crate::dispatcher::{Incoming, MAX_BYTES_IN_FLIGHT, ROOM_PAUSE, Request};
use crate::drive::Delivery;
use crate::floor::Receipt;
use crate::rejections::{self, Raw};
use crate::shell::{Shell, new_run_id};

/// Pause before the stream is opened again after an error.
const PAUSE: Duration = Duration::from_millis(500);

/// Most messages that are set aside at the same time, because they cannot be read; reading stops there. It is
/// reached when REJECTED does not store them as fast as somebody sends them, or not at all.
const MAX_SETTING_ASIDE: usize = 256;

/// Reads from `next` on and hands everything to the dispatcher, until nobody takes it any more.
/// `checkpoints` say per partition what need not be read again; `catch_up` is the stream's last sequence
/// at the start.
pub(crate) async fn read(
    shell: Arc<Shell>,
    inbox: mpsc::Sender<Incoming>,
    mut next: u64,
    checkpoints: Vec<u64>,
    catch_up: u64,
) {
    let aside = Arc::new(Semaphore::new(MAX_SETTING_ASIDE));
    let mut caught_up = next > catch_up;
    if caught_up {
        say_caught_up(&shell, &inbox).await;
    }
    loop {
        let connects = connects(&shell);
        match open(&shell, next).await {
            Ok((mut messages, pending)) => {
                if !caught_up && pending == 0 {
                    // Nothing is left of what was to be read.
                    caught_up = true;
                    say_caught_up(&shell, &inbox).await;
                }
                while let Some(message) = next_unless_reconnected(&shell, &mut messages, connects).await {
                    let message = match message {
                        Ok(message) => message,
                        Err(error) => {
                            tracing::warn!(%error, "reading EVENTS failed; opening it again");
                            break;
                        }
                    };
                    let Ok((sequence, pending)) = place(&message) else { continue };
                    if sequence < next {
                        continue;
                    }
                    next = sequence + 1;
                    shell.metrics.backlog.set(i64::try_from(pending).unwrap_or(i64::MAX));
                    wait_for_room(&shell, &inbox).await;
                    if !take(&shell, &inbox, &aside, &checkpoints, message, sequence).await {
                        return;
                    }
                    if !caught_up && (sequence >= catch_up || pending == 0) {
                        caught_up = true;
                        say_caught_up(&shell, &inbox).await;
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "EVENTS cannot be opened; trying again"),
        }
        if inbox.is_closed() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The next message; `None` when the connection was made anew: the server that is there now may know nothing
/// of the consumer, which the client would notice much later.
async fn next_unless_reconnected(
    shell: &Shell,
    messages: &mut (impl futures_util::Stream<Item = Read> + Unpin),
    connected: u64,
) -> Option<Read> {
    loop {
        tokio::select! {
            biased;
            message = messages.next() => return message,
            // Made only when it is waited for.
            () = async { tokio::time::sleep(PAUSE).await } => {
                if connects(shell) != connected {
                    return None;
                }
            }
        }
    }
}

fn connects(shell: &Shell) -> u64 {
    shell.connection.client().statistics().connects.load(Ordering::Relaxed)
}

async fn open(
    shell: &Shell,
    next: u64,
) -> Result<(impl futures_util::Stream<Item = Read> + use<>, u64), JetStreamError> {
    let other = |error: String| JetStreamError::Other(error);
    let name = Stream::Events.name(shell.connection.namespace());
    let stream: stream::Stream<()> = shell
        .connection
        .jetstream()
        .get_stream_no_info(name)
        .await
        .map_err(|error| other(error.to_string()))?;
    let config = OrderedConfig {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: next.max(1) },
        replay_policy: ReplayPolicy::Instant,
        ..OrderedConfig::default()
    };
    let consumer = stream.create_consumer(config).await.map_err(|error| other(error.to_string()))?;
    let pending = consumer.cached_info().num_pending;
    let messages = consumer.messages().await.map_err(|error| other(error.to_string()))?;
    Ok((messages, pending))
}

type Read = Result<Message, async_nats::jetstream::consumer::pull::OrderedError>;

fn place(message: &Message) -> Result<(u64, u64), ()> {
    let info = message.info().map_err(|error| tracing::warn!(%error, "a delivery has no place"))?;
    Ok((info.stream_sequence, info.pending))
}

/// Takes one message in. False when the dispatcher is gone.
async fn take(
    shell: &Arc<Shell>,
    inbox: &mpsc::Sender<Incoming>,
    aside: &Arc<Semaphore>,
    checkpoints: &[u64],
    message: Message,
    sequence: u64,
) -> bool {
    let partition = message.subject.split('.').nth(3).and_then(|token| token.parse::<u32>().ok());
    let bytes = u32::try_from(message.payload.len()).unwrap_or(u32::MAX);
    let receipt = Receipt { partition: partition.unwrap_or(0), bytes, sequence };
    let done = checkpoints.get(receipt.partition as usize).is_some_and(|done| sequence <= *done);
    if done || shell.set_aside.contains(&sequence) {
        shell.floors.pass(sequence);
        return true;
    }
    shell.floors.begin(receipt);
    let answer_to = message.headers.as_ref().and_then(|headers| headers.get(ANSWER_TO));
    let answer_to = answer_subject(answer_to.map(|value| value.as_str()));
    let raw = Raw { subject: message.subject.to_string(), body: message.payload.clone(), sequence };
    match decode_event(&raw.subject, &raw.body, &shell.tokens, new_run_id) {
        Ok(decoded) => {
            let delivery = Delivery {
                arrival: Arrival { sequence: Some(sequence), input: decoded.input },
                receipt: Some(receipt),
                answer_to,
                raw: Some(raw),
                timings: decoded.timings,
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
                shell.floors.done(receipt);
                drop(permit);
            });
            true
        }
    }
}

/// Returns when what was read and is not done takes less memory, or nobody takes more.
async fn wait_for_room(shell: &Shell, inbox: &mpsc::Sender<Incoming>) {
    while shell.floors.bytes_in_flight() >= MAX_BYTES_IN_FLIGHT && !inbox.is_closed() {
        tokio::time::sleep(ROOM_PAUSE).await;
    }
}

/// Says that everything of before has been read; after the events that are in the inbox, which requests would
/// overtake.
async fn say_caught_up(shell: &Shell, inbox: &mpsc::Sender<Incoming>) {
    wait_until_taken(inbox).await;
    let _ = shell.requests.send(Request::CaughtUp).await;
}

/// Returns when the dispatcher has taken everything that was put into the inbox.
async fn wait_until_taken(inbox: &mpsc::Sender<Incoming>) {
    while inbox.capacity() < inbox.max_capacity() && !inbox.is_closed() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
