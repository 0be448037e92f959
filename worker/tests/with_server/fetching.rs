//! How tasks are fetched: no more than there are slots, whatever happens to consumer, server and time.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use futures_util::StreamExt;
use stepwell::shared::message::Outcome;
use stepwell::{ActivityCode, Worker};
use tokio::sync::{Semaphore, mpsc};

use crate::support::{QUEUE, World, json, task, within};

/// An activity that tells the test when it runs and ends when it may.
fn gate(worker: Worker) -> (Worker, mpsc::UnboundedReceiver<()>, Arc<Semaphore>) {
    let (sender, began) = mpsc::unbounded_channel();
    let open = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&open);
    let code = ActivityCode::from_fn("pass", move |_, input| {
        let (began, gate) = (sender.clone(), Arc::clone(&gate));
        async move {
            let _ = began.send(());
            gate.acquire().await?.forget();
            Ok(input)
        }
    });
    (worker.activity_code(code), began, open)
}

#[tokio::test]
async fn no_more_tasks_are_taken_than_there_are_slots() {
    let world = World::new().await;
    let (worker, mut began, open) = gate(world.worker().await.max_concurrent_activities(2));
    let _worker = world.run(worker).await;
    let mut reports = world.reports().await;
    for seq in 1..=6 {
        world.publish(&task("pass", seq, seq)).await;
    }
    for left in [4, 3, 2] {
        // Two run; the others are on the queue, where any other worker could take them.
        within(began.recv()).await.expect("an attempt");
        if left == 4 {
            within(began.recv()).await.expect("an attempt");
        }
        let info = world.consumer().await.get_info().await.expect("its state");
        assert_eq!((info.num_ack_pending, info.num_pending), (2, left));
        open.add_permits(1);
        reports.next().await;
    }
    open.add_permits(3);
    for _ in 0..3 {
        reports.next().await;
    }
    world.until_empty().await;
}

#[tokio::test]
async fn many_tasks_go_through_few_slots() {
    let world = World::new().await;
    let echo = ActivityCode::from_fn("echo", |_, input| async move { Ok(input) });
    let _worker = world.run(world.worker().await.max_concurrent_activities(5).activity_code(echo)).await;
    let mut reports = world.reports().await;
    for seq in 1..=300 {
        world.publish(&task("echo", seq, seq)).await;
    }
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..300 {
        let (place, report) = reports.next().await;
        assert!(matches!(report.outcome, Outcome::Completed { .. }), "{:?}", report.outcome);
        assert!(seen.insert(place));
    }
    world.until_empty().await;
}

#[tokio::test]
async fn a_worker_waits_for_its_namespace() {
    let world = World::bare().await;
    let (worker, mut began, open) = gate(world.worker().await);
    let _worker = world.run(worker).await;
    stepwell_connection::provision::provision(&world.connection, &Default::default()).await.unwrap();
    world.publish(&task("pass", 1, 1)).await;
    within(began.recv()).await.expect("an attempt");
    open.add_permits(1);
    world.until_empty().await;
}

#[tokio::test]
async fn a_consumer_that_is_deleted_is_made_again() {
    let world = World::new().await;
    let (worker, mut began, open) = gate(world.worker().await);
    let _worker = world.run(worker).await;
    open.add_permits(2);
    world.publish(&task("pass", 1, 1)).await;
    within(began.recv()).await.expect("an attempt");
    world.until_empty().await;
    let tasks = world.connection.jetstream().get_stream("STEPWELL_default_TASKS").await.unwrap();
    tasks.delete_consumer(QUEUE).await.expect("it is deleted");
    world.publish(&task("pass", 2, 2)).await;
    within(began.recv()).await.expect("an attempt");
    world.until_empty().await;
}

#[tokio::test]
async fn a_worker_goes_on_after_the_server_was_killed() {
    let mut world = World::new().await;
    let (worker, mut began, open) = gate(world.worker().await);
    let _worker = world.run(worker).await;
    open.add_permits(2);
    world.publish(&task("pass", 1, 1)).await;
    within(began.recv()).await.expect("an attempt");
    world.until_empty().await;
    world.server.kill();
    world.server.restart().expect("it starts again");
    let connection = world.client().await.connection().clone();
    let world = World { connection, ..world };
    world.publish(&task("pass", 2, 2)).await;
    within(began.recv()).await.expect("an attempt");
    world.until_empty().await;
}

#[tokio::test]
async fn a_long_attempt_is_kept_alive() {
    let world = World::new().await;
    // The same consumer, with a server that loses patience soon.
    let config = pull::Config {
        durable_name: Some(QUEUE.to_owned()),
        filter_subject: format!("stepwell.default.task.{QUEUE}"),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(3),
        ..pull::Config::default()
    };
    let jetstream = world.connection.jetstream();
    jetstream.create_consumer_on_stream(config, "STEPWELL_default_TASKS").await.expect("a consumer");
    let (worker, mut began, open) = gate(world.worker().await);
    let _worker = world.run(worker).await;
    let mut reports = world.reports().await;
    let mut words = world.subscribe("$JS.ACK.STEPWELL_default_TASKS.>").await;
    world.publish(&task("pass", 1, 1)).await;
    within(began.recv()).await.expect("an attempt");
    // Eight words at a third of its patience each: by now it would have lost it twice.
    for _ in 0..8 {
        let word = within(words.next()).await.expect("a word");
        assert_eq!(word.payload.as_ref(), b"+WPI");
    }
    open.add_permits(1);
    assert_eq!(reports.outcome().await, Outcome::Completed { result: json(1) });
    world.until_empty().await;
    let info = world.consumer().await.get_info().await.expect("its state");
    assert_eq!(info.num_redelivered, 0);
    assert!(began.try_recv().is_err());
}

#[tokio::test]
async fn a_report_is_sent_again_until_it_is_stored() {
    let world = World::new().await;
    let (worker, mut began, open) = gate(world.worker().await);
    let _worker = world.run(worker).await;
    world.publish(&task("pass", 1, 1)).await;
    within(began.recv()).await.expect("an attempt");
    // Nobody stores events for a while.
    let jetstream = world.connection.jetstream();
    let config =
        jetstream.get_stream("STEPWELL_default_EVENTS").await.unwrap().get_info().await.unwrap().config;
    jetstream.delete_stream("STEPWELL_default_EVENTS").await.expect("it is deleted");
    let mut tries = world.reports().await;
    open.add_permits(1);
    for _ in 0..2 {
        tries.next().await;
    }
    let info = world.consumer().await.get_info().await.expect("its state");
    assert_eq!(info.num_ack_pending, 1, "the task was acknowledged before its report was stored");
    jetstream.create_stream(config).await.expect("it is made again");
    world.until_empty().await;
    let events = jetstream.get_stream("STEPWELL_default_EVENTS").await.unwrap();
    assert_eq!(events.get_info().await.unwrap().state.messages, 1);
}
