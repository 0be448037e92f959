//! Requests whose answers take several messages.

use std::time::Duration;

use async_nats::{Client, Subscriber};
use futures_util::StreamExt;
use futures_util::future::join_all;
use stepwell_connection::Connection;
use stepwell_connection::chunked::{
    ReplyError, RequestError, reply, reply_in_place, reply_packed, request, request_packed,
};
use stepwell_shared::headers::PACK;
use stepwell_shared::limits::{MAX_PACK, MAX_PACKED_BODY_BYTES};
use stepwell_shared::pack::PackIndex;

use crate::support::{connect, server};

const PATIENCE: Duration = Duration::from_secs(30);

/// Listens, as seen by every connection.
async fn listen(connection: &Connection) -> Subscriber {
    let requests = connection.client().subscribe("size").await.unwrap();
    // The answer to this comes after the server has taken the subscription.
    assert!(connection.client().request("nobody", "".into()).await.is_err());
    requests
}

/// Answers every request with as many bytes as its body says.
async fn answering(server: &stepwell_nats_server::NatsServer) -> tokio::task::JoinHandle<()> {
    let connection = connect(server).await;
    let mut requests = listen(&connection).await;
    tokio::spawn(async move {
        while let Some(message) = requests.next().await {
            reply(connection.client(), message.reply.unwrap(), wanted(&message.payload)).await.unwrap();
        }
    })
}

/// A client for a task that answers, which ends before its answers have arrived: the last handle of a connection takes
/// with it what is not on its way yet.
fn outliving(connection: &Connection) -> Client {
    connection.client().clone()
}

/// As many bytes as the request says.
fn wanted(request: &[u8]) -> Vec<u8> {
    body(std::str::from_utf8(request).unwrap().trim().parse().unwrap())
}

/// No two places nearby have the same bytes. Copied, not counted: fifty megabytes of it take no time worth naming.
fn body(size: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..251).collect();
    bytes = bytes.repeat(size / bytes.len() + 1);
    bytes.truncate(size);
    bytes
}

fn check(answer: &[u8], size: usize) {
    assert_eq!(answer.len(), size);
    assert!(answer == body(size), "not the bytes that were sent");
}

#[tokio::test]
async fn answers_of_every_size_arrive_whole_also_many_at_once() {
    let server = server();
    let _answering = answering(&server).await;
    let connection = connect(&server).await;
    let sizes = [0, 1, 1_000, 900 * 1024 - 1, 900 * 1024, 900 * 1024 + 1, 5_000_000];
    let asks = sizes.iter().cycle().take(35).map(|size| async {
        let answer = request(&connection, "size", size.to_string(), PATIENCE).await.unwrap();
        check(&answer, *size);
    });
    join_all(asks).await;
}

#[tokio::test]
async fn requests_of_one_moment_go_together_and_each_gets_its_own_answer() {
    const REQUESTS: usize = MAX_PACK + 36;
    let server = server();
    let (connection, other) = (connect(&server).await, connect(&server).await);
    let mut messages = listen(&other).await;
    let client = outliving(&other);
    let answering = tokio::spawn(async move {
        let mut packs = Vec::new();
        while packs.iter().sum::<usize>() < REQUESTS {
            let message = messages.next().await.unwrap();
            let header = message.headers.as_ref().and_then(|headers| headers.get(PACK)).unwrap();
            let index = PackIndex::parse(header.as_str(), message.payload.len()).unwrap();
            let mut bodies: Vec<_> = index.bodies().collect();
            packs.push(bodies.len());
            // In whichever order: the place says whose answer it is.
            bodies.reverse();
            for (place, range) in bodies {
                let to = message.reply.clone().unwrap();
                reply_in_place(&client, to, place, wanted(&message.payload[range])).await.unwrap();
            }
        }
        packs
    });
    let sizes = [0, 1, 1_000, 2_000_000].iter().cycle().take(REQUESTS);
    let asks = sizes.map(|size| async {
        let answer = request_packed(&connection, "size", size.to_string(), PATIENCE).await.unwrap();
        check(&answer, *size);
    });
    join_all(asks).await;
    assert_eq!(answering.await.unwrap(), [MAX_PACK, REQUESTS - MAX_PACK]);
}

#[tokio::test]
async fn packs_are_no_larger_than_the_server_takes() {
    const REQUESTS: usize = 40;
    let server = crate::support::server_with("max_payload: 16KB");
    let (connection, other) = (connect(&server).await, connect(&server).await);
    let mut messages = listen(&other).await;
    let client = outliving(&other);
    let answering = tokio::spawn(async move {
        let (mut answers, mut packs) = (0, 0);
        while answers < REQUESTS {
            let message = messages.next().await.unwrap();
            let header = message.headers.as_ref().and_then(|headers| headers.get(PACK)).unwrap();
            let index = PackIndex::parse(header.as_str(), message.payload.len()).unwrap();
            let together: Vec<_> =
                index.bodies().map(|(place, range)| (place, wanted(&message.payload[range]))).collect();
            (answers, packs) = (answers + together.len(), packs + 1);
            reply_packed(&client, message.reply.unwrap(), together).await.unwrap();
        }
        packs
    });
    // Together both the requests and the answers are too large for one message, and some answers are by themselves.
    let sizes = [1_000, 7_000, 20_000].iter().cycle().take(REQUESTS);
    let connection = &connection;
    let asks = sizes.map(|size| async move {
        let body = format!("{size:1000}");
        let answer = request_packed(connection, "size", body, PATIENCE).await.unwrap();
        check(&answer, *size);
    });
    join_all(asks).await;
    assert!(answering.await.unwrap() > 1);
}

#[tokio::test]
async fn what_cannot_go_together_goes_alone_and_nobody_there_is_told_to_all() {
    let server = server();
    let connection = connect(&server).await;
    let ask = || request_packed(&connection, "size", "1", PATIENCE);
    let nobody = Err(RequestError::NoResponders);
    assert_eq!(join_all([ask(), ask(), ask()]).await, [nobody.clone(), nobody.clone(), nobody]);
    let _answering = answering(&server).await;
    // Neither is in a pack: this listener would not know what to do with one.
    check(&ask().await.unwrap(), 1);
    let large = format!("{:1$}", 7, MAX_PACKED_BODY_BYTES + 1);
    let ask = || request_packed(&connection, "size", large.clone(), PATIENCE);
    for answer in join_all([ask(), ask()]).await {
        check(&answer.unwrap(), 7);
    }
}

#[tokio::test]
async fn an_answer_to_a_pack_that_makes_no_sense_answers_nobody() {
    let server = server();
    let (connection, other) = (connect(&server).await, connect(&server).await);
    let mut messages = listen(&other).await;
    let client = outliving(&other);
    let answering = tokio::spawn(async move {
        let message = messages.next().await.unwrap();
        let to = message.reply.unwrap();
        for header in ["0:5", "0:1,1:1,2:1", "9:2", "zero"] {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert(PACK, header);
            client.publish_with_headers(to.clone(), headers, "no".into()).await.unwrap();
        }
        client.publish(to.clone(), "no".into()).await.unwrap();
        reply_in_place(&client, to.clone(), 1, "second").await.unwrap();
        // Of two answers the first counts.
        reply_in_place(&client, to.clone(), 1, "again").await.unwrap();
        reply_in_place(&client, to, 0, "first").await.unwrap();
    });
    let ask = || request_packed(&connection, "size", "1", PATIENCE);
    let answers = join_all([ask(), ask()]).await;
    assert_eq!(answers, [Ok(b"first".to_vec()), Ok(b"second".to_vec())]);
    answering.await.unwrap();
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
