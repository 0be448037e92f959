//! Who waits for a result does not notice that the orchestrator was killed.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use stepwell_nats_server::{NatsServer, find};

use crate::support::{Process, command, eventually, finish, stepwell};

fn orchestrator(url: &str) -> Process {
    let arguments = ["orchestrator", "--no-http", "--lease", "1s"];
    let process = Process(command(url, &arguments).stderr(Stdio::null()).spawn().unwrap());
    eventually("the orchestrator", || (stepwell(url, &["workers"]).code == 0).then_some(()));
    process
}

#[test]
fn a_result_is_waited_for_across_orchestrators() {
    let server = NatsServer::builder(find().unwrap()).start().unwrap();
    let url = server.url();
    let first = orchestrator(&url);
    stepwell(&url, &["start", "nobody", "--id", "w"]).ok();
    let mut waiting = command(&url, &["result", "w"]).spawn().unwrap();
    // It says so when it has asked once and the run cannot go on.
    let mut said = BufReader::new(waiting.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.starts_with("waiting; the run is running: no_worker"), "{line}");
    drop(first);
    let second = orchestrator(&url);
    stepwell(&url, &["terminate", "w", "--reason", "over"]).ok();
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut said, &mut rest).unwrap();
    assert!(rest.contains("w is terminated: Terminated: over"), "{rest}");
    assert_eq!(finish(waiting).code, 4);
    second.terminate();
}
