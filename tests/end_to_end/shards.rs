//! A namespace whose tasks and histories are spread over several streams works as one with a single one does.

use stepwell::WorkflowHandle;
use stepwell_connection::provision::stream_info;
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::limits::DEFAULT_PARTITIONS;
use stepwell_shared::shard::Shards;
use stepwell_shared::subject::{self, Stream};
use stepwell_tests::checks::most_at_once;
use stepwell_tests::cluster::Cluster;
use stepwell_tests::patience::{eventually, until};
use stepwell_tests::processes::Process;
use stepwell_tests::workflows::lifecycle::chain;

use crate::stage::{Cache, PROGRAM, result, together};

/// How orchestrators are started.
const THREE_SHARDS: [&str; 3] = ["--no-http", "--shards", "3"];

async fn orchestrator(cluster: &Cluster) -> Process {
    let process = cluster.orchestrator_with(&THREE_SHARDS);
    cluster.answered().await;
    process
}

/// Workflow ids whose histories lie in one shard after the other.
fn ids(count: usize) -> Vec<String> {
    let three = Shards::try_from(3).expect("a number of shards");
    let shard_of = |id: &String| {
        let id = WorkflowId::new(id.clone()).expect("a valid id");
        three.of_partition(subject::partition(&id, DEFAULT_PARTITIONS)).index()
    };
    let mut candidates = (0..).map(|number| format!("chain-{number}"));
    let mut next = |shard: usize| candidates.find(|id| shard_of(id) == shard).expect("there are many");
    (0..count).map(|number| next(number % 3)).collect()
}

/// Starts a chain of so many steps with each id.
async fn start(cluster: &Cluster, ids: Vec<String>, steps: u32) -> Vec<WorkflowHandle<Vec<String>>> {
    let start = async |id| cluster.client.start(chain, id, steps).await.expect("it starts");
    together(ids.into_iter().map(start)).await
}

/// How many messages a stream has, and had in all.
async fn messages(cluster: &Cluster, stream: Stream) -> (u64, u64) {
    let connection = cluster.client.connection();
    let info = stream_info(connection, &stream.name(connection.namespace())).await.expect("an answer");
    let state = info.expect("the stream is there").state;
    (state.messages, state.last_sequence)
}

/// Every shard had something to do, and no task is left.
async fn all_were_used(cluster: &Cluster) {
    let shards = cluster.client.connection().shards().await.expect("the namespace is there");
    assert_eq!(shards.count(), 3);
    for shard in shards.all() {
        assert!(messages(cluster, Stream::History(shard)).await.1 > 0, "{shard:?}");
        let done = async || {
            let (left, all) = messages(cluster, Stream::Tasks(shard)).await;
            assert!(all > 0, "{shard:?}");
            (left == 0).then_some(())
        };
        eventually("every task to be acknowledged", done).await;
    }
}

#[tokio::test]
async fn a_worker_with_one_slot_serves_all_shards_and_is_never_given_more() {
    let cluster = Cluster::start("shards", PROGRAM).await;
    let orchestrator = orchestrator(&cluster).await;
    let worker = cluster.worker(&Cache::Warm.worker().slots(1)).await;
    let runs = start(&cluster, ids(8), 3).await;
    for run in &runs {
        assert_eq!(result(run).await, ["step 1", "step 2", "step 3"]);
    }
    assert_eq!(most_at_once(&cluster.ledger.read(), "note"), 1);
    all_were_used(&cluster).await;
    cluster.check().await;
    worker.stop().await;
    orchestrator.stop().await;
}

#[tokio::test]
async fn everything_may_be_killed_and_nothing_is_lost_in_any_shard() {
    let mut cluster = Cluster::start("shards-kill", PROGRAM).await;
    let first = (orchestrator(&cluster).await, cluster.worker(&Cache::Cold.worker()).await);
    let runs = start(&cluster, ids(8), 8).await;
    until("some steps to be done", || cluster.ledger.read().len() > 20).await;
    first.0.kill();
    first.1.kill();
    cluster.kill_server();
    let second = (orchestrator(&cluster).await, cluster.worker(&Cache::Cold.worker()).await);
    for run in &runs {
        assert_eq!(result(run).await.len(), 8);
    }
    all_were_used(&cluster).await;
    cluster.check().await;
    second.1.stop().await;
    second.0.stop().await;
}
