//! Tasks that lay on the queue before the worker came: some of them must not be begun.

use std::sync::Arc;

use futures_util::StreamExt;
use stepwell::shared::encoding::{VERSION, decode, encode};
use stepwell::shared::ids::WorkerId;
use stepwell::shared::message::{Outcome, ReportMessage};
use stepwell::shared::shard::Shard;
use stepwell::shared::subject::{self, Bucket, EventAddress};
use stepwell::shared::task::{ActivityTask, HeldTasks, RollCall};
use stepwell::{ActivityCode, CancellationToken, FailureKind, Worker};
use stepwell_connection::clock::now_ms;
use tokio::sync::Mutex;

use crate::support::{QUEUE, World, json, queue, run_id, task, within};

const TASKS: &str = "STEPWELL_default_TASKS";

/// An activity that notes the inputs with which it was begun.
fn noting(worker: Worker) -> (Worker, Arc<Mutex<Vec<u32>>>) {
    let begun: Arc<Mutex<Vec<u32>>> = Arc::default();
    let notes = Arc::clone(&begun);
    let code = ActivityCode::from_fn("note", move |_, input| {
        let notes = Arc::clone(&notes);
        async move {
            notes.lock().await.push(input.decode()?);
            Ok(input)
        }
    });
    (worker.activity_code(code), begun)
}

/// Stores the result of a task, as a worker does that dies before it acknowledges the task.
async fn report_ended(world: &World, task: &ActivityTask) {
    let report = ReportMessage {
        v: VERSION,
        attempt: task.attempt,
        token: task.token.clone(),
        outcome: Outcome::Completed { result: json(0) },
        worker: None,
        schedule_to_start_ms: None,
        execution_ms: None,
    };
    let address = EventAddress::Report { run_id: task.run_id.clone(), step: task.step };
    let subject = subject::event(world.connection.namespace(), &task.workflow_id, &address);
    let sent = world.connection.publisher().publish(subject, None, encode(&report).into()).await;
    sent.unwrap().await.unwrap();
}

#[tokio::test]
async fn a_consumer_that_is_made_anew_brings_nothing_that_has_ended() {
    let world = World::new().await;
    let (worker, begun) = noting(world.worker().await);
    let _worker = world.run(worker).await;
    world.consumer().await;
    // The worker waits for a task, and does not get this one.
    let pause = serde_json::json!({ "pause_until": "2100-01-01T00:00:00Z" });
    let _: serde_json::Value =
        world.connection.api(format!("CONSUMER.PAUSE.{TASKS}.{QUEUE}"), &pause).await.unwrap();
    let old = task("note", 1, 1);
    world.publish(&old).await;
    report_ended(&world, &old).await;
    let tasks = world.connection.jetstream().get_stream(TASKS).await.unwrap();
    tasks.delete_consumer(QUEUE).await.unwrap();
    world.until_empty().await;
    assert!(begun.lock().await.is_empty());
    world.publish(&task("note", 2, 2)).await;
    world.until_empty().await;
    assert_eq!(*begun.lock().await, [2]);
}

#[tokio::test]
async fn a_consumer_that_was_made_anew_without_a_word_brings_nothing_that_has_ended() {
    let world = World::new().await;
    let (worker, begun) = noting(world.worker().await.max_concurrent_activities(1));
    let go_on = CancellationToken::new();
    let gate = go_on.clone();
    let worker = worker.activity_code(ActivityCode::from_fn("wait", move |_, input| {
        let gate = gate.clone();
        async move {
            gate.cancelled().await;
            Ok(input)
        }
    }));
    let mut reports = world.reports().await;
    let _worker = world.run(worker).await;
    // While it is at this one the worker asks for no other, and is not told what becomes of the consumer.
    world.publish(&ActivityTask { maximum_attempts: Some(1), ..task("wait", 1, 1) }).await;
    assert_eq!(reports.outcome().await, Outcome::Started {});
    let old = task("note", 2, 2);
    world.publish(&old).await;
    let mut taken = world.consumer().await.fetch().max_messages(1).messages().await.unwrap();
    within(taken.next()).await.unwrap().unwrap();
    report_ended(&world, &old).await;
    let tasks = world.connection.jetstream().get_stream(TASKS).await.unwrap();
    tasks.delete_consumer(QUEUE).await.unwrap();
    world.consumer().await;
    go_on.cancel();
    world.until_empty().await;
    assert!(begun.lock().await.is_empty());
}

#[tokio::test]
async fn what_is_published_again_and_has_ended_is_not_begun() {
    let world = World::new().await;
    let (worker, begun) = noting(world.worker().await);
    let _worker = world.run(worker).await;
    let mut reports = world.reports().await;
    // Both are new to the worker and to the server.
    let ended = task("note", 1, 1);
    report_ended(&world, &ended).await;
    assert_eq!(reports.next().await.0, "run-1.1");
    world.publish_again(&ended).await;
    world.publish_again(&task("note", 2, 2)).await;
    assert_eq!(reports.next().await.0, "run-1.2");
    world.until_empty().await;
    assert_eq!(*begun.lock().await, [2]);
}

