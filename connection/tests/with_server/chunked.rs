//! Requests whose answers take several messages.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use stepwell_connection::chunked::{ReplyError, RequestError, reply, request};

use crate::support::{connect, server};

const PATIENCE: Duration = Duration::from_secs(30);

/// Answers every request with as many bytes as its body says.
async fn answering(server: &stepwell_nats_server::NatsServer) -> tokio::task::JoinHandle<()> {
    let connection = connect(server).await;
    let mut requests = connection.client().subscribe("size").await.unwrap();
    connection.client().flush().await.unwrap();
    tokio::spawn(async move {
        while let Some(message) = requests.next().await {
            let size: usize = std::str::from_utf8(&message.payload).unwrap().parse().unwrap();
            let body: Vec<u8> = (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect();
            reply(connection.client(), message.reply.unwrap(), body).await.unwrap();
        }
    })
}

#[tokio::test]
async fn answers_of_every_size_arrive_whole_also_many_at_once() {
    let server = server();
    let _answering = answering(&server).await;
    let connection = connect(&server).await;
    let sizes = [0, 1, 1_000, 900 * 1024 - 1, 900 * 1024, 900 * 1024 + 1, 5_000_000];
    let asks = sizes.iter().cycle().take(35).map(|size| async {
        let answer = request(&connection, "size", size.to_string(), PATIENCE).await.unwrap();
        assert_eq!(answer.len(), *size);
        assert!(answer.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at % 251));
    });
    join_all(asks).await;
}

#[tokio::test]
async fn nobody_there_is_told_at_once_and_silence_after_the_timeout() {
    let server = server();
    let connection = connect(&server).await;
    let nobody = request(&connection, "size", "1", PATIENCE).await;
    assert_eq!(nobody, Err(RequestError::NoResponders));
    let _silent = connection.client().subscribe("size").await.unwrap();
    let after = Duration::from_millis(50);
    let silence = request(&connection, "size", "1", after).await;
    assert_eq!(silence, Err(RequestError::TimedOut { after }));
}

#[tokio::test]
async fn an_answer_beyond_every_bound_is_refused_where_it_is_made() {
    let server = crate::support::server_with("max_payload: 9KB");
    let connection = connect(&server).await;
    let refused = reply(connection.client(), "somewhere", vec![0; 1024 * 1024]).await;
    assert!(matches!(refused, Err(ReplyError::TooLarge { size: 1_048_576, .. })), "{refused:?}");
}
