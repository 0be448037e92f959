//! Each exit code, and what is said with it.

use stepwell_nats_server::{NatsServer, find};

use crate::support::{Dev, command, finish, stepwell};
use crate::worker;

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_3_and_what_is_not_open_is_6() {
    let dev = Dev::start(&[]);
    let _worker = worker::start(&dev).await;
    for arguments in [
        &["describe", "x"][..],
        &["history", "x"],
        &["history", "x", "--follow"],
        &["result", "x"],
        &["signal", "x", "s"],
        &["query", "x", "q"],
        &["cancel", "x"],
        &["terminate", "x"],
        &["compensation", "skip", "x", "1"],
    ] {
        let text = dev.run(arguments).failed(3);
        assert!(text.contains("[not_found]"), "{arguments:?}: {text}");
    }
    dev.run(&["start", "gate", "--id", "g"]).ok();
    assert!(dev.run(&["start", "gate", "--id", "g"]).failed(6).contains("[already_open]"));
    dev.run(&["terminate", "g"]).ok();
    for arguments in [&["terminate", "g"][..], &["cancel", "g"], &["signal", "g", "open"]] {
        let text = dev.run(arguments).failed(6);
        assert!(text.contains("[already_closed]"), "{arguments:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_too_long_is_5_and_a_wrong_input_is_2() {
    let dev = Dev::start(&[]);
    let _worker = worker::start(&dev).await;
    let timeout = dev.run(&["start", "gate", "--id", "g", "--wait", "--timeout", "10ms"]);
    assert!(timeout.failed(5).contains("g is still running"));
    assert!(dev.run(&["result", "g", "--timeout", "0s"]).failed(5).contains("g is still running"));
    let wrong = dev.run(&["start", "echo", "--id", "e", "--input", "doc-7"]).failed(2);
    assert!(wrong.contains("--input: it is not JSON"), "{wrong}");
    dev.run(&["signal", "g", "open", "--payload", "@/nowhere"]).failed(2);
    let long = "x".repeat(201);
    assert!(dev.run(&["start", "echo", "--id", &long]).failed(2).contains("[invalid_id]"));
    assert!(dev.run(&["query", "g", "unknown"]).failed(1).contains("there is no query unknown"));
}

#[test]
fn a_server_without_an_orchestrator_is_8() {
    let server = NatsServer::builder(find().unwrap()).start().unwrap();
    let text = stepwell(&server.url(), &["list"]).failed(8);
    assert!(text.contains("no orchestrator serves the namespace default"), "{text}");
    let doctor = stepwell(&server.url(), &["doctor"]);
    assert!(doctor.stdout.contains("PROBLEM  namespace"), "{doctor:?}");
    doctor.failed(1);
}

#[test]
fn a_login_that_is_refused_and_a_permission_that_is_missing_are_7() {
    let config = "authorization { users: [{ user: joe, password: right, \
                  permissions: { publish: { deny: \"stepwell.>\" } } }] }";
    let server = NatsServer::builder(find().unwrap()).config(config).start().unwrap();
    let run = |password: &str| {
        let mut command = command(&server.url(), &["list"]);
        finish(command.env("NATS_USER", "joe").env("NATS_PASSWORD", password).spawn().unwrap())
    };
    assert!(run("wrong").failed(7).contains("refused the login"));
    let text = run("right").failed(7);
    assert!(text.to_lowercase().contains("permissions violation"), "{text}");
    assert!(!text.contains("right"), "{text}");
}
