//! Three replicas: provisioning, racing appends, and reads that see what was acknowledged whichever
//! server they are asked of.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use stepwell_connection::history::read_history;
use stepwell_connection::provision::{ProvisionError, ProvisionOptions, provision};
use stepwell_connection::{Connection, JetStreamError, PublishError};
use stepwell_nats_server::NatsServer;
use stepwell_shared::headers::EXPECTED_LAST_SUBJECT_SEQUENCE;
use stepwell_shared::ids::{Namespace, WorkflowId};
use stepwell_shared::subject;

use crate::history::record;
use crate::support::{connect, publish, server_with};

/// Longest wait for the cluster; elections take some seconds.
const PATIENCE: Duration = Duration::from_secs(120);

fn cluster() -> Vec<NatsServer> {
    let listeners: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = listeners.iter().map(|one| one.local_addr().unwrap().port()).collect();
    drop(listeners);
    let routes: Vec<String> = ports.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
    let start = |port| {
        let routes = routes.join(", ");
        server_with(&format!("cluster {{ name: test, listen: \"127.0.0.1:{port}\", routes: [{routes}] }}"))
    };
    ports.into_iter().map(start).collect()
}

async fn provisioned(connection: &Connection) {
    let options = ProvisionOptions { replicas: 3, ..ProvisionOptions::default() };
    // A cluster that has just started has no leader for a while, and then not all of its peers.
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        match provision(connection, &options).await {
            Ok(_) => return,
            Err(ProvisionError::NoJetStream { .. }) => {}
            Err(ProvisionError::JetStream {
                source:
                    JetStreamError::Unavailable | JetStreamError::TimedOut | JetStreamError::Refused { .. },
                ..
            }) => {}
            Err(error) => panic!("{error}"),
        }
        tokio::task::yield_now().await;
    }
    panic!("the cluster does not get ready within {PATIENCE:?}");
}

#[tokio::test]
async fn a_read_from_any_server_sees_what_was_acknowledged_before_it() {
    let servers = cluster();
    let writer = connect(&servers[0]).await;
    provisioned(&writer).await;
    let readers = [connect(&servers[0]).await, connect(&servers[1]).await, connect(&servers[2]).await];
    let id = WorkflowId::new("w").unwrap();
    let subject = subject::history(&Namespace::default(), &id, 16);
    let mut written = 0;
    for _ in 0..5 {
        let mut acks = Vec::new();
        for _ in 0..50 {
            written += 1;
            let body = stepwell_shared::encoding::encode(&record(written, &"x".repeat(20_000)));
            acks.push(writer.publisher().publish(subject.clone(), None, body.into()).await.unwrap());
        }
        let mut last = 0;
        for ack in acks {
            last = ack.await.unwrap().sequence;
        }
        for history in join_all(readers.iter().map(|reader| read_history(reader, &subject, 0))).await {
            let history = history.unwrap();
            assert_eq!(history.last_sequence, last);
            assert_eq!(history.records.len(), usize::try_from(written).unwrap());
        }
    }
    let late = publish(&writer, &subject, &[(EXPECTED_LAST_SUBJECT_SEQUENCE, "0".into())], "{}").await;
    assert_eq!(late, Err(PublishError::WrongLastSequence));
}
