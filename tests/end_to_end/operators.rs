//! What operators change with the tools of NATS while everything runs: it is put right, or borne with, or said
//! loudly; nothing stands still in silence and nothing is lost.

use std::time::Duration;

use async_nats::jetstream::consumer::{FromConsumer, pull};
use futures_util::TryStreamExt;
use serde_json::json;
use stepwell_tests::cluster::Cluster;
use stepwell_tests::http;
use stepwell_tests::ledger::Phase;
use stepwell_tests::patience::{eventually, until};
use stepwell_tests::processes::Process;
use stepwell_tests::workflows::Settled;
use stepwell_tests::workflows::activities::{Call, one_activity};
use stepwell_tests::workflows::lifecycle::chain;
use stepwell_tests::workflows::waiting::{NUMBER, collects};

use crate::stage::{Cache, PROGRAM, Stage, result, together};

const TASKS: &str = "STEPWELL_default_TASKS";
const EVENTS: &str = "STEPWELL_default_EVENTS";
const HISTORY: &str = "STEPWELL_default_HISTORY";

/// The consumer of the queue `default`.
async fn consumer(cluster: &Cluster) -> pull::Config {
    let jetstream = cluster.client.connection().jetstream();
    let found = jetstream.get_consumer_from_stream::<pull::Config, _, _>("default", TASKS).await;
    let config = found.expect("the consumer").cached_info().config.clone();
    pull::Config::try_from_consumer_config(config).expect("it is one that pulls")
}

async fn edit_consumer(cluster: &Cluster, edit: impl FnOnce(&mut pull::Config)) {
    let mut config = consumer(cluster).await;
    edit(&mut config);
    let edited = cluster.client.connection().jetstream().update_consumer_on_stream(config, TASKS).await;
    edited.expect("it can be edited");
}

async fn edit_stream(
    cluster: &Cluster,
    name: &str,
    edit: impl FnOnce(&mut async_nats::jetstream::stream::Config),
) {
    let jetstream = cluster.client.connection().jetstream();
    let mut config = jetstream.get_stream(name).await.expect("the stream").cached_info().config.clone();
    edit(&mut config);
    jetstream.update_stream(config).await.expect("it can be edited");
}

/// Waits until the worker has learned how long the server waits for a word about a task.
async fn learned(worker: &Process, ack_wait: &str) {
    until("it learns of it", || worker.log().contains(&format!("ack_wait={ack_wait}"))).await;
}

#[tokio::test]
async fn a_consumer_that_keeps_tasks_away_is_put_right_and_its_limits_are_left() {
    let cluster = Cluster::start("edited-consumer", PROGRAM).await;
    let address = http::free_address();
    let orchestrator = cluster.orchestrator_with(&["--listen", &address]);
    cluster.answered().await;
    let worker = cluster.worker(&Cache::Warm.worker()).await;
    let stage = Stage { cluster, orchestrator, worker };
    let cluster = &stage.cluster;
    let warm = cluster.client.start(chain, "before", 2).await.expect("it starts");
    result(&warm).await;
    edit_consumer(cluster, |config| {
        config.filter_subject = "stepwell.default.task.nobody".to_owned();
        config.max_deliver = 1;
        config.headers_only = true;
        config.ack_wait = Duration::from_secs(4);
        config.max_ack_pending = 1;
    })
    .await;
    let passed_over = cluster.client.start(chain, "passed-over", 3).await.expect("it starts");
    until("it is put right", || stage.worker.log().contains("it was put right")).await;
    let right = consumer(cluster).await;
    assert_eq!(right.filter_subject, "stepwell.default.task.default");
    assert_eq!((right.max_deliver, right.headers_only), (-1, false));
    assert_eq!((right.max_ack_pending, right.ack_wait), (1, Duration::from_secs(4)));
    let after = cluster.client.start(chain, "after", 3).await.expect("it starts");
    assert_eq!(result(&after).await.len(), 3);
    // The server gives out later what a consumer has passed over only when it is another consumer.
    assert_eq!(result(&passed_over).await.len(), 3);
    let remade = consumer(cluster).await;
    assert_eq!((remade.max_ack_pending, remade.ack_wait), (1, Duration::from_secs(4)));
    let body = http::get(&address, "/metrics").await.expect("it answers").1;
    let remade = http::metric(&body, "stepwell_recovered_total", &["what=\"consumer\""]);
    assert_eq!(remade, Some(1.0), "once, and that one is left alone");
    stage.finish().await;
}

