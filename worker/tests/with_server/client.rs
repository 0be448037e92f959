//! The client when no orchestrator is there, and when what it hears is not what it hoped for.

use std::time::Duration;

use futures_util::StreamExt;
use stepwell::prelude::*;
use stepwell::shared::api::{ApiError, Verdict};
use stepwell::shared::encoding::{VERSION, decode, encode};
use stepwell::shared::error_code::ErrorCode;
use stepwell::shared::ids::RunId;
use stepwell::shared::message::StartMessage;
use stepwell::shared::subject;
use stepwell::{RequestError, ResultError, RunSummary, StartError, Status};

use crate::support::{World, json, name, queue, run_id, within};

#[workflow(queue = "work")]
async fn order(_ctx: WorkflowContext, _number: u32) -> Result<u32, WorkflowError> {
    Ok(1)
}

/// Answers the next events with these verdicts; gives the events' bodies.
async fn judge(world: &World, verdicts: Vec<Option<Verdict>>) -> tokio::task::JoinHandle<Vec<Vec<u8>>> {
    let mut events = world.subscribe("stepwell.default.workflow.>").await;
    let client = world.connection.client().clone();
    tokio::spawn(async move {
        let mut bodies = Vec::new();
        for verdict in verdicts {
            let event = events.next().await.unwrap();
            bodies.push(event.payload.to_vec());
            let Some(verdict) = verdict else { continue };
            let answer_to = event.headers.unwrap().get("Stepwell-Answer-To").unwrap().to_string();
            client.publish(answer_to, serde_json::to_vec(&verdict).unwrap().into()).await.unwrap();
        }
        bodies
    })
}

fn accepted() -> Verdict {
    Verdict::Accepted { run_id: run_id() }
}

#[tokio::test]
async fn a_start_without_an_orchestrator_is_stored_or_not() {
    let world = World::bare().await;
    let client = world.client().await;
    let start = || async { client.start(order, "o 1", 7).timeout(Duration::from_millis(100)).await };
    let Err(StartError::Request(RequestError::Unavailable { stored: false, .. })) = start().await else {
        panic!("it was stored, though there is no namespace");
    };
    stepwell_connection::provision::provision(&world.connection, &Default::default()).await.unwrap();
    let Err(StartError::Request(error @ RequestError::Unavailable { stored: true, .. })) = start().await
    else {
        panic!("it was not stored");
    };
    assert!(error.to_string().contains("will be carried out"), "{error}");
    let error = client.workflow(order, "o 1").describe().await.unwrap_err();
    assert!(error.to_string().contains("no orchestrator runs"), "{error}");
}

#[tokio::test]
async fn a_start_is_repeated_under_its_request_id_until_it_is_confirmed() {
    let world = World::new().await;
    let client = world.client().await;
    let judged = judge(&world, vec![None, Some(accepted())]).await;
    let handle = within(client.start(order, "o 1", 7).into_future()).await.expect("it is started");
    assert_eq!((handle.id(), handle.run_id()), ("o 1", Some(&run_id())));
    let bodies = judged.await.unwrap();
    assert_eq!(bodies[0], bodies[1]);
    let message: StartMessage = decode(&bodies[0]).unwrap();
    assert_eq!((message.queue, message.input), (queue(), json(7)));
    assert!(message.request_id.is_some());
}

#[tokio::test]
async fn refusals_have_their_types() {
    let world = World::new().await;
    let client = world.client().await;
    let refused = |code, run_id: Option<RunId>| {
        Some(Verdict::Rejected(ApiError { code, message: "no".into(), run_id }))
    };
    let verdicts = vec![
        refused(ErrorCode::AlreadyOpen, Some(run_id())),
        refused(ErrorCode::InvalidOptions, None),
        Some(Verdict::Duplicate { run_id: run_id() }),
        refused(ErrorCode::NotFound, None),
    ];
    let judged = judge(&world, verdicts).await;
    let error = client.start(order, "o 1", 7).await.unwrap_err();
    assert_eq!(error, StartError::AlreadyOpen { id: "o 1".into(), run_id: run_id() });
    let error = client.start(order, "o 1", 7).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::InvalidOptions));
    let handle = client.start(order, "o 1", 7).request_id("mine").await.expect("a repeat is a success");
    let error = handle.cancel("enough").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NotFound));
    judged.await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_sent_is_not_sent() {
    let world = World::bare().await;
    let client = world.client().await;
    let error = client.start(order, "", 7).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::InvalidId));
    let error = client.start(order, "o", 7).queue("a b").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::InvalidId));
    let large = "x".repeat(1_000_000);
    let error = client.start_untyped("order", "o", large).await.unwrap_err();
    assert!(error.to_string().contains("the input has 1000002 bytes"), "{error}");
    let error = client.workflow_untyped("o").signal_untyped("s.t", ()).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::InvalidId));
}

#[tokio::test]
async fn a_result_comes_from_the_bucket_or_by_word() {
    let world = World::new().await;
    let client = world.client().await;
    let handle = client.workflow(order, "o 1");
    let error = handle.result().await.unwrap_err();
    assert_eq!(error, ResultError::NotFound { id: "o 1".into(), run_id: None });
    write(&world, &summary(Status::Running)).await;
    // The word comes again and again, so that it does not matter when the handle begins to listen.
    let subject = subject::closed(world.connection.namespace(), &"o 1".parse().unwrap());
    let other = RunSummary {
        result: Some(json(6)),
        run_id: RunId::new("run-0").unwrap(),
        ..summary(Status::Completed)
    };
    let ours = RunSummary { result: Some(json(7)), ..summary(Status::Completed) };
    let words = async {
        loop {
            for word in [&other, &ours] {
                world.connection.client().publish(subject.clone(), encode(word).into()).await.unwrap();
            }
            tokio::task::yield_now().await;
        }
    };
    let judged = judge(&world, vec![Some(accepted())]).await;
    let started = client.start(order, "o 1", 7).await.unwrap();
    judged.await.unwrap();
    tokio::select! {
        result = within(started.result()) => assert_eq!(result, Ok(7)),
        () = words => {}
    }
    write(&world, &RunSummary { result: Some(json(8)), ..summary(Status::Completed) }).await;
    assert_eq!(within(handle.result()).await, Ok(8));
    write(&world, &RunSummary { result: Some(json("eight")), ..summary(Status::Completed) }).await;
    let error = within(handle.result()).await.unwrap_err();
    assert!(error.to_string().starts_with("the result is not a `u32`"), "{error}");
    write(&world, &summary(Status::Terminated)).await;
    let error = within(handle.result()).await.unwrap_err();
    assert_eq!(error, ResultError::Failed { status: Status::Terminated, failure: None });
}

fn summary(status: Status) -> RunSummary {
    RunSummary {
        v: VERSION,
        workflow_id: "o 1".parse().unwrap(),
        run_id: run_id(),
        workflow_type: name("order"),
        queue: queue(),
        status,
        started_at_ms: 1,
        closed_at_ms: None,
        result: None,
        failure: None,
        stall: None,
        history_length: 1,
    }
}

async fn write(world: &World, summary: &RunSummary) {
    let key = subject::state_key(&summary.workflow_id);
    let subject = subject::Bucket::State.subject(world.connection.namespace(), &key);
    let sent = world.connection.publisher().publish(subject, None, encode(summary).into()).await.unwrap();
    sent.await.unwrap();
}
