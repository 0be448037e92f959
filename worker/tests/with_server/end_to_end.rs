//! Client, orchestrator and worker together.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use stepwell::prelude::*;
use stepwell::shared::api::ListRequest;
use stepwell::shared::error_code::ErrorCode;
use stepwell::{CancellationToken, ConnectionOptions, ResultError, StartError, Status};
use stepwell_nats_server::{NatsServer, find};
use stepwell_orchestrator::Options;
use tokio::task::JoinHandle;

use crate::support::{RunningWorker, within};

const APPROVE: Signal<bool> = Signal::new("approve");
const STATE: Query<(), State> = Query::new("state");
const SUM: Query<(u32, u32), u32> = Query::new("sum");

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum State {
    Working,
    Waiting { price: u32 },
}

#[derive(Debug, Clone, Default)]
struct Shop {
    journal: Arc<Mutex<Vec<String>>>,
    tries: Arc<AtomicU32>,
}

#[activities]
impl Shop {
    /// Fails twice before it works.
    #[activity(start_to_close = "5s", retry(initial = "1ms", max_attempts = 5))]
    async fn price(&self, _ctx: ActivityContext, article: String) -> Result<u32, ActivityError> {
        if self.tries.fetch_add(1, Ordering::SeqCst) < 2 {
            return Err(ActivityError::new("Busy", "try later"));
        }
        Ok(article.len() as u32)
    }

    #[activity(start_to_close = "5s")]
    async fn charge(&self, ctx: ActivityContext, price: u32) -> Result<String, ActivityError> {
        self.note(format!("charge {price}"));
        Ok(ctx.idempotency_key().to_owned())
    }

    #[activity(start_to_close = "5s")]
    async fn refund(&self, _ctx: ActivityContext, undo: Undo<u32, String>) -> Result<(), ActivityError> {
        assert_eq!(undo.output.as_ref(), Some(&undo.idempotency_key));
        self.note(format!("refund {}", undo.input));
        Ok(())
    }

    fn note(&self, line: String) {
        self.journal.lock().unwrap().push(line);
    }
}

#[activity(start_to_close = "5s", retry(non_retryable = ["SoldOut"]))]
async fn ship(_ctx: ActivityContext, article: String) -> Result<(), ActivityError> {
    if article == "moon" { Err(ActivityError::new("SoldOut", "there is only one")) } else { Ok(()) }
}

#[workflow(queue = "shop")]
async fn order(ctx: WorkflowContext, article: String) -> Result<u32, WorkflowError> {
    let state = ctx.answer(STATE, State::Working);
    ctx.on_query(SUM, |(a, b)| a + b);
    let price = ctx.run(price, article.clone()).await?;
    let charge = ctx.run(charge, price).compensate(refund).await?;
    state.set(State::Waiting { price });
    workflow_info!(ctx, charge, "waiting for approval");
    if !ctx.receive(APPROVE).timeout(days(7)).await? {
        return Err(WorkflowError::new("Refused", "somebody said no"));
    }
    ctx.run(ship, article).await?;
    ctx.sleep(std::time::Duration::from_millis(5)).await?;
    Ok(price)
}

#[workflow(queue = "shop", name = "sum-of-squares")]
async fn squares(ctx: WorkflowContext, from: u64, to: u64) -> Result<u64, WorkflowError> {
    let squares = ctx.map_concurrent(from..to, 8, |ctx, n| async move { ctx.run(square, n).await }).await;
    Ok(squares.into_iter().sum::<Result<u64, _>>()?)
}

#[activity(start_to_close = "5s")]
async fn square(_ctx: ActivityContext, n: u64) -> Result<u64, ActivityError> {
    Ok(n * n)
}

struct Cluster {
    client: Client,
    shop: Shop,
    worker: Option<RunningWorker>,
    stop: CancellationToken,
    orchestrator: Option<JoinHandle<()>>,
    server: NatsServer,
}

impl Cluster {
    async fn new(cached: usize) -> Self {
        let server = NatsServer::builder(find().expect("a nats-server binary; set STEPWELL_NATS_SERVER"));
        let server = server.start().expect("the server starts");
        let stop = CancellationToken::new();
        let options = ConnectionOptions::to_url(&server.url());
        let end = stop.clone();
        let orchestrator = tokio::spawn(async move {
            let settings = Options { no_http: true, ..Options::default() };
            stepwell_orchestrator::run(&options, settings, end).await.expect("it ends well");
        });
        let client = Client::connect(&server.url()).await.expect("connects");
        let shop = Shop::default();
        let worker = Worker::new(client.clone(), "shop")
            .workflow(order)
            .workflow(squares)
            .activity(ship)
            .activity(square)
            .activities(shop.clone())
            .max_cached_workflows(cached);
        let worker = Some(RunningWorker::new(worker));
        Self { client, shop, worker, stop, orchestrator: Some(orchestrator), server }
    }

