//! Sagas: what was done is undone, in reverse, whatever happens meanwhile.

use serde_json::json;
use stepwell::Status;
use stepwell::shared::api::{CompensationState, Description};
use stepwell::shared::error_code::ErrorCode;
use stepwell_tests::activities::Leg;
use stepwell_tests::cluster::Cluster;
use stepwell_tests::ledger::{Entry, Phase};
use stepwell_tests::patience::until;
use stepwell_tests::workflows::sagas::{ARRIVE, End, Trip, trip};

use crate::stage::{Cache, Stage, failure, result, warm_and_cold};

warm_and_cold!(
    what_succeeds_is_not_undone,
    a_failure_undoes_in_reverse_order,
    a_cancellation_in_the_middle_undoes_what_was_begun,
    a_compensation_that_fails_for_good_waits_for_somebody,
    code_can_undo_and_go_on,
    a_rollback_survives_the_death_of_everybody,
);

fn leg(name: &str) -> Leg {
    Leg { name: name.to_owned(), ..Leg::default() }
}

/// What the compensations of a workflow noted when they were done, in order.
fn undone(cluster: &Cluster, id: &str) -> Vec<String> {
    let entries = cluster.ledger.read().into_iter();
    let done = |entry: &Entry| {
        entry.workflow_id == id && entry.activity == "return_ticket" && entry.phase == Phase::Finished
    };
    entries.filter(done).map(|entry| entry.text.split(' ').next().unwrap_or_default().to_owned()).collect()
}

fn states(description: &Description) -> Vec<CompensationState> {
    description.compensations.iter().map(|compensation| compensation.state).collect()
}

async fn what_succeeds_is_not_undone(cache: Cache) {
    let stage = Stage::new("saga-well", cache).await;
    let legs = vec![leg("a"), leg("b")];
    let handle = stage.cluster.client.start(trip, "w", Trip { legs, ..Trip::default() }).await;
    let handle = handle.expect("it starts");
    assert_eq!(result(&handle).await, ["ticket of a", "ticket of b"]);
    assert_eq!(undone(&stage.cluster, "w").len(), 0);
    stage.finish().await;
}

async fn a_failure_undoes_in_reverse_order(cache: Cache) {
    let stage = Stage::new("saga-fail", cache).await;
    let (cluster, client) = (&stage.cluster, &stage.cluster.client);
    let undo_hard = Leg { undo_failures: 2, ..leg("b") };
    let legs = vec![leg("a"), undo_hard, leg("c"), Leg { fails: true, ..leg("d") }, leg("e")];
    let handle = client.start(trip, "f", Trip { legs, ..Trip::default() }).await.expect("it starts");
    let (status, why) = failure(&handle).await;
    assert_eq!((status, why.error_type.as_str()), (Status::Compensated, "NoSeats"));
    // The action that failed is undone as well: what it did is not known.
    assert_eq!(undone(cluster, "f"), ["d", "c", "b", "a"]);
    let texts: Vec<String> = cluster.ledger.read().into_iter().map(|entry| entry.text).collect();
    // Each compensation is given input, output and key of its action.
    let run = handle.run_id().expect("a run");
    assert!(texts.iter().any(|text| text.starts_with("d - ")), "d has no output");
    let keys: Vec<Entry> = cluster.ledger.read();
    let key_of_a =
        keys.iter().find(|entry| entry.activity == "travel" && entry.text == "a").map(|entry| &entry.key);
    let key_of_a = key_of_a.expect("a was begun");
    assert!(texts.contains(&format!("a ticket of a {key_of_a}")), "{run}: {texts:?}");
    // It has a retry policy of its own: two attempts for `b` failed.
    let failed = keys.iter().filter(|it| it.activity == "return_ticket" && it.phase == Phase::Failed).count();
    assert_eq!(failed, 2);
    let described = handle.describe().await.expect("a description");
    assert_eq!(states(&described), [CompensationState::Completed; 4]);
    // With legs that run at once and an error of the code's own.
    let all_at_once =
        Trip { legs: vec![leg("x"), leg("y"), leg("z")], together: true, end: End::Fail, ..Trip::default() };
    let handle = client.start(trip, "t", all_at_once).await.expect("it starts");
    assert_eq!(failure(&handle).await.0, Status::Compensated);
    assert_eq!(undone(cluster, "t"), ["z", "y", "x"]);
    // Nothing was registered after the pivot was passed, and nothing before it is undone.
    let pivot =
        Trip { legs: vec![leg("p"), leg("q")], pivot_after: Some(1), end: End::Fail, ..Trip::default() };
    let handle = client.start(trip, "p", pivot).await.expect("it starts");
    assert_eq!(failure(&handle).await.0, Status::Compensated);
    assert_eq!(undone(cluster, "p"), ["q"]);
    let described = handle.describe().await.expect("a description");
    assert_eq!(states(&described), [CompensationState::Released, CompensationState::Completed]);
    stage.finish().await;
}

