//! `stepwell dev` itself.

use std::path::PathBuf;

use stepwell_shared::summary::RunSummary;

use crate::support::{Dev, stepwell};
use crate::worker;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_there_again_and_a_run_goes_on() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("dev-{}", std::process::id()));
    let data = ["--data", folder.to_str().unwrap()];
    let mut dev = Dev::start(&data);
    dev.run(&["start", "gate", "--id", "g"]).ok();
    dev.process.terminate();
    assert!(dev.process.0.wait().unwrap().success());
    let url = dev.url.clone();
    stepwell(&url, &["list"]).failed(8);
    let dev = Dev::start(&data);
    let _worker = worker::start(&dev).await;
    dev.run(&["signal", "g", "open", "--payload", "\"now\""]).ok();
    let summary: RunSummary = dev.run(&["result", "g", "-o", "json"]).json();
    assert_eq!(summary.result.unwrap().json(), "\"now\"");
    drop(dev);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_port_that_is_taken_is_a_conflict_with_a_way_out() {
    let dev = Dev::start(&[]);
    let port = dev.url.rsplit_once(':').unwrap().1;
    let text = stepwell("nats://unused", &["dev", "--port", port]).failed(6);
    assert!(text.contains("--port 0 finds a free one"), "{text}");
}

#[test]
fn a_namespace_of_its_own_is_told_to_whoever_follows() {
    let dev = Dev::start(&["--namespace", "mine"]);
    assert_eq!(dev.run(&["--namespace", "mine", "list"]).ok(), "");
    dev.run(&["list"]).failed(8);
}
