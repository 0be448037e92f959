//! Links on which nothing passes any more and nobody is told: whoever is behind one notices by itself, others
//! go on meanwhile, and everything is as before when the link is back.

use serde_json::json;
use stepwell_tests::cluster::Cluster;
use stepwell_tests::http;
use stepwell_tests::ledger::Phase;
use stepwell_tests::patience::{eventually, until};
use stepwell_tests::processes::Process;
use stepwell_tests::proxy::{Condition, Link};
use stepwell_tests::workflows::Settled;
use stepwell_tests::workflows::activities::{Call, one_activity};
use stepwell_tests::workflows::lifecycle::chain;
use stepwell_tests::workflows::waiting::{NUMBER, collects};

use crate::stage::{Cache, PROGRAM, Stage, owns, result};

/// The number of the connection on which an orchestrator says that it is alive.
const PULSE: usize = 0;

/// The number of the one on which it does its work.
const WORK: usize = 1;

/// Two orchestrators that share the partitions, the first of them behind a link, and a worker.
struct Two {
    stage: Stage,
    addresses: [String; 2],
    first: Process,
    link: Link,
}

impl Two {
    async fn start(name: &str) -> Self {
        let cluster = Cluster::start(name, PROGRAM).await;
        let addresses = [http::free_address(), http::free_address()];
        let (link, url) = cluster.link().await;
        let first = cluster.orchestrator_through(&url, &["--listen", &addresses[0]]);
        cluster.answered().await;
        let orchestrator = cluster.orchestrator_with(&["--listen", &addresses[1]]);
        let worker = cluster.worker(&Cache::Warm.worker()).await;
        for address in &addresses {
            owns(address, 8.0).await;
        }
        Self { stage: Stage { cluster, orchestrator, worker }, addresses, first, link }
    }

    /// Holds back what the first one says and hears on all connections but one. The other one takes over and goes on.
    async fn loses_all_but(&self, spared: usize) {
        hold_as(&self.link, Condition::half_open().sparing(spared)).await;
        owns(&self.addresses[1], 16.0).await;
        let meanwhile = self.stage.cluster.client.start(chain, "meanwhile", 3).await.expect("it starts");
        assert_eq!(result(&meanwhile).await.len(), 3);
    }

    /// Lets everything pass again, and waits until both have their share. Then both end.
    async fn shares_again(self) {
        self.link.set(Condition::default());
        ready(&self.addresses[0]).await;
        for address in &self.addresses {
            owns(address, 8.0).await;
        }
        self.first.stop().await;
        self.stage.finish().await;
    }
}

/// Holds everything back and waits until something was to be held.
async fn hold(link: &Link) {
    hold_as(link, Condition::half_open()).await;
}

async fn hold_as(link: &Link, condition: Condition) {
    let before = link.counted();
    link.set(condition);
    until("something that is held back", || link.counted().held > before.held).await;
    assert_eq!(link.counted().reset, before.reset, "nobody was told");
}

/// Waits until whoever answers at `address` says that it is cut off.
async fn notices(address: &str) {
    let text = eventually("it notices", || async {
        let (status, text) = http::get(address, "/readyz").await?;
        (status == 503).then_some(text)
    })
    .await;
    assert!(text.starts_with("not connected to NATS"), "{text}");
}

/// Waits until whoever answers at `address` is ready again.
async fn ready(address: &str) {
    eventually("it is ready", || async { http::get(address, "/readyz").await.filter(|it| it.0 == 200) })
        .await;
}

#[tokio::test]
async fn another_orchestrator_takes_over_behind_whose_link_nothing_passes() {
    let Two { stage, addresses, first, link } = Two::start("half-open-orchestrator").await;
    let cluster = &stage.cluster;
    let mut handles = Vec::new();
    for number in 0..16 {
        handles.push(cluster.client.start(collects, format!("c{number}"), 30).await.expect("it starts"));
    }
    let signal = async |numbers: std::ops::Range<i64>| {
        for number in numbers {
            for handle in &handles {
                let body = json!({"v": 1, "payload": number}).to_string();
                cluster
                    .publish(&format!("stepwell.default.workflow.{}.signal.number", handle.id()), body)
                    .await;
            }
        }
    };
    signal(0..10).await;
    hold(&link).await;
    signal(10..20).await;
    owns(&addresses[1], 16.0).await;
    let meanwhile = cluster.client.start(chain, "meanwhile", 3).await.expect("it starts");
    assert_eq!(result(&meanwhile).await.len(), 3);
    notices(&addresses[0]).await;
    link.set(Condition::default());
    ready(&addresses[0]).await;
    for address in &addresses {
        owns(address, 8.0).await;
    }
    signal(20..29).await;
    for handle in &handles {
        handle.signal(NUMBER, 29).await.expect("it is open");
    }
    for handle in &handles {
        assert_eq!(result(handle).await, (0..30).collect::<Vec<_>>());
    }
    first.stop().await;
    stage.finish().await;
}

