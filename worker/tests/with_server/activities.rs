//! How attempts end, and what is reported of them.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::StreamExt;
use stepwell::prelude::*;
use stepwell::shared::encoding::{VERSION, decode, encode};
use stepwell::shared::headers::PACK;
use stepwell::shared::ids::{StepId, WorkflowId};
use stepwell::shared::limits::MAX_PAYLOAD_BYTES;
use stepwell::shared::message::{Outcome, ReportMessage};
use stepwell::shared::pack::PackIndex;
use stepwell::shared::packed_report::split;
use stepwell::shared::subject;
use stepwell::shared::task::{ActivityTask, CancelActivity};
use stepwell::{ActivityCode, FailureKind};
use tokio::sync::{Semaphore, mpsc};

use crate::support::{World, json, queue, run_id, task, within};

#[activity]
async fn add(_ctx: ActivityContext, a: u32, b: u32) -> Result<u32, ActivityError> {
    a.checked_add(b).ok_or_else(|| ActivityError::new("Overflow", "too large"))
}

#[activity]
async fn nothing(_ctx: ActivityContext) -> Result<(), ActivityError> {
    Ok(())
}

#[activity]
async fn parse(_ctx: ActivityContext, text: String) -> Result<u32, ActivityError> {
    Ok(text.parse()?)
}

#[activity]
async fn panics(_ctx: ActivityContext, text: String) -> Result<(), ActivityError> {
    panic!("oh no: {text}")
}

#[activity]
async fn repeat(_ctx: ActivityContext, size: usize) -> Result<String, ActivityError> {
    Ok("x".repeat(size))
}

#[activity]
async fn hangs(ctx: ActivityContext, beats: u32) -> Result<(), ActivityError> {
    for beat in 1..=beats {
        ctx.heartbeat(beat);
    }
    std::future::pending().await
}

/// Methods that tell the test when they run, and wait for its permission to end.
struct Gate {
    began: mpsc::UnboundedSender<(u32, ActivityContext)>,
    open: Arc<Semaphore>,
}

#[activities]
impl Gate {
    #[activity]
    async fn pass(&self, ctx: ActivityContext, n: u32) -> Result<u32, ActivityError> {
        let _ = self.began.send((n, ctx.clone()));
        tokio::select! {
            permit = self.open.acquire() => {
                permit.map_err(ActivityError::boxed)?.forget();
                Ok(n)
            }
            () = ctx.cancelled() => Err(ActivityError::cancelled()),
        }
    }
}

struct Opener {
    began: mpsc::UnboundedReceiver<(u32, ActivityContext)>,
    open: Arc<Semaphore>,
}

fn gate() -> (Gate, Opener) {
    let (sender, began) = mpsc::unbounded_channel();
    let open = Arc::new(Semaphore::new(0));
    (Gate { began: sender, open: Arc::clone(&open) }, Opener { began, open })
}

impl Opener {
    async fn began(&mut self) -> (u32, ActivityContext) {
        within(self.began.recv()).await.expect("an attempt")
    }
}

async fn world_with_activities() -> (World, crate::support::RunningWorker) {
    let world = World::new().await;
    let worker = world.worker().await;
    let worker = worker.activity(add).activity(nothing).activity(parse).activity(panics).activity(repeat);
    let running = world.run(worker.activity(hangs)).await;
    (world, running)
}

#[tokio::test]
async fn a_result_is_reported_with_what_the_task_carried() {
    let (world, _worker) = world_with_activities().await;
    let mut reports = world.reports().await;
    world.publish(&ActivityTask { attempt: 3, ..task("add", 7, (1, 2)) }).await;
    let (place, report) = reports.next().await;
    assert_eq!(place, "run-1.7");
    assert_eq!((report.attempt, report.token.as_str()), (3, "token-7"));
    assert!(
        report.worker.is_some() && report.execution_ms.is_some() && report.schedule_to_start_ms.is_some()
    );
    assert_eq!(report.outcome, Outcome::Completed { result: json(3) });
    world.publish(&task("nothing", 8, ())).await;
    assert_eq!(reports.outcome().await, Outcome::Completed { result: json(()) });
    world.until_empty().await;
}