#[tokio::test]
async fn a_shorter_ack_wait_is_learned_of_by_workers_that_run() {
    let cluster = Cluster::start("ack-wait", PROGRAM).await;
    let orchestrator = cluster.orchestrator().await;
    let call = Call { start_to_close: Some(120_000), ..Call::of("wait_at", json!("gate")) };
    let start = async |id: &str| {
        let started = cluster.client.start(one_activity, id, call.clone()).await.expect("it starts");
        until("it is at work", || cluster.ledger.count(id, "wait_at", Phase::Started) == 1).await;
        started
    };
    // The first one has one slot, which is taken.
    let first = cluster.worker(&Cache::Warm.worker().slots(1)).await;
    let dies = start("dies").await;
    let second = cluster.worker(&Cache::Warm.worker().slots(2)).await;
    edit_consumer(&cluster, |config| config.ack_wait = Duration::from_millis(1_500)).await;
    for worker in [&first, &second] {
        learned(worker, "1.5s").await;
    }
    let lives = start("lives").await;
    first.kill();
    // By the time that the task of the dead one was given out again, that of the other one would have been, too.
    until("the next attempt", || cluster.ledger.count("dies", "wait_at", Phase::Started) == 2).await;
    assert_eq!(cluster.ledger.count("lives", "wait_at", Phase::Started), 1);
    cluster.gates.open("gate");
    for run in [&dies, &lives] {
        assert_eq!(result(run).await, Settled::Ok(json!("gate")));
    }
    assert_eq!(cluster.ledger.count("lives", "wait_at", Phase::Started), 1);
    Stage { cluster, orchestrator, worker: second }.finish().await;
}

/// Deletes all consumers of a stream and returns how many there were.
async fn delete_consumers(cluster: &Cluster, stream: &str) -> usize {
    let stream = cluster.client.connection().jetstream().get_stream(stream).await.expect("the stream");
    let names: Vec<String> = stream.consumer_names().try_collect().await.expect("they can be listed");
    let mut deleted = 0;
    for name in names {
        // One that is in use for a moment only may be gone by now.
        deleted += usize::from(stream.delete_consumer(&name).await.is_ok_and(|answer| answer.success));
    }
    deleted
}

#[tokio::test]
async fn consumers_that_are_deleted_under_load_are_made_again() {
    let stage = Stage::new("deleted-consumers", Cache::Warm).await;
    let cluster = &stage.cluster;
    let (runs, steps) = (10, 20);
    let chains = together((0..runs).map(|number| async move {
        cluster.client.start(chain, format!("n{number}"), steps).await.expect("it starts")
    }))
    .await;
    let collecting = cluster.client.start(collects, "collecting", 20).await.expect("it starts");
    let done = || {
        let entries = cluster.ledger.read();
        entries.iter().filter(|entry| entry.phase == Phase::Finished).count()
    };
    let (mut of_tasks, mut of_events) = (0, 0);
    for number in 0..4_usize {
        until("more to be done", || done() >= number * 40 + 10).await;
        assert!(done() < runs * steps as usize, "nothing is left to be done");
        of_tasks += delete_consumers(cluster, TASKS).await;
        of_events += delete_consumers(cluster, EVENTS).await;
        for signal in 0..5 {
            let number = i64::try_from(number).expect("it is small");
            collecting.signal(NUMBER, number * 5 + signal).await.expect("it is open");
        }
    }
    assert!(of_tasks >= 4 && of_events >= 4, "{of_tasks} and {of_events} were deleted");
    for run in &chains {
        assert_eq!(result(run).await.len(), steps as usize);
    }
    assert_eq!(result(&collecting).await, (0..20).collect::<Vec<i64>>());
    stage.finish().await;
}

#[tokio::test]
async fn streams_that_are_edited_are_borne_with_or_named() {
    let cluster = Cluster::start("edited-streams", PROGRAM).await;
    let address = http::free_address();
    let orchestrator = cluster.orchestrator_with(&["--listen", &address]);
    cluster.answered().await;
    let worker = cluster.worker(&Cache::Warm.worker()).await;
    let wrong = async |wanted: f64| {
        eventually(&format!("{wanted} streams that are wrong"), || async {
            let (_, body) = http::get(&address, "/metrics").await?;
            let found = http::metric(&body, "stepwell_streams_wrong", &[])?;
            (found.to_bits() == wanted.to_bits()).then_some(())
        })
        .await;
    };
    let open = cluster.client.start(collects, "open", 2).await.expect("it starts");
    // No more than a warning when an orchestrator starts: what comes twice late is recognised by the run, though not
    // before it was done twice.
    for stream in [EVENTS, HISTORY, TASKS] {
        edit_stream(&cluster, stream, |config| config.duplicate_window = Duration::from_millis(100)).await;
    }
    // What would throw histories away is.
    edit_stream(&cluster, HISTORY, |config| config.max_age = Duration::from_secs(3_600)).await;
    wrong(1.0).await;
    let log = orchestrator.log();
    let named: Vec<&str> =
        log.lines().filter(|line| line.contains("a stream is not as it must be")).collect();
    assert!(matches!(named[..], [line] if line.contains(HISTORY) && line.contains("max_age")), "{named:?}");
    // Those that run go on, and none begins.
    open.signal(NUMBER, 1).await.expect("it is open");
    let run = cluster.client.start(chain, "meanwhile", 3).await.expect("it starts");
    assert_eq!(result(&run).await.len(), 3);
    let status = cluster.orchestrator_with(&["--no-http"]).ended().await;
    assert!(!status.success(), "{status}");
    edit_stream(&cluster, HISTORY, |config| config.max_age = Duration::ZERO).await;
    wrong(0.0).await;
    open.signal(NUMBER, 2).await.expect("it is open");
    assert_eq!(result(&open).await, [1, 2]);
    Stage { cluster, orchestrator, worker }.finish().await;
}
