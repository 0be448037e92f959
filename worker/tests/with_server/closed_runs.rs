//! Attempts that outlast their run, and nobody told them so.

use std::time::Duration;

use stepwell::shared::ids::{RunId, WorkflowId};
use stepwell::shared::message::Outcome;
use stepwell::shared::subject::{self, Bucket};
use stepwell::shared::task::ActivityTask;
use stepwell::{ActivityCode, ActivityError};

use crate::support::{World, task};

/// Writes down that a run has closed, and tells nobody.
async fn close(world: &World, task: &ActivityTask) {
    let summary = serde_json::json!({
        "v": 1, "workflow_id": task.workflow_id, "run_id": task.run_id, "type": "order", "queue": "work",
        "status": "terminated", "started_at_ms": 1, "closed_at_ms": 2, "history_length": 9,
    });
    let subject = Bucket::State.subject(world.connection.namespace(), &subject::state_key(&task.workflow_id));
    let sent = world.connection.publisher().publish(subject, None, summary.to_string().into()).await;
    sent.expect("it is sent").await.expect("it is stored");
}

#[tokio::test]
async fn an_attempt_whose_run_is_closed_is_told_to_stop() {
    let world = World::new().await;
    let mut config = world.consumer().await.cached_info().config.clone();
    config.ack_wait = Duration::from_secs(1);
    let jetstream = world.connection.jetstream();
    jetstream.create_consumer_on_stream(config, "STEPWELL_default_TASKS").await.expect("it is edited");
    let code = ActivityCode::from_fn("wait", |context, _| async move {
        context.cancelled().await;
        Err(ActivityError::cancelled())
    });
    let _worker = world.run(world.worker().await.activity_code(code)).await;
    let mut reports = world.reports().await;
    // Both tell when they begin.
    let ours = ActivityTask { maximum_attempts: Some(1), ..task("wait", 1, 1) };
    let other = ActivityTask {
        workflow_id: WorkflowId::new("order 8").expect("a valid id"),
        run_id: RunId::new("run-2").expect("a valid id"),
        idempotency_key: "run-2/1".into(),
        ..ours.clone()
    };
    for task in [&ours, &other] {
        world.publish(task).await;
        assert_eq!(reports.outcome().await, Outcome::Started {});
    }
    for (task, place) in [(&other, "run-2.1"), (&ours, "run-1.1")] {
        close(&world, task).await;
        let (stopped, report) = reports.next().await;
        assert_eq!((stopped.as_str(), report.outcome), (place, Outcome::Cancelled {}));
    }
    world.until_empty().await;
}
