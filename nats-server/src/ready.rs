//! Whether a server answers on a port: it greets every connection with `INFO {…}`.
//!
//! The server's name is compared, so that a stranger who took the port first is not taken for ours.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::Deserialize;

/// Longest wait for the greeting of a server that accepts connections.
const GREETING_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest greeting that is read; a real one has about 500 bytes.
const MAX_GREETING_BYTES: u64 = 64 * 1024;

/// What a port says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Our server, with JetStream.
    Ready,
    /// Our server, and JetStream is not up yet.
    WithoutJetStream,
    /// Nobody, or somebody else.
    NotOurs,
}

/// Asks the port once.
pub(crate) fn ask(address: SocketAddr, name: &str) -> Answer {
    match greeting(address) {
        Some(info) if info.server_name != name => Answer::NotOurs,
        Some(info) if info.jetstream => Answer::Ready,
        Some(_) => Answer::WithoutJetStream,
        None => Answer::NotOurs,
    }
}

#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    server_name: String,
    #[serde(default)]
    jetstream: bool,
}

fn greeting(address: SocketAddr) -> Option<Info> {
    let stream = TcpStream::connect_timeout(&address, GREETING_TIMEOUT).ok()?;
    stream.set_read_timeout(Some(GREETING_TIMEOUT)).ok()?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_GREETING_BYTES)).read_line(&mut line).ok()?;
    serde_json::from_str(line.strip_prefix("INFO ")?).ok()
}