    fn journal(&self) -> Vec<String> {
        self.shop.journal.lock().unwrap().clone()
    }

    async fn until_waiting(&self, handle: &WorkflowHandle<u32>) {
        within(async {
            while handle.query(STATE, ()).await.ok().is_none_or(|state| state == State::Working) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    async fn end(mut self) {
        self.worker.take().unwrap().end().await;
        self.stop.cancel();
        within(self.orchestrator.take().unwrap()).await.expect("it ends");
        drop(self.server);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_shipped() {
    for cached in [1_000, 0] {
        let cluster = Cluster::new(cached).await;
        let handle = cluster.client.start(order, "o/1", "teapot".to_owned()).await.expect("it starts");
        let again = cluster.client.start(order, "o/1", "teapot".to_owned()).await;
        let run_id = handle.run_id().unwrap().clone();
        assert_eq!(again.unwrap_err(), StartError::AlreadyOpen { id: "o/1".into(), run_id });
        cluster.until_waiting(&handle).await;
        assert_eq!(handle.query(STATE, ()).await, Ok(State::Waiting { price: 6 }));
        assert_eq!(handle.query(SUM, (2, 3)).await, Ok(5));
        let untyped = handle.untyped().query_untyped("sum", (4, 5)).await.unwrap();
        assert_eq!(untyped, serde_json::json!(9));
        let error = handle.untyped().query_untyped("none", ()).await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::QueryFailed));
        assert_eq!(handle.describe().await.unwrap().summary.status, Status::Running);
        handle.signal(APPROVE, true).await.expect("it is taken");
        assert_eq!(within(handle.result()).await, Ok(6));
        assert_eq!(cluster.journal(), ["charge 6"]);
        let records = handle.history().await.unwrap();
        assert!(records.len() >= 5 && records.iter().zip(1..).all(|(record, index)| record.index == index));
        let error = handle.signal(APPROVE, true).await.unwrap_err();
        assert!(matches!(error.code(), Some(ErrorCode::NotFound | ErrorCode::AlreadyClosed)), "{error}");
        let list = cluster.client.list(&ListRequest::default()).await.unwrap();
        assert_eq!((list.total, list.runs[0].status), (1, Status::Completed));
        // It may have been announced before the orchestrator listened.
        within(async {
            while cluster.client.workers().await.unwrap().workers.is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        cluster.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_fails_is_undone() {
    let cluster = Cluster::new(1_000).await;
    let handle = cluster.client.start(order, "o/1", "moon".to_owned()).await.expect("it starts");
    handle.signal(APPROVE, true).await.expect("it is taken");
    let ResultError::Failed { status, failure } = within(handle.result()).await.unwrap_err() else {
        panic!("not failed")
    };
    assert_eq!((status, failure.unwrap().error_type.as_str()), (Status::Compensated, "SoldOut"));
    assert_eq!(cluster.journal(), ["charge 4", "refund 4"]);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_cancelled_or_terminated() {
    let cluster = Cluster::new(1_000).await;
    let cancelled = cluster.client.start(order, "o/1", "cup".to_owned()).await.unwrap();
    cluster.until_waiting(&cancelled).await;
    cancelled.cancel("changed my mind").await.expect("it is taken");
    let ResultError::Failed { status, .. } = within(cancelled.result()).await.unwrap_err() else { panic!() };
    assert_eq!(status, Status::Compensated);
    assert_eq!(cluster.journal(), ["charge 3", "refund 3"]);
    let terminated = cluster.client.start(order, "o/2", "spoon".to_owned()).await.unwrap();
    cluster.until_waiting(&terminated).await;
    terminated.terminate("the shop burned down").await.expect("it is taken");
    let ResultError::Failed { status, .. } = within(terminated.result()).await.unwrap_err() else { panic!() };
    assert_eq!(status, Status::Terminated);
    assert_eq!(cluster.journal(), ["charge 3", "refund 3", "charge 5"]);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fan_out_is_summed_up_and_a_repeated_start_is_one_run() {
    let cluster = Cluster::new(1_000).await;
    let start = || cluster.client.start(squares, "s", (1, 101)).request_id("once");
    let first = start().await.expect("it starts");
    assert_eq!(within(first.result()).await, Ok(338_350));
    let second = start().await.expect("it is the same start");
    assert_eq!(first.run_id(), second.run_id());
    assert_eq!(within(second.result()).await, Ok(338_350));
    let untyped = cluster.client.start_untyped("sum-of-squares", "t", (1, 4)).queue("shop").await.unwrap();
    assert_eq!(within(untyped.result()).await, Ok(serde_json::json!(14)));
    let existing = cluster.client.workflow(squares, "t");
    assert_eq!(within(existing.result()).await, Ok(14));
    cluster.end().await;
}