#[tokio::test]
async fn reports_of_one_moment_go_together() {
    let world = World::new().await;
    let (gate, mut opener) = gate();
    let _worker = world.run(world.worker().await.activities(gate).max_concurrent_activities(8)).await;
    let mut published = world.subscribe("stepwell.default.workflow.*.activity.>").await;
    // Two of the same workflow, one that does not know its partition, one of another.
    let of = |id: &str, seq: u32, partition: Option<u32>| {
        let workflow_id = WorkflowId::new(id).expect("a valid id");
        ActivityTask { workflow_id, partition, ..task("pass", seq, seq) }
    };
    let tasks = [
        of("a", 1, Some(3)),
        of("b", 2, Some(3)),
        of("c", 3, Some(3)),
        of("a", 4, Some(3)),
        of("d", 5, None),
        of("e", 6, Some(7)),
    ];
    for task in &tasks {
        world.publish(task).await;
        opener.began().await;
    }
    opener.open.add_permits(tasks.len());
    let (mut together, mut ends) = (0, Vec::new());
    while ends.len() < tasks.len() {
        let message = within(published.next()).await.expect("a report");
        if !message.subject.ends_with(".activity.-.pack") {
            ends.push(message.subject.split_once(".workflow.").expect("a report's subject").1.to_owned());
            continue;
        }
        together += 1;
        let headers = message.headers.as_ref().expect("headers");
        let index = headers.get(PACK).expect("an index").as_str();
        let index = PackIndex::parse(index, message.payload.len()).expect("an index that fits");
        let mut ids = HashSet::new();
        for (_, range) in index.bodies() {
            let joined = &message.payload[range];
            let (end, at) = split(joined).expect("a report");
            let report: ReportMessage = decode(&joined[at..]).expect("a report");
            assert!(matches!(report.outcome, Outcome::Completed { .. }), "{report:?}");
            let id = end.split('.').next().expect("an id").to_owned();
            assert!(["a", "b", "c"].contains(&id.as_str()), "{end}");
            assert!(ids.insert(id), "a second one on the same workflow: {end}");
            ends.push(end.to_owned());
        }
        assert!(ids.len() > 1, "one that is alone goes alone");
    }
    assert!(together > 0, "{ends:?}");
    ends.sort();
    assert_eq!(
        ends,
        ["a.1", "a.4", "b.2", "c.3", "d.5", "e.6"].map(|end| end.replace('.', ".activity.run-1."))
    );
    world.until_empty().await;
}

#[tokio::test]
async fn every_way_to_fail_has_its_kind() {
    let (world, _worker) = world_with_activities().await;
    let mut reports = world.reports().await;
    let max = u32::MAX;
    let too_large = MAX_PAYLOAD_BYTES;
    let tasks = [
        (task("parse", 1, "x"), FailureKind::Application, "ParseIntError", "invalid digit", false),
        (task("add", 2, (max, 1)), FailureKind::Application, "Overflow", "too large", false),
        (task("panics", 3, "why"), FailureKind::Panic, "Panic", "`panics` panicked: oh no: why", false),
        (
            task("add", 4, "no pair"),
            FailureKind::Payload,
            "PayloadError",
            "`add` is not a `(u32, u32)`",
            true,
        ),
        (task("repeat", 5, too_large), FailureKind::Payload, "PayloadError", "object store", true),
    ];
    for (task, kind, error_type, text, non_retryable) in tasks {
        world.publish(&task).await;
        let (failure, heartbeat) = reports.failure().await;
        assert_eq!((failure.kind, failure.error_type.as_str()), (kind, error_type));
        assert!(failure.message.contains(text), "{}", failure.message);
        assert_eq!((failure.non_retryable, heartbeat), (non_retryable, None));
    }
    world.until_empty().await;
}

#[tokio::test]
async fn the_largest_result_is_taken() {
    let (world, _worker) = world_with_activities().await;
    let mut reports = world.reports().await;
    world.publish(&task("repeat", 1, MAX_PAYLOAD_BYTES - 2)).await;
    let Outcome::Completed { result } = reports.outcome().await else { panic!("not completed") };
    assert_eq!(result.size(), MAX_PAYLOAD_BYTES);
}

