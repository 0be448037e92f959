//! How a worker ends.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use stepwell::prelude::*;
use stepwell::shared::message::Outcome;
use stepwell::{ActivityCode, FailureKind};
use tokio::sync::{Semaphore, mpsc};

use crate::support::{RunningWorker, World, json, task, within};

#[workflow]
async fn idle(_ctx: WorkflowContext) -> Result<(), WorkflowError> {
    Ok(())
}

/// `cooperative` ends when it is told to or may; `stubborn` only when it may.
fn activities(worker: Worker) -> (Worker, mpsc::UnboundedReceiver<()>, Arc<Semaphore>) {
    let (sender, began) = mpsc::unbounded_channel();
    let open = Arc::new(Semaphore::new(0));
    let code = |name: &'static str| {
        let (sender, gate) = (sender.clone(), Arc::clone(&open));
        ActivityCode::from_fn(name, move |ctx: ActivityContext, input| {
            let (began, gate) = (sender.clone(), Arc::clone(&gate));
            async move {
                ctx.heartbeat("half");
                let _ = began.send(());
                tokio::select! {
                    permit = gate.acquire() => {
                        permit?.forget();
                        Ok(input)
                    }
                    () = ctx.cancelled(), if name == "cooperative" => Err(ActivityError::cancelled()),
                }
            }
        })
    };
    (worker.activity_code(code("cooperative")).activity_code(code("stubborn")), began, open)
}

#[tokio::test]
async fn running_activities_are_waited_for() {
    let world = World::new().await;
    let (worker, mut began, open) = activities(world.worker().await);
    let mut announcements = world.announcements().await;
    let running = RunningWorker::new(worker.workflow(idle));
    let first = within(announcements.next()).await.unwrap();
    assert_eq!((first.slots, first.slots_used, first.leaving), (16, 0, false));
    assert_eq!(first.activities.len(), 2);
    assert_eq!(first.workflows, [crate::support::name("idle")]);
    let mut reports = world.reports().await;
    world.publish(&task("stubborn", 1, 1)).await;
    within(began.recv()).await.unwrap();
    running.stop.cancel();
    let last = within(announcements.filter(|one| std::future::ready(one.leaving)).next()).await.unwrap();
    assert_eq!((last.worker, last.slots_used), (first.worker, 1));
    open.add_permits(1);
    assert_eq!(reports.outcome().await, Outcome::Completed { result: json(1) });
    running.end().await;
    world.until_empty().await;
}

#[tokio::test]
async fn activities_that_take_too_long_go_to_another_worker() {
    let world = World::new().await;
    let worker = world.worker().await.drain_timeout(Duration::ZERO);
    let (worker, mut began, _open) = activities(worker);
    let running = world.run(worker).await;
    let mut reports = world.reports().await;
    world.publish(&task("cooperative", 1, 1)).await;
    world.publish(&task("stubborn", 2, 2)).await;
    for _ in 0..2 {
        within(began.recv()).await.unwrap();
    }
    running.end().await;
    for _ in 0..2 {
        let (failure, heartbeat) = reports.failure().await;
        assert_eq!((failure.kind, failure.error_type.as_str()), (FailureKind::Application, "WorkerShutdown"));
        assert_eq!((failure.non_retryable, failure.next_retry_delay_ms), (false, Some(0)));
        assert_eq!(heartbeat, Some(json("half")));
    }
    world.until_empty().await;
}

#[tokio::test]
async fn nothing_is_taken_after_the_end() {
    let world = World::new().await;
    let (worker, mut began, open) = activities(world.worker().await);
    let running = world.run(worker).await;
    open.add_permits(10);
    world.publish(&task("stubborn", 1, 1)).await;
    within(began.recv()).await.unwrap();
    running.end().await;
    for seq in 2..=4 {
        world.publish(&task("stubborn", seq, seq)).await;
    }
    let consumer = world.consumer().await;
    // The server counts a moment after it has stored them.
    let info = within(async {
        loop {
            let info = consumer.get_info().await.unwrap();
            if info.num_pending + info.num_ack_pending as u64 == 3 {
                break info;
            }
            tokio::task::yield_now().await;
        }
    });
    let info = info.await;
    assert_eq!((info.num_pending, info.num_ack_pending), (3, 0));
    // The next worker makes their first attempts.
    let (worker, mut began, open) = activities(world.worker().await);
    let mut reports = world.reports().await;
    let running = world.run(worker).await;
    open.add_permits(10);
    for _ in 0..3 {
        within(began.recv()).await.unwrap();
        assert!(matches!(reports.outcome().await, Outcome::Completed { .. }));
    }
    running.end().await;
}

#[tokio::test]
async fn workers_that_come_and_go_leave_no_task_behind() {
    const TASKS: u32 = 200;
    let world = World::new().await;
    let echo = || ActivityCode::from_fn("echo", |_, input| async move { Ok(input) });
    let mut reports = world.reports().await;
    for seq in 1..=TASKS {
        world.publish(&task("echo", seq, seq)).await;
    }
    // Each one is ended as soon as it has reported something, in the middle of its work.
    let mut outcomes = std::collections::BTreeMap::new();
    while outcomes.len() < TASKS as usize {
        let worker = world.worker().await.max_concurrent_activities(4).activity_code(echo());
        let running = RunningWorker::new(worker);
        for _ in 0..20 {
            if outcomes.len() < TASKS as usize {
                let (place, report) = reports.next().await;
                outcomes.entry(place).or_insert(report.outcome);
            }
        }
        running.end().await;
    }
    world.until_empty().await;
    // A task that was on its way when a worker ended is the next one's to report as lost, at worst.
    for (place, outcome) in outcomes {
        match outcome {
            Outcome::Completed { .. } => {}
            Outcome::Failed { failure, .. } => assert_eq!(failure.kind, FailureKind::Lost, "{place}"),
            other @ (Outcome::Started {} | Outcome::Cancelled {} | Outcome::Refused { .. }) => {
                panic!("{place}: {other:?}")
            }
        }
    }
}

#[tokio::test]
async fn a_worker_that_cannot_begin_says_why() {
    let world = World::bare().await;
    let client = world.client().await;
    let error = Worker::new(client.clone(), "no dots.").workflow(idle).run().await.unwrap_err();
    assert!(error.to_string().contains("\"no dots.\""), "{error}");
    let error = Worker::new(client.clone(), "q").run().await.unwrap_err();
    assert!(error.to_string().contains("neither workflows nor activities"), "{error}");
    let error = Worker::new(client.clone(), "q").workflow(idle).workflow(idle).run().await.unwrap_err();
    assert!(error.to_string().contains("two workflows are registered under the name \"idle\""), "{error}");
    let worker = Worker::new(client.clone(), "q").workflow(idle);
    let error = worker.max_concurrent_activities(0).run().await.unwrap_err();
    assert!(error.to_string().contains("max_concurrent_activities = 0"), "{error}");
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = Worker::new(client, "q").workflow(idle).metrics(&address).run().await.unwrap_err();
    assert!(error.to_string().contains(&address), "{error}");
}
