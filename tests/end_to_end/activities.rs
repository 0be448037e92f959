//! Activities: types, retries, shared state, slots, keys.

use serde_json::json;
use stepwell::FailureKind;
use stepwell::RetryPolicy;
use stepwell::shared::history::Event;
use stepwell_tests::activities::{Flaky, OCCUPIED};
use stepwell_tests::checks::most_at_once;
use stepwell_tests::ledger::Phase;
use stepwell_tests::patience::until;
use stepwell_tests::processes::Process;
use stepwell_tests::workflows::Settled;
use stepwell_tests::workflows::activities::{Call, Sum, one_activity, serves, typed};
use stepwell_tests::workflows::concurrency::mapped;

use crate::stage::{Cache, Stage, result, together, warm_and_cold};

warm_and_cold!(
    types_go_in_and_come_out,
    methods_share_the_state_of_their_worker,
    attempts_are_repeated_as_the_policy_says,
    a_key_is_the_same_for_every_attempt_and_for_no_other_step,
    a_worker_never_runs_more_than_it_has_slots,
);

async fn types_go_in_and_come_out(cache: Cache) {
    let stage = Stage::new("types", cache).await;
    let client = &stage.cluster.client;
    let sum = Sum { numbers: vec![1, -2, 10], words: ("a\"b".to_owned(), "ü\n".to_owned()) };
    let handle = client.start(typed, "t", sum).await.expect("it starts");
    let summed = result(&handle).await;
    assert_eq!((summed.total, summed.text.as_str()), (18, "a\"bü\n"));
    let Settled::Failed { message, .. } = summed.boundless else { panic!("it has no timeout") };
    assert!(message.contains("start_to_close or schedule_to_close"), "{message}");
    assert!(message.contains("boundless"), "{message}");
    // What an activity cannot read, and what it does when it panics, are failures with a name.
    let unreadable = Call::of("double", json!("two"));
    let handle = client.start(one_activity, "unreadable", unreadable).await.expect("it starts");
    let Settled::Failed { kind, message, .. } = result(&handle).await else { panic!("two is no number") };
    assert_eq!(kind, FailureKind::Payload);
    assert!(message.contains("the input of activity `double` is not a `i64`"), "{message}");
    let mut panics = Call::of("explode", json!("boom 7"));
    panics.retry.maximum_attempts = Some(2);
    let handle = client.start(one_activity, "panics", panics).await.expect("it starts");
    let Settled::Failed { kind, message, .. } = result(&handle).await else { panic!("it panics") };
    assert_eq!(kind, FailureKind::Panic);
    assert!(message.contains("boom 7"), "{message}");
    stage.finish().await;
}

async fn methods_share_the_state_of_their_worker(cache: Cache) {
    let stage = Stage::new("methods", cache).await;
    let client = &stage.cluster.client;
    let handle = client.start(serves, "s", 5).await.expect("it starts");
    let pid = stage.worker.pid();
    assert_eq!(result(&handle).await, [(pid, 1), (pid, 2), (pid, 3), (pid, 4), (pid, 5)]);
    let handle = client.start(serves, "again", 1).await.expect("it starts");
    assert_eq!(result(&handle).await, [(pid, 6)]);
    stage.finish().await;
}

/// A flaky call: failures, limit of attempts, what it says, what the policy says; and how many attempts are
/// made.
struct Case {
    id: &'static str,
    plan: Flaky,
    retry: RetryPolicy,
    attempts: usize,
    completes: bool,
}