#[tokio::test]
async fn an_unknown_activity_is_refused_with_what_there_is() {
    let (world, _worker) = world_with_activities().await;
    let mut reports = world.reports().await;
    for _ in 0..2 {
        world.publish_body(&uuid(), encode(&task("charge", 1, ()))).await;
        let Outcome::Refused { reason } = reports.outcome().await else { panic!("not refused") };
        let there = "`add`, `hangs`, `nothing`, `panics`, `parse` and `repeat`";
        assert!(reason.contains("no activity `charge`") && reason.contains(there), "{reason}");
    }
    // The attempt does not count as made: should it come again under its number, its end must not be taken for
    // a repeat of the refusal.
    world.publish(&task("add", 1, (1, 1))).await;
    assert_eq!(reports.outcome().await, Outcome::Completed { result: json(2) });
    world.until_empty().await;
    let events = world.connection.jetstream().get_stream("STEPWELL_default_EVENTS").await.expect("EVENTS");
    assert_eq!(events.get_info().await.expect("its state").state.messages, 3);
}

#[tokio::test]
async fn a_task_that_nobody_can_read_is_given_up() {
    let (world, _worker) = world_with_activities().await;
    let mut reports = world.reports().await;
    world.publish_body("1", b"{\"v\":1,".to_vec()).await;
    world.publish_body("2", b"{\"v\":77}".to_vec()).await;
    world.publish(&task("add", 1, (1, 1))).await;
    assert_eq!(reports.outcome().await, Outcome::Completed { result: json(2) });
    world.until_empty().await;
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_stopped() {
    let (world, _worker) = world_with_activities().await;
    let mut reports = world.reports().await;
    world.publish(&ActivityTask { start_to_close_ms: Some(50), ..task("hangs", 1, 0) }).await;
    let (failure, heartbeat) = reports.failure().await;
    assert_eq!((failure.kind, heartbeat), (FailureKind::StartToClose, None));
    assert!(failure.message.contains("50ms"), "{}", failure.message);
}

#[tokio::test]
async fn an_attempt_without_heartbeats_is_stopped_and_its_last_word_is_kept() {
    let (world, _worker) = world_with_activities().await;
    let mut reports = world.reports().await;
    let task = ActivityTask { heartbeat_timeout_ms: Some(100), ..task("hangs", 1, 3) };
    world.publish(&task).await;
    let (failure, heartbeat) = reports.failure().await;
    assert_eq!((failure.kind, heartbeat), (FailureKind::Heartbeat, Some(json(3))));
    // The word is also where another worker finds it if this one dies.
    let bucket = world.connection.jetstream().get_key_value("STEPWELL_default_heartbeats").await.unwrap();
    let written = within(async {
        loop {
            if let Some(written) = bucket.get("work.run-1.1").await.unwrap() {
                return written;
            }
        }
    })
    .await;
    assert_eq!(written.as_ref(), b"3");
}

#[tokio::test]
async fn heartbeats_keep_an_attempt_alive_and_reach_the_next_one() {
    let world = World::new().await;
    // Ends after more heartbeats than would fit into one timeout.
    let beats = ActivityCode::from_fn("beats", |ctx, _| async move {
        let first = ctx.last_heartbeat::<u32>().unwrap_or(0);
        for beat in first..first + 10 {
            tokio::time::sleep(std::time::Duration::from_millis(250)).await;
            ctx.heartbeat(beat);
        }
        Ok(json(first))
    });
    let _worker = world.run(world.worker().await.activity_code(beats)).await;
    let mut reports = world.reports().await;
    let task =
        ActivityTask { heartbeat_timeout_ms: Some(2_000), heartbeat: Some(json(4)), ..task("beats", 1, ()) };
    world.publish(&task).await;
    assert_eq!(reports.outcome().await, Outcome::Completed { result: json(4) });
}

#[tokio::test]
async fn the_start_is_reported_when_somebody_waits_for_it() {
    let (world, _worker) = world_with_activities().await;
    let mut reports = world.reports().await;
    world.publish(&ActivityTask { schedule_to_start_ms: Some(1_000), ..task("add", 1, (1, 1)) }).await;
    assert_eq!(reports.outcome().await, Outcome::Started {});
    assert_eq!(reports.outcome().await, Outcome::Completed { result: json(2) });
}

#[tokio::test]
async fn a_cancellation_reaches_an_attempt_that_runs() {
    let world = World::new().await;
    let (gate, mut opener) = gate();
    let _worker = world.run(world.worker().await.activities(gate)).await;
    let mut reports = world.reports().await;
    world.publish(&task("pass", 1, 1)).await;
    world.publish(&task("pass", 2, 2)).await;
    for _ in 0..2 {
        let (_, context) = opener.began().await;
        assert!(!context.is_cancelled());
    }
    cancel(&world, 1).await;
    let (place, report) = reports.next().await;
    assert_eq!((place.as_str(), report.outcome), ("run-1.1", Outcome::Cancelled {}));
    opener.open.add_permits(1);
    let (place, report) = reports.next().await;
    assert_eq!((place.as_str(), report.outcome), ("run-1.2", Outcome::Completed { result: json(2) }));
}

#[tokio::test]
async fn a_cancellation_is_remembered_for_a_task_that_comes_later() {
    let world = World::new().await;
    let (gate, mut opener) = gate();
    let _worker = world.run(world.worker().await.activities(gate)).await;
    let mut reports = world.reports().await;
    world.publish(&task("pass", 1, 1)).await;
    opener.began().await;
    cancel(&world, 2).await;
    // They are passed on in order: when this one has had its effect, so has the one before.
    cancel(&world, 1).await;
    assert_eq!(reports.outcome().await, Outcome::Cancelled {});
    world.publish(&task("pass", 2, 2)).await;
    let (place, report) = reports.next().await;
    assert_eq!((place.as_str(), report.outcome), ("run-1.2", Outcome::Cancelled {}));
    assert!(opener.began.try_recv().is_err(), "the cancelled attempt was made");
}

#[tokio::test]
async fn a_task_that_somebody_had_before_is_reported_as_lost() {
    let world = World::new().await;
    // Somebody takes two tasks and dies: one wrote down how far it was.
    world.publish(&ActivityTask { heartbeat: Some(json("before")), ..task("pass", 1, 1) }).await;
    world.publish(&task("pass", 2, 2)).await;
    world.publish(&task("pass", 3, 3)).await;
    let consumer = world.consumer().await;
    let mut taken = consumer.fetch().max_messages(3).messages().await.expect("tasks");
    for _ in 0..3 {
        let message = within(taken.next()).await.expect("a task").expect("a task");
        message.ack_with(async_nats::jetstream::AckKind::Nak(None)).await.expect("handed back");
    }
    let key = subject::heartbeat_key(&queue(), &run_id(), StepId::Action(2));
    let subject = stepwell::shared::subject::Bucket::Heartbeats.subject(world.connection.namespace(), &key);
    let written = world.connection.publisher().publish(subject, None, "7".into()).await.unwrap();
    written.await.unwrap();

    let (gate, mut opener) = gate();
    let mut reports = world.reports().await;
    let _worker = world.run(world.worker().await.activities(gate)).await;
    let mut lost = Vec::new();
    for _ in 0..3 {
        let (place, report) = reports.next().await;
        let Outcome::Failed { failure, heartbeat } = report.outcome else { panic!("not failed") };
        assert_eq!(failure.kind, FailureKind::Lost);
        lost.push((place, heartbeat));
    }
    lost.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [("run-1.1", Some(json("before"))), ("run-1.2", Some(json(7))), ("run-1.3", None)];
    assert_eq!(lost, expected.map(|(place, heartbeat)| (place.to_owned(), heartbeat)));
    assert!(opener.began.try_recv().is_err(), "a lost attempt was made again");
    world.until_empty().await;
}

#[tokio::test]
async fn an_activity_knows_what_it_is() {
    let world = World::new().await;
    let (gate, mut opener) = gate();
    let _worker = world.run(world.worker().await.activities(gate)).await;
    let task = ActivityTask { attempt: 2, maximum_attempts: Some(5), ..task("pass", 9, 1) };
    world.publish(&task).await;
    let (_, context) = opener.began().await;
    let info = context.info();
    assert_eq!((info.workflow_id.as_str(), info.workflow_type.as_str()), ("order 7", "order"));
    assert_eq!((&info.run_id, info.step, info.attempt), (&run_id(), StepId::Action(9), 2));
    assert_eq!((info.maximum_attempts, &info.queue), (Some(5), &queue()));
    assert_eq!(context.idempotency_key(), "run-1/9");
    assert!(context.time_left().is_some_and(|left| left.as_secs() <= 60));
    assert_eq!(context.last_heartbeat::<u32>(), None);
}

async fn cancel(world: &World, seq: u32) {
    let body = CancelActivity { v: VERSION, run_id: run_id(), step: StepId::Action(seq) };
    let subject = subject::cancel_activity(world.connection.namespace(), &queue());
    world.connection.client().publish(subject, encode(&body).into()).await.expect("sent");
}

fn uuid() -> String {
    // Any id that was not used before.
    format!("{:?}", std::time::Instant::now())
}
