//! Which tasks other workers of the queue hold. A server that was killed may give a task out a second time
//! while the worker that had it first is alive and at work; whoever gets it then asks the others before it
//! begins.
//!
//! One core NATS message to all workers of the queue; who holds something answers with it. Nobody waits for
//! those that hold nothing, so there is a time limit instead of a count.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt;
use stepwell_shared::encoding::{VERSION, decode, encode};
use stepwell_shared::shard::Shard;
use stepwell_shared::subject;
use stepwell_shared::task::{HeldTasks, RollCall};
use tokio::time::{Instant, timeout_at};

use crate::activity_runner::ActivitySide;

/// How long answers are waited for: many round trips.
const ANSWERS: Duration = Duration::from_millis(500);

/// Most tasks in one answer: what fits into a message with ease. Who holds more sends several.
const MAX_TASKS: usize = 10_000;

/// Listens for roll calls of a shard.
pub(crate) async fn subscribe(
    side: &ActivitySide,
    shard: Shard,
) -> Result<Subscriber, async_nats::SubscribeError> {
    let subject = subject::roll_call(side.connection.namespace(), &side.queue, shard);
    side.connection.client().subscribe(subject).await
}

/// Answers roll calls of others, until it is dropped.
pub(crate) async fn answer(side: Arc<ActivitySide>, shard: Shard, mut calls: Subscriber) {
    while let Some(call) = calls.next().await {
        let (Some(reply), Ok(RollCall { worker, .. })) = (call.reply, decode(&call.payload)) else {
            continue;
        };
        if worker == side.worker {
            continue;
        }
        // Of two that both still ask about a task, one must go on: the one with the lower id.
        let undecided = side.worker < worker;
        for tasks in side.running.tasks(shard, undecided).chunks(MAX_TASKS) {
            let held = HeldTasks { v: VERSION, worker: side.worker.clone(), tasks: tasks.to_vec() };
            side.answer(&reply, encode(&held).into()).await;
        }
    }
}

/// The sequence numbers of a shard's tasks that the other workers of the queue hold now, as far as they can be
/// reached. Takes [`ANSWERS`].
pub(crate) async fn call(side: &ActivitySide, shard: Shard) -> Result<HashSet<u64>, String> {
    let client = side.connection.client();
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.map_err(|error| error.to_string())?;
    let call = RollCall { v: VERSION, worker: side.worker.clone() };
    let subject = subject::roll_call(side.connection.namespace(), &side.queue, shard);
    let sent = client.publish_with_reply(subject, inbox, encode(&call).into()).await;
    sent.map_err(|error| error.to_string())?;
    let end = Instant::now() + ANSWERS;
    let mut held = HashSet::new();
    while let Ok(Some(answer)) = timeout_at(end, answers.next()).await {
        match decode::<HeldTasks>(&answer.payload) {
            Ok(HeldTasks { tasks, .. }) => held.extend(tasks),
            Err(error) => tracing::debug!(%error, "an answer to a roll call cannot be read"),
        }
    }
    Ok(held)
}
