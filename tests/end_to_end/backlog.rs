//! More events wait in one partition than may be worked at, and all of them are worked off.

use serde_json::json;
use stepwell::shared::api::ListRequest;
use stepwell::shared::ids::{Name, Namespace, WorkflowId};
use stepwell::shared::limits::DEFAULT_PARTITIONS;
use stepwell::shared::subject::{EventAddress, event, partition};
use stepwell_tests::cluster::Cluster;
use stepwell_tests::patience::eventually;

use crate::stage::PROGRAM;

/// Far more than the share that one of sixteen partitions has of what a process works at, and less than fits
/// between the reader and the dispatcher.
const WAITING: usize = 3_000;

#[tokio::test]
async fn a_backlog_of_one_partition_is_worked_off() {
    let cluster = Cluster::start("backlog", PROGRAM).await;
    cluster.orchestrator().await.stop().await;
    let publisher = cluster.client.connection().publisher();
    let start = json!({"v": 1, "queue": "nobody"}).to_string();
    let address = EventAddress::Start { workflow_type: Name::new("nothing").expect("a valid name") };
    let ids = (0..).map(|number| WorkflowId::new(format!("waits-{number}")).expect("a valid id"));
    let mut stored = Vec::new();
    for id in ids.filter(|id| partition(id, DEFAULT_PARTITIONS) == 3).take(WAITING) {
        let subject = event(&Namespace::default(), &id, &address);
        stored.push(publisher.publish(subject, None, start.clone().into()).await.expect("it can be sent"));
    }
    for ack in stored {
        ack.await.expect("it is stored");
    }
    let orchestrator = cluster.orchestrator().await;
    eventually("all of them have begun", || async {
        let list = cluster.client.list(&ListRequest::default()).await.ok()?;
        (list.total == WAITING).then_some(())
    })
    .await;
    orchestrator.stop().await;
}
