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