async fn attempts_are_repeated_as_the_policy_says(cache: Cache) {
    let stage = Stage::new("retries", cache).await;
    let (client, ledger) = (&stage.cluster.client, &stage.cluster.ledger);
    let policy = Call::of("", json!(null)).retry;
    let flaky = |failures| Flaky {
        failures,
        error_type: "Busy".to_owned(),
        non_retryable: false,
        retry_after_ms: None,
    };
    let limit = |attempts| RetryPolicy { maximum_attempts: Some(attempts), ..policy.clone() };
    let cases = [
        Case { id: "third", plan: flaky(2), retry: policy.clone(), attempts: 3, completes: true },
        Case { id: "limit", plan: flaky(9), retry: limit(4), attempts: 4, completes: false },
        Case { id: "just-in-time", plan: flaky(3), retry: limit(4), attempts: 4, completes: true },
        Case { id: "once", plan: flaky(1), retry: limit(1), attempts: 1, completes: false },
        Case {
            id: "useless",
            plan: Flaky { non_retryable: true, ..flaky(9) },
            retry: policy.clone(),
            attempts: 1,
            completes: false,
        },
        Case {
            id: "listed",
            plan: flaky(9),
            retry: RetryPolicy { non_retryable: vec!["Rude".into(), "Busy".into()], ..policy.clone() },
            attempts: 1,
            completes: false,
        },
        Case {
            // The policy alone would wait for an hour.
            id: "asked-for-less",
            plan: Flaky { retry_after_ms: Some(10), ..flaky(2) },
            retry: RetryPolicy { initial_interval_ms: 3_600_000, ..policy.clone() },
            attempts: 3,
            completes: true,
        },
        Case {
            id: "growing",
            plan: flaky(4),
            retry: RetryPolicy {
                initial_interval_ms: 20,
                backoff_coefficient: 3.0,
                maximum_interval_ms: Some(100),
                ..policy.clone()
            },
            attempts: 5,
            completes: true,
        },
    ];
    together(cases.into_iter().map(|case| async move {
        let call = Call { retry: case.retry, ..Call::of("flaky", json!(case.plan)) };
        let handle = client.start(one_activity, case.id, call).await.expect("it starts");
        match result(&handle).await {
            Settled::Ok(value) => {
                assert!(case.completes, "{} completed", case.id);
                assert_eq!(value[0], case.attempts, "{}", case.id);
            }
            Settled::Failed { kind, error_type, message, details } => {
                assert!(!case.completes, "{} failed", case.id);
                assert_eq!((kind, error_type.as_str()), (FailureKind::Application, "Busy"));
                assert_eq!(message, format!("attempt {}", case.attempts));
                assert_eq!(details, Some(json!(case.attempts)));
            }
        }
        assert_eq!(ledger.count(case.id, "flaky", Phase::Started), case.attempts, "{}", case.id);
    }))
    .await;
    let growing = waits_between_attempts(&stage, "growing").await;
    assert_eq!(growing, [20, 60, 100, 100]);
    let asked = waits_between_attempts(&stage, "asked-for-less").await;
    assert_eq!(asked, [10, 10]);
    stage.finish().await;
}

/// How long each next attempt was to wait, as recorded, in milliseconds.
async fn waits_between_attempts(stage: &Stage, id: &str) -> Vec<u64> {
    let records = stage.cluster.client.workflow_untyped(id).history().await.expect("a history");
    let events =
        records.iter().flat_map(|record| record.events.iter().map(move |event| (record.at_ms, event)));
    let waits = events.filter_map(|(at_ms, event)| match event {
        Event::AttemptFailed { retry_at_ms, .. } => Some(retry_at_ms - at_ms),
        _ => None,
    });
    waits.collect()
}

async fn a_key_is_the_same_for_every_attempt_and_for_no_other_step(cache: Cache) {
    let stage = Stage::new("keys", cache).await;
    let (client, ledger) = (&stage.cluster.client, &stage.cluster.ledger);
    let plan = Flaky { failures: 3, error_type: "Busy".into(), non_retryable: false, retry_after_ms: None };
    for id in ["a", "b"] {
        let call = Call::of("flaky", json!(plan));
        let handle = client.start(one_activity, id, call).await.expect("it starts");
        let Settled::Ok(value) = result(&handle).await else { panic!("the fourth attempt succeeds") };
        let keys: Vec<_> = ledger
            .read()
            .into_iter()
            .filter(|entry| entry.workflow_id == id)
            .map(|entry| entry.key)
            .collect();
        assert_eq!(keys.len(), 8);
        assert!(keys.iter().all(|key| value[1] == **key), "{keys:?} {value}");
    }
    let mut keys: Vec<_> = ledger.read().into_iter().map(|entry| entry.key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 2, "{keys:?}");
    stage.finish().await;
}

async fn a_worker_never_runs_more_than_it_has_slots(cache: Cache) {
    let stage = Stage::with("slots", &cache.worker().slots(3)).await;
    let second = stage.cluster.worker(&cache.worker().slots(2)).await;
    let client = &stage.cluster.client;
    let handle = client.start(mapped, "m", (60, 60)).await.expect("it starts");
    let most_of = |worker: &Process| {
        let entries = stage.cluster.ledger.read().into_iter();
        most_at_once(&entries.filter(|entry| entry.pid == worker.pid()).collect::<Vec<_>>(), "occupy")
    };
    // Nothing ends before every slot is taken.
    until("no slot to stay empty", || (most_of(&stage.worker), most_of(&second)) == (3, 2)).await;
    stage.cluster.gates.open(OCCUPIED);
    assert_eq!(result(&handle).await, (0..60).collect::<Vec<_>>());
    assert_eq!((most_of(&stage.worker), most_of(&second)), (3, 2), "no more than there are slots");
    second.stop().await;
    stage.finish().await;
}
