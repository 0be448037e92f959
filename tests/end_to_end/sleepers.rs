//! A partition with very many sleeping runs is taken over in bounded memory, and what comes due goes on.

use serde_json::json;
use stepwell::shared::ids::{Namespace, WorkflowId};
use stepwell::shared::limits::DEFAULT_PARTITIONS;
use stepwell::shared::subject::{Bucket, partition, timer_key};
use stepwell_connection::clock::now_ms;
use stepwell_tests::cluster::Cluster;
use stepwell_tests::http;
use stepwell_tests::patience::eventually;
use stepwell_tests::workflows::lifecycle::chain;

use crate::stage::{Cache, PROGRAM, Stage, result};

/// Runs that sleep in one partition.
const SLEEPERS: usize = 100_000;

/// A debug build's memory, sleepers included: some hundred bytes each.
const MAX_KIB: u64 = 256 * 1024;

#[tokio::test]
async fn a_hundred_thousand_sleepers_are_taken_over_in_bounded_memory() {
    let cluster = Cluster::start("sleepers", PROGRAM).await;
    cluster.orchestrator().await.stop().await;
    // What is stored of a run that sleeps for a year.
    let publisher = cluster.client.connection().publisher();
    let due = json!({"v": 1, "due_ms": now_ms() + 365 * 24 * 3_600_000_u64}).to_string();
    let ids = (0..).map(|number| WorkflowId::new(format!("sleeper-{number}")).expect("a valid id"));
    let mut stored = Vec::new();
    for id in ids.filter(|id| partition(id, DEFAULT_PARTITIONS) == 3).take(SLEEPERS) {
        let subject = Bucket::Timers.subject(&Namespace::default(), &timer_key(&id, DEFAULT_PARTITIONS));
        stored.push(publisher.publish(subject, None, due.clone().into()).await.expect("it can be sent"));
        if stored.len() == 10_000 {
            for ack in stored.drain(..) {
                ack.await.expect("it is stored");
            }
        }
    }
    for ack in stored {
        ack.await.expect("it is stored");
    }
    let address = http::free_address();
    let orchestrator = cluster.orchestrator_with(&["--listen", &address]);
    eventually("all sleepers are known", || async {
        let (_, body) = http::get(&address, "/metrics").await?;
        let sleeping = http::metric(&body, "stepwell_timers_pending", &[])?;
        (sleeping >= SLEEPERS as f64).then_some(())
    })
    .await;
    if let Some(peak) = orchestrator.peak_kib() {
        assert!(peak < MAX_KIB, "{peak} KiB were used");
    }
    let worker = cluster.worker(&Cache::Warm.worker()).await;
    let run = cluster.client.start(chain, "awake", 2).await.expect("it starts");
    assert_eq!(result(&run).await.len(), 2);
    Stage { cluster, orchestrator, worker }.finish().await;
}
