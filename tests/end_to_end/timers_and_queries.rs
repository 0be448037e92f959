//! Timers, also those that come due while nobody is there; queries, also of runs that are closed.

use stepwell::shared::error_code::ErrorCode;
use stepwell::{Query, Status};
use stepwell_tests::ledger::now_ms;
use stepwell_tests::patience::{eventually, until};
use stepwell_tests::workflows::lifecycle::waits;
use stepwell_tests::workflows::waiting::{NUMBER, PLUS, PROGRESS, answers, naps};

use crate::stage::{Cache, Stage, failure, result, together, warm_and_cold};

warm_and_cold!(
    timers_fire_and_never_early,
    a_timer_that_came_due_while_nobody_was_there_fires,
    queries_are_answered_live_and_after_the_end,
);

async fn timers_fire_and_never_early(cache: Cache) {
    let stage = Stage::new("timers", cache).await;
    let client = &stage.cluster.client;
    let ids: Vec<String> = (0..20).map(|number| format!("n{number}")).collect();
    let wanted = [0, 1, 30, 7, 120];
    together(ids.iter().map(|id| async move {
        let handle = client.start(naps, id, wanted.to_vec()).await.expect("it starts");
        let took = result(&handle).await;
        assert!(took.iter().zip(wanted).all(|(took, wanted)| *took >= u128::from(wanted)), "{took:?}");
    }))
    .await;
    // One that is longer than anybody waits, and is not in the way of a cancellation.
    let century = client.start(naps, "century", vec![99 * 365 * 24 * 3_600_000]).await.expect("it starts");
    let described =
        stage.cluster.until_described("a timer", &century, |it| !it.pending_timers.is_empty()).await;
    assert_eq!(described.summary.status, Status::Running);
    century.cancel("too long").await.expect("it is open");
    assert_eq!(failure(&century).await.0, Status::Cancelled);
    stage.finish().await;
}

async fn a_timer_that_came_due_while_nobody_was_there_fires(cache: Cache) {
    let Stage { cluster, mut orchestrator, worker } = Stage::new("timer-down", cache).await;
    // Twice as long each time, until the orchestrator dies before it is due.
    let mut nap_ms = 1_500;
    let (handle, due_ms) = loop {
        let id = format!("n{nap_ms}");
        let handle = cluster.client.start(naps, id, vec![nap_ms, 5]).await.expect("it starts");
        let described = cluster
            .until_described("a timer or the end", &handle, |it| {
                !it.pending_timers.is_empty() || it.summary.status.closed()
            })
            .await;
        orchestrator.kill();
        match described.pending_timers.first() {
            Some(timer) if now_ms() < timer.due_ms => break (handle, timer.due_ms),
            _ => {}
        }
        nap_ms *= 2;
        assert!(nap_ms < 60_000, "the orchestrator cannot be killed in half a minute");
        orchestrator = cluster.orchestrator().await;
        result(&handle).await;
    };
    until("the timer is due", || now_ms() > due_ms).await;
    let orchestrator = cluster.orchestrator().await;
    assert_eq!(result(&handle).await.len(), 2);
    Stage { cluster, orchestrator, worker }.finish().await;
}

async fn queries_are_answered_live_and_after_the_end(cache: Cache) {
    let stage = Stage::new("queries", cache).await;
    let client = &stage.cluster.client;
    let handle = client.start(answers, "q", ()).await.expect("it starts");
    assert_eq!(handle.query(PROGRESS, ()).await.as_deref(), Ok("waiting"));
    for number in [5, 6] {
        handle.signal(NUMBER, number).await.expect("it is open");
    }
    stage.cluster.until_described("both are taken", &handle, |it| it.summary.history_length >= 2).await;
    eventually("both are counted", || async {
        (handle.query(PROGRESS, ()).await.as_deref() == Ok("got 6")).then_some(())
    })
    .await;
    assert_eq!(handle.query(PLUS, (1, 2)).await, Ok(5));
    let before = handle.history().await.expect("a history").len();
    let unknown = handle.query(Query::<(), i64>::new("unheard_of"), ()).await.expect_err("no such query");
    assert_eq!(unknown.code(), Some(ErrorCode::QueryFailed));
    let text = unknown.to_string();
    assert!(text.contains("unheard_of") && text.contains("plus") && text.contains("progress"), "{text}");
    let mistaken = handle.query_untyped("plus", "one and two").await.expect_err("not two numbers");
    assert_eq!(mistaken.code(), Some(ErrorCode::QueryFailed));
    assert_eq!(handle.history().await.expect("a history").len(), before, "questions leave no trace");
    handle.signal(NUMBER, -1).await.expect("it is open");
    assert_eq!(result(&handle).await, 2);
    assert_eq!(handle.query(PROGRESS, ()).await.as_deref(), Ok("done"));
    // By a worker that never saw the run.
    let Stage { cluster, orchestrator, worker } = stage;
    worker.kill();
    let absent = handle.query(PROGRESS, ()).await.expect_err("nobody is there");
    assert!(absent.to_string().contains("no worker"), "{absent}");
    let worker = cluster.worker(&cache.worker()).await;
    assert_eq!(handle.query(PLUS, (40, 0)).await, Ok(42));
    let missing = cluster.client.workflow(waits, "nobody").query(PROGRESS, ()).await;
    assert_eq!(missing.expect_err("no such workflow").code(), Some(ErrorCode::NotFound));
    Stage { cluster, orchestrator, worker }.finish().await;
}
