//! The activity side of a worker: takes tasks from the queue, as many as there are free slots, and sees each
//! to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::jetstream;
use futures_util::StreamExt as _;
use stepwell_connection::Connection;
use stepwell_connection::provision::ensure_queue;
use stepwell_shared::encoding::decode;
use stepwell_shared::ids::{Name, WorkerId};
use stepwell_shared::subject::{self, Stream};
use stepwell_shared::task::{ActivityTask, CancelActivity};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::activity_registry::ActivityRegistry;
use crate::activity_runner::attend;
use crate::cancellations::Cancellations;
use crate::metric_definitions::Metrics;
use crate::pull::{Arrived, Pulls};

/// How often lost requests are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the attempts of a worker share.
pub(crate) struct ActivityWork {
    pub(crate) connection: Connection,
    pub(crate) worker: WorkerId,
    pub(crate) queue: Name,
    pub(crate) registry: ActivityRegistry,
    pub(crate) slots: usize,
    pub(crate) busy: AtomicUsize,
    pub(crate) freed: Notify,
    pub(crate) cancellations: Cancellations,
    pub(crate) attempts: TaskTracker,
    pub(crate) metrics: Arc<Metrics>,
    /// How long the server waits for a sign of life of a task.
    pub(crate) ack_wait: Duration,
    /// The worker shuts down and its activities were told to stop.
    pub(crate) stopping: CancellationToken,
}

/// Takes tasks until `stop`.
pub(crate) async fn take_tasks(work: Arc<ActivityWork>, stop: CancellationToken) {
    let client = work.connection.client();
    let inbox = client.new_inbox();
    let stream = Stream::Tasks.name(work.connection.namespace());
    let mut messages = match client.subscribe(format!("{inbox}.*")).await {
        Ok(messages) => messages,
        Err(error) => return tracing::error!(%error, "tasks cannot be received"),
    };
    let mut pulls = Pulls::new(&stream, work.queue.as_str(), &inbox);
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        let free = work.slots.saturating_sub(work.busy.load(Ordering::Acquire));
        pulls.top_up(client, free, work.slots).await;
        tokio::select! {
            () = stop.cancelled() => break,
            () = work.freed.notified() => {}
            _ = look.tick() => pulls.forget_lost(),
            message = messages.next() => {
                let Some(message) = message else { break };
                match pulls.arrived(&message) {
                    Arrived::Task => begin(&work, message),
                    Arrived::Nothing => {}
                    Arrived::ConsumerGone => {
                        remake_queue(&work).await;
                    }
                }
            }
        }
    }
    hand_back(&work, messages).await;
}

/// Hears which activities are to stop.
pub(crate) async fn hear_cancellations(work: Arc<ActivityWork>) {
    let subject = subject::cancel_activity(work.connection.namespace(), &work.queue);
    let mut messages = match work.connection.client().subscribe(subject).await {
        Ok(messages) => messages,
        Err(error) => return tracing::error!(%error, "cancellations cannot be heard"),
    };
    while let Some(message) = messages.next().await {
        match decode::<CancelActivity>(&message.payload) {
            Ok(cancel) => work.cancellations.cancel(cancel.run_id, cancel.step),
            Err(error) => tracing::debug!(%error, "a cancellation cannot be read"),
        }
    }
}

fn begin(work: &Arc<ActivityWork>, message: async_nats::Message) {
    let message =
        jetstream::Message { message, context: work.connection.jetstream().clone() };
    match decode::<ActivityTask>(&message.payload) {
        Ok(task) => {
            let busy = work.busy.fetch_add(1, Ordering::AcqRel) + 1;
            work.metrics.slots_used.set(i64::try_from(busy).unwrap_or(i64::MAX));
            let this = Arc::clone(work);
            work.attempts.spawn(async move {
                attend(&this, task, &message).await;
                let busy = this.busy.fetch_sub(1, Ordering::AcqRel) - 1;
                this.metrics.slots_used.set(i64::try_from(busy).unwrap_or(i64::MAX));
                this.freed.notify_one();
            });
        }
        Err(error) => {
            // Nobody can ever carry it out; the orchestrator's own timeouts see to the step.
            work.metrics.unreadable_tasks.inc();
            tracing::error!(%error, "a task cannot be read and is taken off the queue");
            tokio::spawn(async move {
                let _ = message.ack_with(jetstream::AckKind::Term).await;
            });
        }
    }
}

async fn remake_queue(work: &ActivityWork) {
    if let Err(error) = ensure_queue(&work.connection, &work.queue).await {
        tracing::warn!(queue = %work.queue, %error, "the queue's consumer cannot be made; trying again");
    }
    tokio::time::sleep(LOOK_EVERY).await;
}

/// Gives back what arrived and was not begun. The server then hands it to another worker at once.
async fn hand_back(work: &ActivityWork, mut messages: async_nats::Subscriber) {
    let _ = messages.unsubscribe().await;
    while let Ok(Some(message)) = tokio::time::timeout(Duration::from_millis(100), messages.next()).await {
        if message.status.is_none()
            && let Some(reply) = message.reply
        {
            let _ = work.connection.client().publish(reply, "-NAK".into()).await;
        }
    }
}
