//! Starting, killing and restarting real servers.

use std::path::PathBuf;

use stepwell_nats_server::{NatsServer, StartError, find};

fn binary() -> PathBuf {
    find().expect("a nats-server binary; set STEPWELL_NATS_SERVER")
}

#[test]
fn starts_on_a_free_port_and_removes_its_temporary_store() {
    let mut server = NatsServer::builder(binary()).start().unwrap();
    assert!(server.running());
    assert_eq!(server.url(), format!("nats://127.0.0.1:{}", server.port()));
    let store = server.store_dir().to_owned();
    assert!(store.exists());
    drop(server);
    assert!(!store.exists());
}

#[test]
fn restarts_on_the_same_port_after_a_crash_and_after_a_stop() {
    let mut server = NatsServer::builder(binary()).start().unwrap();
    let (port, first) = (server.port(), server.pid().unwrap());
    server.kill();
    assert!(!server.running());
    assert_eq!(server.pid(), None);
    server.restart().unwrap();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid().unwrap(), first);
    server.stop();
    assert!(!server.running());
    assert!(std::fs::read_to_string(server.log()).unwrap().contains("Server Exiting"));
    server.restart().unwrap();
    assert!(server.running());
}

#[test]
fn a_port_that_is_taken_is_an_error_with_the_log() {
    let server = NatsServer::builder(binary()).start().unwrap();
    let error = NatsServer::builder(binary()).port(server.port()).start().unwrap_err();
    assert!(
        matches!(&error, StartError::Ended { tail, .. } if tail.contains("address already in use")),
        "{error}"
    );
}

#[test]
fn a_wrong_configuration_is_an_error_with_the_log() {
    let error = NatsServer::builder(binary()).config("no_such_setting {").start().unwrap_err();
    assert!(matches!(error, StartError::Ended { .. }), "{error}");
}

#[test]
fn a_binary_that_does_not_exist_is_named() {
    let error = NatsServer::builder("/nowhere/nats-server").start().unwrap_err();
    assert!(error.to_string().starts_with("cannot run /nowhere/nats-server: "), "{error}");
}

/// Says that this process is the one that the next test starts and kills.
const HOLDER: &str = "STEPWELL_TEST_HOLDER";

/// A part of the next test, as a process of its own: starts a server, says where, waits to be killed.
#[test]
fn hold_a_server() {
    if std::env::var_os(HOLDER).is_none() {
        return;
    }
    let server = NatsServer::builder(binary()).start().unwrap();
    println!("\nport {}", server.port());
    loop {
        std::thread::park();
    }
}

#[test]
fn a_server_does_not_outlive_a_process_that_was_killed() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let mut holder = Command::new(std::env::current_exe().unwrap());
    holder.args(["hold_a_server", "--exact", "--nocapture"]).env(HOLDER, "yes").stdout(Stdio::piped());
    let mut holder = holder.spawn().unwrap();
    let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    let port = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("port ").map(str::to_owned));
    let address = format!("127.0.0.1:{}", port.expect("it tells its port"));
    std::net::TcpStream::connect(&address).expect("the server is there");
    holder.kill().unwrap();
    holder.wait().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::net::TcpStream::connect(&address).is_ok() {
        assert!(std::time::Instant::now() < deadline, "the server on {address} is still there");
        std::thread::yield_now();
    }
}