async fn a_cancellation_in_the_middle_undoes_what_was_begun(cache: Cache) {
    let stage = Stage::new("saga-cancel", cache).await;
    let (cluster, client) = (&stage.cluster, &stage.cluster.client);
    let legs = vec![leg("a"), Leg { gate: Some("never".to_owned()), ..leg("b") }, leg("c")];
    let handle = client.start(trip, "c", Trip { legs, ..Trip::default() }).await.expect("it starts");
    until("b begins", || cluster.ledger.count("c", "travel", Phase::Started) == 2).await;
    handle.cancel("rain").await.expect("it is open");
    let (status, why) = failure(&handle).await;
    assert_eq!((status, why.error_type.as_str()), (Status::Compensated, "Cancelled"));
    assert_eq!(undone(cluster, "c"), ["b", "a"]);
    // A second cancellation while it rolls back changes nothing: compensations are shielded.
    let slow = Leg { undo_gate: Some("slow".to_owned()), ..leg("s") };
    let waiting = Trip { legs: vec![leg("r"), slow], end: End::Wait, ..Trip::default() };
    let handle = client.start(trip, "d", waiting).await.expect("it starts");
    until("both are booked", || cluster.ledger.count("d", "travel", Phase::Finished) == 2).await;
    handle.cancel("rain").await.expect("it is open");
    until("s is being undone", || cluster.ledger.count("d", "return_ticket", Phase::Started) == 1).await;
    let described = cluster
        .until_described("it rolls back", &handle, |it| it.summary.status == Status::Compensating)
        .await;
    assert_eq!(states(&described), [CompensationState::Registered, CompensationState::Running]);
    let again = handle.cancel("more rain").await;
    cluster.gates.open("slow");
    assert_eq!(failure(&handle).await.0, Status::Compensated, "{again:?}");
    assert_eq!(undone(cluster, "d"), ["s", "r"]);
    // A run that times out is undone, too.
    let waiting = Trip { legs: vec![leg("t")], end: End::Wait, ..Trip::default() };
    let short = std::time::Duration::from_millis(400);
    let handle = client.start(trip, "timeout", waiting).run_timeout(short).await.expect("it starts");
    let (status, why) = failure(&handle).await;
    assert_eq!((status, why.error_type.as_str()), (Status::Compensated, "RunTimeout"));
    assert_eq!(undone(cluster, "timeout"), ["t"]);
    stage.finish().await;
}

