//! What an orchestrator serves over HTTP: to this machine; to others only with a token or an explicit word.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Stdio;

use stepwell_nats_server::{NatsServer, find};

use crate::support::{Process, command, eventually, file, stepwell};

const TOKEN: &str = "b7d0c6a9f1e24835";

/// A port that is free now.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// The status of a page, if the server is there.
fn status(port: u16, page: &str, token: Option<&str>) -> Option<u16> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    let header = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!("GET {page} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

fn orchestrator(server: &NatsServer, arguments: &[&str]) -> Process {
    let mut command = command(&server.url(), &[&["orchestrator"], arguments].concat());
    Process(command.stderr(Stdio::null()).spawn().unwrap())
}

#[test]
fn metrics_want_the_token_and_health_does_not() {
    let server = NatsServer::builder(find().unwrap()).start().unwrap();
    let path = file("metrics-token", &format!("{TOKEN}\n"));
    let (port, path) = (free_port(), path.to_string_lossy().into_owned());
    let everywhere = format!("0.0.0.0:{port}");
    let _process = orchestrator(&server, &["--listen", &everywhere, "--http-token-file", &path]);
    eventually("an orchestrator", || (status(port, "/readyz", None) == Some(200)).then_some(()));
    assert_eq!(status(port, "/livez", None), Some(200));
    assert_eq!(status(port, "/metrics", None), Some(401));
    assert_eq!(status(port, "/metrics", Some("b7d0c6a9f1e24836")), Some(401));
    assert_eq!(status(port, "/metrics", Some(TOKEN)), Some(200));
}

#[test]
fn others_are_let_in_only_when_that_is_said() {
    let server = NatsServer::builder(find().unwrap()).start().unwrap();
    let port = free_port();
    let everywhere = format!("0.0.0.0:{port}");
    for command in [["orchestrator"].as_slice(), &["dev", "--port", "0"]] {
        let arguments = [command, &["--listen", &everywhere]].concat();
        let text = stepwell(&server.url(), &arguments).failed(2);
        assert!(text.contains("--http-token-file") && text.contains("--http-open"), "{text}");
    }
    let _process = orchestrator(&server, &["--listen", &everywhere, "--http-open"]);
    eventually("an orchestrator", || (status(port, "/metrics", None) == Some(200)).then_some(()));
}
