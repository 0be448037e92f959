//! Compensations that fail, and what a person decides.

use std::sync::atomic::Ordering;

use stepwell_shared::api::{CompensationState, Description};
use stepwell_shared::summary::{RunSummary, Status};

use crate::support::{Dev, eventually};
use crate::worker;

fn status(dev: &Dev, id: &str) -> Status {
    dev.run(&["result", id, "--timeout", "0s", "-o", "json"]);
    let description: Description = dev.run(&["describe", id, "-o", "json"]).json();
    description.summary.status
}

fn wait_until_stuck(dev: &Dev, id: &str) {
    eventually("a compensation that fails", || (status(dev, id) == Status::Stuck).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_rollback_is_seen_retried_and_ends() {
    let dev = Dev::start(&[]);
    let worker = worker::start(&dev).await;
    dev.run(&["start", "order", "--id", "o", "--input", "12"]).ok();
    wait_until_stuck(&dev, "o");
    let described = dev.run(&["describe", "o"]).ok();
    assert!(described.contains("failed; retry or skip it"), "{described}");
    assert!(described.contains("BankClosed: come back tomorrow"), "{described}");
    assert!(dev.run(&["list", "--stuck"]).ok().contains("stuck"));
    let doctor = dev.run(&["doctor"]);
    assert!(doctor.stdout.contains("PROBLEM  runs"), "{doctor:?}");
    assert!(doctor.failed(1).contains("there is 1 problem"));
    assert!(dev.run(&["compensation", "retry", "o", "2"]).failed(6).contains("not_stuck"));
    worker.bank_is_open.store(true, Ordering::SeqCst);
    dev.run(&["compensation", "retry", "o", "1", "--reason", "the bank is back"]).ok();
    let ended = dev.run(&["result", "o", "-o", "json"]);
    assert_eq!(ended.json::<RunSummary>().status, Status::Compensated);
    assert!(ended.failed(4).contains("o is compensated: OutOfStock: nothing left"));
    let history = dev.run(&["history", "o"]).ok();
    for part in [
        "→ run_activity",
        "1 charge on queue default, undone by refund, input 12",
        "1 charge = \"done\"",
        "1 charge: BankClosed: come back tomorrow",
        "1 charge: retry the bank is back",
        "compensation_completed",
    ] {
        assert!(history.contains(part), "{part}: {history}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_was_undone_by_hand_is_skipped() {
    let dev = Dev::start(&[]);
    let _worker = worker::start(&dev).await;
    dev.run(&["start", "order", "--id", "o"]).ok();
    wait_until_stuck(&dev, "o");
    dev.run(&["compensation", "skip", "o", "1", "--reason", "by hand"]).ok();
    dev.run(&["result", "o"]).failed(4);
    let description: Description = dev.run(&["describe", "o", "-o", "json"]).json();
    assert_eq!(description.compensations[0].state, CompensationState::Skipped);
}
