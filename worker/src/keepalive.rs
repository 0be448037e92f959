//! What a worker hears and says about attempts that run: it says that they are alive, and hears that they
//! are to stop. One ticker and one subscription for all of them.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::StreamExt;
use stepwell_connection::crash::{self, Boundary};
use stepwell_shared::encoding::decode;
use stepwell_shared::subject;
use stepwell_shared::task::CancelActivity;

use crate::activity_runner::ActivitySide;

/// How often the server is told, as a part of the time that it waits: two words may be lost before a task is
/// given to another worker.
const PARTS: u32 = 3;

/// Shortest time between two words, whatever the consumer's configuration says.
const MIN_INTERVAL: Duration = Duration::from_millis(50);

/// The attempt goes on.
const IN_PROGRESS: Bytes = Bytes::from_static(b"+WPI");

/// Says that attempts are alive, until it is dropped.
pub(crate) async fn keep_alive(side: Arc<ActivitySide>) {
    let mut ack_wait = side.ack_wait.subscribe();
    loop {
        let interval = (*ack_wait.borrow_and_update() / PARTS).max(MIN_INTERVAL);
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            Ok(()) = ack_wait.changed() => continue,
        }
        // Most attempts end before anybody has to speak of them.
        for ack in side.running.alive(interval / 2) {
            crash::at(Boundary::BeforeKeepingAlive);
            side.answer(&ack, IN_PROGRESS.clone()).await;
            crash::at(Boundary::KeptAlive);
        }
    }
}

/// Listens for cancellations.
pub(crate) async fn subscribe(side: &ActivitySide) -> Result<Subscriber, async_nats::SubscribeError> {
    let subject = subject::cancel_activity(side.connection.namespace(), &side.queue);
    side.connection.client().subscribe(subject).await
}

/// Passes cancellations on, until it is dropped.
pub(crate) async fn pass_on_cancellations(side: Arc<ActivitySide>, mut messages: Subscriber) {
    while let Some(message) = messages.next().await {
        match decode::<CancelActivity>(&message.payload) {
            Ok(CancelActivity { run_id, step, .. }) => side.running.cancel(run_id, step),
            Err(error) => tracing::warn!(%error, "a cancellation cannot be read"),
        }
    }
}