#[tokio::test]
async fn what_another_worker_holds_is_not_begun() {
    let world = World::new().await;
    let subject = subject::roll_call(world.connection.namespace(), &queue(), Shard::FIRST);
    let mut calls = world.subscribe(&subject).await;
    for seq in 1..=2 {
        world.publish(&task("note", seq, seq)).await;
    }
    let mut reports = world.reports().await;
    let (worker, begun) = noting(world.worker().await);
    let _worker = world.run(worker).await;
    let call = within(calls.next()).await.unwrap();
    assert_eq!(decode::<RollCall>(&call.payload).unwrap().v, VERSION);
    let other = WorkerId::new("other").unwrap();
    let held = HeldTasks { v: VERSION, worker: other, tasks: vec![1] };
    world.connection.client().publish(call.reply.unwrap(), encode(&held).into()).await.unwrap();
    assert_eq!(reports.next().await.0, "run-1.2");
    assert_eq!(*begun.lock().await, [2]);
    // The first one stays with whoever holds it.
    let info = world.consumer().await.get_info().await.unwrap();
    assert_eq!(info.num_pending, 0);
    assert!(info.num_ack_pending >= 1);
}

#[tokio::test]
async fn a_worker_says_what_it_holds() {
    let world = World::new().await;
    let mut reports = world.reports().await;
    let code = ActivityCode::from_fn("wait", |context, input| async move {
        context.cancelled().await;
        Ok(input)
    });
    let _worker = world.run(world.worker().await.activity_code(code)).await;
    world.publish(&ActivityTask { maximum_attempts: Some(1), ..task("wait", 1, 1) }).await;
    assert_eq!(reports.outcome().await, Outcome::Started {});
    let client = world.connection.client();
    let inbox = client.new_inbox();
    let mut answers = world.subscribe(&inbox).await;
    let call = RollCall { v: VERSION, worker: WorkerId::new("other").unwrap() };
    let subject = subject::roll_call(world.connection.namespace(), &queue(), Shard::FIRST);
    client.publish_with_reply(subject, inbox, encode(&call).into()).await.unwrap();
    let answer = within(answers.next()).await.unwrap();
    assert_eq!(decode::<HeldTasks>(&answer.payload).unwrap().tasks, [1]);
}

#[tokio::test]
async fn what_nobody_waits_for_is_not_begun() {
    let world = World::new().await;
    let past = now_ms() - 60_000;
    let other_run = stepwell::RunId::new("run-0").unwrap();
    let tasks = [
        // Its time is over.
        ActivityTask { expires_at_ms: Some(past), ..task("note", 1, 1) },
        // Its run is closed.
        ActivityTask { scheduled_at_ms: past, ..task("note", 2, 2) },
        // It is not known whether its run is closed: the summary is another one's.
        ActivityTask { scheduled_at_ms: past, run_id: other_run, ..task("note", 3, 3) },
        // Nobody began it in time.
        ActivityTask { scheduled_at_ms: past, schedule_to_start_ms: Some(1), ..task("note", 5, 5) },
        // Its time is not over.
        ActivityTask { expires_at_ms: Some(now_ms() + 600_000), ..task("note", 4, 4) },
    ];
    let summary = serde_json::json!({
        "v": 1, "workflow_id": "order 7", "run_id": run_id(), "type": "order", "queue": "work",
        "status": "completed", "started_at_ms": past, "closed_at_ms": past, "history_length": 9,
    });
    let key = subject::state_key(&task("note", 1, 1).workflow_id);
    let subject = Bucket::State.subject(world.connection.namespace(), &key);
    let sent = world.connection.publisher().publish(subject, None, summary.to_string().into()).await;
    sent.unwrap().await.unwrap();
    for task in &tasks {
        world.publish(task).await;
    }
    let mut reports = world.reports().await;
    let (worker, begun) = noting(world.worker().await.max_concurrent_activities(1));
    let _worker = world.run(worker).await;
    assert_eq!(reports.next().await.0, "run-0.3");
    assert_eq!(reports.next().await.0, "run-1.4");
    world.until_empty().await;
    assert_eq!(*begun.lock().await, [3, 4]);
}

#[tokio::test]
async fn what_somebody_began_in_time_is_lost_and_not_forgotten() {
    let world = World::new().await;
    let past = now_ms() - 3_000;
    world
        .publish(&ActivityTask { scheduled_at_ms: past, schedule_to_start_ms: Some(1), ..task("note", 1, 1) })
        .await;
    let consumer = world.consumer().await;
    let mut taken = consumer.fetch().max_messages(1).messages().await.unwrap();
    let message = within(taken.next()).await.unwrap().unwrap();
    message.ack_with(async_nats::jetstream::AckKind::Nak(None)).await.unwrap();
    let mut reports = world.reports().await;
    let (worker, begun) = noting(world.worker().await);
    let _worker = world.run(worker).await;
    assert_eq!(reports.failure().await.0.kind, FailureKind::Lost);
    world.until_empty().await;
    assert!(begun.lock().await.is_empty());
}
