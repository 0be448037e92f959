//! The ack window.

use bytes::Bytes;
use futures_util::FutureExt as _;
use stepwell_connection::PublishError;
use stepwell_shared::headers::{EXPECTED_LAST_SUBJECT_SEQUENCE, MESSAGE_ID};
use stepwell_shared::ids::{Namespace, WorkflowId};
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::{self, Stream};

use crate::support::{connect, namespace, publish, server};

fn history_subject(id: &str) -> String {
    subject::history(&Namespace::default(), &WorkflowId::new(id).unwrap(), 16)
}

#[tokio::test]
async fn every_message_of_a_burst_larger_than_the_window_is_acknowledged_in_order() {
    const MESSAGES: u64 = 20_000;
    let (_server, connection, _) = namespace().await;
    let subject = history_subject("burst");
    let mut acks = Vec::new();
    for _ in 0..MESSAGES {
        let sent = connection.publisher().publish(subject.clone(), None, Bytes::from_static(b"{}")).await;
        acks.push(sent.unwrap());
        assert!(connection.publisher().in_flight() <= 4_096);
    }
    for (ack, expected) in acks.into_iter().zip(1..) {
        let ack = ack.await.unwrap();
        assert_eq!((ack.sequence, ack.duplicate), (expected, false));
        assert_eq!(ack.stream, Stream::History(Shard::FIRST).name(&Namespace::default()));
    }
    assert_eq!(connection.publisher().in_flight(), 0);
}

#[tokio::test]
async fn what_must_not_wait_goes_past_a_full_window() {
    let (_server, connection, _) = namespace().await;
    let publisher = connection.publisher();
    // Somebody takes these and acknowledges none.
    let _silent = connection.client().subscribe("void").await.unwrap();
    while let Some(sent) = publisher.publish("void".into(), None, Bytes::new()).now_or_never() {
        drop(sent.unwrap());
        // The connection's own buffer is another one.
        tokio::task::yield_now().await;
    }
    assert_eq!(publisher.in_flight(), 4_096);
    let sent = publisher.publish_at_once(history_subject("alive"), None, Bytes::from_static(b"{}")).await;
    let stored = sent.unwrap().await.unwrap();
    assert_eq!(stored.stream, Stream::History(Shard::FIRST).name(&Namespace::default()));
}

#[tokio::test]
async fn a_lost_race_is_told_apart() {
    let (_server, connection, _) = namespace().await;
    let subject = history_subject("race");
    let expect = |sequence: u64| [(EXPECTED_LAST_SUBJECT_SEQUENCE, sequence.to_string())];
    let first = publish(&connection, &subject, &expect(0), "1").await.unwrap();
    assert_eq!(publish(&connection, &subject, &expect(0), "2").await, Err(PublishError::WrongLastSequence));
    let second = publish(&connection, &subject, &expect(first.sequence), "2").await.unwrap();
    assert_eq!(second.sequence, first.sequence + 1);
}

#[tokio::test]
async fn a_repeat_within_the_window_is_a_duplicate_with_the_first_sequence() {
    let (_server, connection, _) = namespace().await;
    let subject = "stepwell.default.task.default";
    let id = [(MESSAGE_ID, "run/1/1".to_owned())];
    let first = publish(&connection, subject, &id, "{}").await.unwrap();
    let again = publish(&connection, subject, &id, "{}").await.unwrap();
    assert_eq!((again.sequence, again.duplicate), (first.sequence, true));
}

#[tokio::test]
async fn a_subject_without_a_stream_is_told_at_once() {
    let server = server();
    let connection = connect(&server).await;
    let nobody = publish(&connection, "stepwell.default.workflow.x.cancel", &[], "{}").await;
    assert_eq!(nobody, Err(PublishError::NoResponders));
}

#[tokio::test]
async fn a_message_larger_than_the_server_takes_is_refused_before_it_is_sent() {
    let (_server, connection, _) = namespace().await;
    let body = vec![b' '; 2 * 1024 * 1024];
    let refused = connection.publisher().publish(history_subject("large"), None, body.into()).await;
    assert!(matches!(refused, Err(PublishError::Refused { code: 400, .. })));
    assert_eq!(connection.publisher().in_flight(), 0);
}

#[tokio::test]
async fn a_full_stream_is_told_apart() {
    let (_server, connection, _) = namespace().await;
    let mut config = {
        let name = Stream::History(Shard::FIRST).name(connection.namespace());
        connection.jetstream().get_stream(name).await.unwrap().cached_info().config.clone()
    };
    config.max_messages = 1;
    connection.jetstream().update_stream(&config).await.unwrap();
    publish(&connection, &history_subject("one"), &[], "{}").await.unwrap();
    let full = publish(&connection, &history_subject("two"), &[], "{}").await.unwrap_err();
    assert!(matches!(full, PublishError::StorageFull { .. }), "{full}");
    assert!(full.retryable());
}

#[tokio::test]
async fn what_is_in_flight_when_the_server_dies_ends_as_unknown_and_the_window_is_free_again() {
    let (mut server, connection, _) = namespace().await;
    let subject = history_subject("crash");
    publish(&connection, &subject, &[], "{}").await.unwrap();
    server.kill();
    let sent = connection.publisher().publish(subject.clone(), None, Bytes::from_static(b"{}")).await;
    assert_eq!(sent.unwrap().await, Err(PublishError::UnknownOutcome));
    assert_eq!(connection.publisher().in_flight(), 0);
    server.restart().unwrap();
    // The first tries may still be lost with the connection; one gets through when it stands again.
    loop {
        match publish(&connection, &subject, &[], "{}").await {
            Ok(ack) => break assert!(ack.sequence > 1),
            Err(PublishError::UnknownOutcome | PublishError::NoResponders) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(connection.connected());
}