#[tokio::test]
async fn another_orchestrator_takes_over_when_only_the_connection_for_work_hangs() {
    let two = Two::start("half-open-work").await;
    two.loses_all_but(PULSE).await;
    two.shares_again().await;
}

#[tokio::test]
async fn another_orchestrator_takes_over_from_one_that_cannot_say_that_it_is_alive() {
    let two = Two::start("half-open-pulse").await;
    two.loses_all_but(WORK).await;
    notices(&two.addresses[0]).await;
    two.shares_again().await;
}

#[tokio::test]
async fn an_activity_stops_whose_run_was_closed_while_its_worker_was_cut_off() {
    let cluster = Cluster::start("closed-meanwhile", PROGRAM).await;
    let orchestrator = cluster.orchestrator().await;
    let (link, url) = cluster.link().await;
    let worker = cluster.worker(&Cache::Warm.worker().through(&url)).await;
    let call = Call { start_to_close: Some(24 * 3_600_000), ..Call::of("wait_at", json!("gate")) };
    let run = cluster.client.start(one_activity, "run", call).await.expect("it starts");
    until("it is at work", || cluster.ledger.count("run", "wait_at", Phase::Started) == 1).await;
    link.set(Condition::cut());
    until("it is cut off", || link.counted().reset > 0).await;
    run.terminate("enough").await.expect("it is open");
    link.set(Condition::default());
    until("it has stopped", || cluster.ledger.count("run", "wait_at", Phase::Cancelled) == 1).await;
    Stage { cluster, orchestrator, worker }.finish().await;
}

#[tokio::test]
async fn another_worker_goes_on_with_what_was_behind_a_link_on_which_nothing_passes() {
    let cluster = Cluster::start("half-open-worker", PROGRAM).await;
    let orchestrator = cluster.orchestrator().await;
    let (link, url) = cluster.link().await;
    let address = http::free_address();
    let setup = Cache::Warm.worker().slots(4);
    let first = cluster.worker(&setup.clone().through(&url).metrics(&address)).await;
    ready(&address).await;
    let open = cluster.client.start(collects, "open", 3).await.expect("it starts");
    open.signal(NUMBER, 1).await.expect("it is open");
    // One ends while nobody hears of it, one outlasts that.
    let mut runs = Vec::new();
    for gate in ["soon", "later"] {
        let call = Call { start_to_close: Some(120_000), ..Call::of("insist", json!(gate)) };
        runs.push(cluster.client.start(one_activity, gate, call).await.expect("it starts"));
        until("it is at work", || cluster.ledger.count(gate, "insist", Phase::Started) == 1).await;
    }
    hold(&link).await;
    let second = cluster.worker(&setup).await;
    cluster.gates.open("soon");
    until("it has ended", || cluster.ledger.count("soon", "insist", Phase::Finished) >= 1).await;
    // What the first one has in memory and what comes new is for the second one.
    open.signal(NUMBER, 2).await.expect("it is open");
    let meanwhile = cluster.client.start(chain, "meanwhile", 3).await.expect("it starts");
    assert_eq!(result(&meanwhile).await.len(), 3);
    for entry in cluster.ledger.read().iter().filter(|entry| entry.workflow_id == "meanwhile") {
        assert_eq!(entry.pid, second.pid());
    }
    // Its tasks are given out again when nothing is heard of them.
    until("the next attempts", || {
        runs.iter().all(|run| cluster.ledger.count(run.id(), "insist", Phase::Started) >= 2)
    })
    .await;
    notices(&address).await;
    cluster.gates.open("later");
    link.set(Condition::default());
    ready(&address).await;
    for (run, gate) in runs.iter().zip(["soon", "later"]) {
        assert_eq!(result(run).await, Settled::Ok(json!(gate)));
    }
    open.signal(NUMBER, 3).await.expect("it is open");
    assert_eq!(result(&open).await, [1, 2, 3]);
    // It takes tasks again.
    second.stop().await;
    let after = cluster.client.start(chain, "after", 3).await.expect("it starts");
    assert_eq!(result(&after).await.len(), 3);
    Stage { cluster, orchestrator, worker: first }.finish().await;
}
