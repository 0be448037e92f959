//! A batch of orders end to end: a server, an orchestrator and a worker; then the books are audited.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail where it finds something unexpected"
)]

use std::path::Path;
use std::time::Duration;

use ::order_saga::audit::{End, audit};
use ::order_saga::batch::{self, Expected};
use ::order_saga::books::Books;
use ::order_saga::saga::order_saga;
use ::order_saga::shop::Shop;
use example_ledger::Ledger;
use stepwell::prelude::*;
use stepwell::{CancellationToken, ConnectionOptions, Status};
use stepwell_nats_server::NatsServer;
use stepwell_orchestrator::Options;

/// How long anything may take before the test is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// One of each kind.
const ORDERS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn every_order_ends_as_it_must_and_the_books_are_right() {
    let binary = stepwell_nats_server::find_in(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").as_path())
        .expect("run the tests as `cargo xtask test`");
    let server = NatsServer::builder(binary).start().unwrap();
    let stop = CancellationToken::new();
    let options = ConnectionOptions::to_url(&server.url());
    let orchestrator = (options.clone(), Options { no_http: true, ..Options::default() }, stop.clone());
    tokio::spawn(async move {
        let (options, settings, stop) = orchestrator;
        stepwell_orchestrator::run(&options, settings, stop).await
    });
    let client = Client::with(&options).await.unwrap();
    let books = server.store_dir().join("books.jsonl");
    let books = Books::open(&books, &batch::opening_entries()).unwrap();
    let shop = Shop { books: books.clone(), latency: Duration::ZERO, ledger: Ledger::default() };
    let worker = Worker::new(client.clone(), "orders").workflow(order_saga).activities(shop);
    tokio::spawn(worker.run_until(stop.clone()));

    let mut ends = Vec::new();
    for n in 0..ORDERS {
        let (order, expected) = batch::order("order-", n);
        let run = in_time(client.start(order_saga, &order.id, order.clone())).await.unwrap();
        let result = in_time(run.result()).await;
        let summary = run.describe().await.unwrap().summary;
        let end = match expected {
            Expected::Delivered => {
                assert_eq!(result.unwrap().order, order.id);
                assert_eq!(summary.status, Status::Completed);
                End::Delivered
            }
            Expected::Undone { because } => {
                result.unwrap_err();
                assert_eq!(summary.status, Status::Compensated);
                assert_eq!(summary.failure.unwrap().error_type, because);
                End::Undone
            }
        };
        ends.push((order, end));
    }
    stop.cancel();
    assert_eq!(audit(&books.entries().unwrap(), &ends), Vec::<String>::new());
}

async fn in_time<T>(work: impl IntoFuture<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work.into_future()).await.expect("it took far too long")
}
