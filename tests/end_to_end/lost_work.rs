//! Work that is due and was never delivered is found and made good.

use std::time::Duration;

use stepwell_shared::headers::REPEATED;
use stepwell_shared::ids::Namespace;
use stepwell_shared::subject::Stream;
use stepwell_tests::cluster::{Cluster, shards};
use stepwell_tests::http;
use stepwell_tests::patience::eventually;
use stepwell_tests::workflows::lifecycle::chain;

use crate::stage::{Cache, PROGRAM, Stage, result};

#[tokio::test]
async fn a_task_that_somebody_removed_is_published_again() {
    let cluster = Cluster::start("removed", PROGRAM).await;
    let address = http::free_address();
    let orchestrator = cluster.orchestrator_with(&["--listen", &address, "--sweep-after", "1s"]);
    cluster.answered().await;
    let jetstream = cluster.client.connection().jetstream().clone();
    // Under the same id it would be taken for a repeat for two minutes.
    let name = |shard| Stream::Tasks(shard).name(&Namespace::default());
    for shard in shards().all() {
        let stream = jetstream.get_stream(name(shard)).await.expect("the stream");
        let mut config = stream.cached_info().config.clone();
        config.duplicate_window = Duration::from_millis(100);
        jetstream.update_stream(config).await.expect("it can be changed");
    }
    // Workflow code, and nobody for the task.
    let code = cluster.worker(&Cache::Warm.worker().no_activities()).await;
    let run = cluster.client.start(chain, "robbed", 2).await.expect("it starts");
    let (shard, task) = eventually("the task", || cluster.last_task()).await;
    let stream = jetstream.get_stream(name(shard)).await.expect("the stream");
    assert!(stream.delete_message(task.sequence).await.expect("it can be removed"));
    let found = || async {
        let (_, body) = http::get(&address, "/metrics").await?;
        http::metric(&body, "stepwell_recovered_total", &["what=\"task\""]).filter(|found| *found >= 1.0)
    };
    eventually("the loss is noticed", found).await;
    // Whoever gets it is told that it may have been there before, and asks what became of it.
    let (_, again) = eventually("the task again", || cluster.last_task()).await;
    assert!(again.sequence > task.sequence);
    assert_eq!(task.headers.get(REPEATED), None);
    assert_eq!(again.headers.get(REPEATED).map(|value| value.as_str()), Some("1"));
    let worker = cluster.worker(&Cache::Warm.worker()).await;
    assert_eq!(result(&run).await.len(), 2);
    // What is merely slow is left alone: it lies on TASKS while somebody is at it.
    let (mut left, mut all) = (0, 0);
    for shard in shards().all() {
        let stream = jetstream.get_stream(name(shard)).await.expect("the stream");
        (left, all) =
            (left + stream.cached_info().state.messages, all + stream.cached_info().state.last_sequence);
    }
    assert_eq!((left, all), (0, 3), "one was removed, two were done");
    code.stop().await;
    Stage { cluster, orchestrator, worker }.finish().await;
}
