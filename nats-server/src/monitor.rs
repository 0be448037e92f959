//! What a server says of itself over its monitoring port: who leads JetStream and its streams.
//!
//! One short request over a plain socket; it never keeps a connection and never waits for something to change.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::Deserialize;

/// Longest wait for an answer. A server that was stopped accepts connections and says nothing.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Longest answer that is read; a stream with its consumers takes about two thousand bytes.
const MAX_ANSWER_BYTES: u64 = 16 * 1024 * 1024;

/// JetStream as one server sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// The server's own name.
    pub(crate) name: String,
    /// The leader of the whole of JetStream; empty when there is none.
    pub(crate) meta_leader: String,
    /// How many followers are up to date, if this server is the leader.
    pub(crate) followers: usize,
    /// Each stream with its leader, and each consumer (as `stream > consumer`) with its own.
    pub(crate) led: Vec<(String, String)>,
}

/// Asks the server at `address`, once.
pub(crate) fn ask(address: SocketAddr) -> Option<View> {
    let name: Varz = get(address, "/varz")?;
    let answer: Jsz = get(address, "/jsz?accounts=true&streams=true&consumers=true")?;
    let mut led = Vec::new();
    for stream in answer.account_details.into_iter().flat_map(|account| account.stream_detail) {
        for consumer in stream.consumer_detail {
            led.push((format!("{} > {}", stream.name, consumer.name), consumer.cluster.leader));
        }
        led.push((stream.name, stream.cluster.leader));
    }
    let Group { leader: meta_leader, replicas } = answer.meta_cluster;
    let followers = replicas.iter().filter(|replica| replica.current).count();
    Some(View { name: name.server_name, meta_leader, followers, led })
}

#[derive(Deserialize)]
struct Varz {
    #[serde(default)]
    server_name: String,
}

#[derive(Deserialize)]
struct Jsz {
    #[serde(default)]
    meta_cluster: Group,
    #[serde(default)]
    account_details: Vec<Account>,
}

#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    stream_detail: Vec<Stream>,
}

#[derive(Deserialize)]
struct Stream {
    name: String,
    #[serde(default)]
    cluster: Group,
    #[serde(default)]
    consumer_detail: Vec<Consumer>,
}

#[derive(Deserialize)]
struct Consumer {
    name: String,
    #[serde(default)]
    cluster: Group,
}

#[derive(Deserialize, Default)]
struct Group {
    #[serde(default)]
    leader: String,
    /// As the leader sees them.
    #[serde(default)]
    replicas: Vec<Replica>,
}

#[derive(Deserialize)]
struct Replica {
    #[serde(default)]
    current: bool,
}

fn get<T: for<'de> Deserialize<'de>>(address: SocketAddr, path: &str) -> Option<T> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    stream.set_write_timeout(Some(TIMEOUT)).ok()?;
    // In version 1.0 the answer ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).ok()?;
    body_of(&answer)
}

fn body_of<T: for<'de> Deserialize<'de>>(answer: &[u8]) -> Option<T> {
    let end_of_head = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    if !answer.starts_with(b"HTTP/1.0 200") && !answer.starts_with(b"HTTP/1.1 200") {
        return None;
    }
    serde_json::from_slice(answer.get(end_of_head + 4..)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_and_an_error_is_not() {
        let answer = b"HTTP/1.0 200 OK\r\nX: y\r\n\r\n{\"meta_cluster\":{\"leader\":\"a\"}}";
        assert_eq!(body_of::<Jsz>(answer).map(|it| it.meta_cluster.leader), Some("a".to_owned()));
        assert!(body_of::<Jsz>(b"HTTP/1.0 503 No\r\n\r\n{}").is_none());
        assert!(body_of::<Jsz>(b"HTTP/1.0 200 OK\r\n").is_none());
    }
}