async fn a_compensation_that_fails_for_good_waits_for_somebody(cache: Cache) {
    let stage = Stage::new("saga-stuck", cache).await;
    let (cluster, client) = (&stage.cluster, &stage.cluster.client);
    let stubborn = |name: &str, gate: &str| Leg { undo_stuck_until: Some(gate.to_owned()), ..leg(name) };
    let legs = vec![leg("a"), stubborn("b", "open-b"), stubborn("c", "open-c")];
    let handle =
        client.start(trip, "s", Trip { legs, end: End::Fail, ..Trip::default() }).await.expect("it starts");
    let stuck = cluster.until_stuck("s").await;
    assert_eq!(stuck.status, Status::Stuck);
    let described = handle.describe().await.expect("a description");
    let failed = described.compensations.iter().find(|it| it.state == CompensationState::Failed);
    let failed = failed.expect("one failed");
    let why = failed.failure.as_ref().expect("a reason");
    assert_eq!((failed.seq, why.error_type.as_str()), (3, "CounterClosed"), "{described:#?}");
    assert_eq!(undone(cluster, "s").len(), 0, "the ones before it wait");
    // Somebody decides about another step than the one that waits.
    let wrong = handle.retry_compensation(1, "?").await.expect_err("it does not wait").code();
    assert_eq!(wrong, Some(ErrorCode::NotStuck));
    // Retry in vain, then with the reason gone, then a skip for the next.
    handle.retry_compensation(3, "try again").await.expect("it waits");
    cluster.until_stuck("s").await;
    until("another attempt", || cluster.ledger.count("s", "return_ticket", Phase::Failed) >= 2).await;
    cluster.until_described("it is stuck again", &handle, |it| it.summary.status == Status::Stuck).await;
    cluster.gates.open("open-c");
    handle.retry_compensation(3, "the counter is open").await.expect("it waits");
    cluster
        .until_described("b is stuck", &handle, |it| {
            it.summary.status == Status::Stuck && it.compensations[2].state == CompensationState::Completed
        })
        .await;
    handle.skip_compensation(2, "returned by hand").await.expect("it waits");
    assert_eq!(failure(&handle).await.0, Status::Compensated);
    assert_eq!(undone(cluster, "s"), ["c", "a"]);
    let described = handle.describe().await.expect("a description");
    use CompensationState::{Completed, Skipped};
    assert_eq!(states(&described), [Completed, Skipped, Completed]);
    assert_eq!(cluster.stuck().await.len(), 0);
    stage.finish().await;
}

async fn code_can_undo_and_go_on(cache: Cache) {
    let stage = Stage::new("saga-home", cache).await;
    let legs = vec![leg("a"), leg("b")];
    let home = Trip { legs, end: End::GoHome, ..Trip::default() };
    let handle = stage.cluster.client.start(trip, "h", home).await.expect("it starts");
    assert_eq!(result(&handle).await, ["ticket of a", "ticket of b", "home"]);
    assert_eq!(undone(&stage.cluster, "h"), ["b", "a"]);
    // A signal ends the other one; what it did stays.
    let waiting = Trip { legs: vec![leg("c")], end: End::Wait, ..Trip::default() };
    let handle = stage.cluster.client.start(trip, "w", waiting).await.expect("it starts");
    handle.signal(ARRIVE, ()).await.expect("it is open");
    assert_eq!(result(&handle).await, ["ticket of c"]);
    assert_eq!(undone(&stage.cluster, "w").len(), 0);
    stage.finish().await;
}

async fn a_rollback_survives_the_death_of_everybody(cache: Cache) {
    let stage = Stage::new("saga-kill", cache).await;
    let Stage { cluster, orchestrator, worker } = stage;
    let held = Leg { undo_gate: Some("held".to_owned()), ..leg("b") };
    let legs = vec![leg("a"), held, leg("c")];
    let trip_of = Trip { legs, end: End::Fail, ..Trip::default() };
    let handle = cluster.client.start(trip, "k", trip_of).await.expect("it starts");
    until("b is being undone", || cluster.ledger.count("k", "return_ticket", Phase::Started) == 2).await;
    orchestrator.kill();
    worker.kill();
    let orchestrator = cluster.orchestrator().await;
    let described = handle.describe().await.expect("a description");
    use CompensationState::{Completed, Registered, Running};
    assert_eq!(states(&described), [Registered, Running, Completed]);
    let worker = cluster.worker(&cache.worker()).await;
    cluster.gates.open("held");
    assert_eq!(failure(&handle).await.0, Status::Compensated);
    assert_eq!(undone(&cluster, "k"), ["c", "b", "a"]);
    let once_each = cluster.ledger.count("k", "travel", Phase::Started);
    assert_eq!(once_each, 3, "no action was done again");
    let shown = cluster.ask("describe", &json!({"id": "k"})).await;
    assert_eq!(shown["ok"]["compensations"][1]["state"], "completed", "{shown}");
    Stage { cluster, orchestrator, worker }.finish().await;
}
