//! Calling activities: commands, results, options, handles, and calls that cannot be made.

use stepwell_shared::command::Command;
use stepwell_shared::failure::FailureKind;
use stepwell_shared::payload::Payload;
use stepwell_shared::retry::RetryPolicy;
use stepwell_worker_replay::{Activity, ActivityDefaults, Undo, join_all, mins, secs};

use crate::harness::{
    Double, Halve, Run, assert_holds, code, completed, failed, show, signal, started, was_cancelled,
};

/// An activity that declares nothing.
struct Bare;

impl Activity for Bare {
    type Input = String;
    type Output = ();
    const NAME: &'static str = "bare";
}

#[test]
fn a_result_moves_the_code_on() {
    let code = code(|ctx| async move {
        let two = ctx.run(Double, 1).await?;
        Ok(ctx.run(Double, two).await?)
    });
    let (mut run, asked) = Run::start(&code);
    assert_eq!(asked, ["run 1 double"]);
    assert_eq!(run.turn([completed(1, 2)]), ["run 2 double"]);
    assert_eq!(run.turn([completed(2, 4)]), ["complete 4"]);
    assert!(run.instance.closed());
}

#[test]
fn nothing_is_asked_for_before_a_call_is_awaited_or_started() {
    let code = code(|ctx| async move {
        let never = ctx.run(Double, 0);
        let later = ctx.run(Double, 1);
        let started = ctx.run(Double, 2).start();
        assert_eq!(started.seq(), Some(1));
        let sum = started.await? + later.await?;
        drop(never);
        Ok(sum)
    });
    let (mut run, asked) = Run::start(&code);
    assert_eq!(asked, ["run 1 double"]);
    assert_eq!(run.turn([completed(1, 4)]), ["run 2 double"]);
    assert_eq!(run.turn([completed(2, 2)]), ["complete 6"]);
}

#[test]
fn results_of_a_join_may_come_in_any_order_and_portion() {
    let code = code(|ctx| async move {
        let all = join_all((0..4).map(|n| ctx.run(Double, n))).await;
        Ok(all.into_iter().collect::<Result<Vec<_>, _>>()?)
    });
    let (mut run, asked) = Run::start(&code);
    assert_eq!(asked, ["run 1 double", "run 2 double", "run 3 double", "run 4 double"]);
    assert!(run.turn([completed(3, 4), completed(1, 0)]).is_empty());
    assert!(run.turn([completed(4, 6)]).is_empty());
    assert_eq!(run.turn([completed(2, 2)]), ["complete [0,2,4,6]"]);
}

#[test]
fn options_at_the_call_replace_those_of_the_activity() {
    let code = code(|ctx| async move {
        let policy = RetryPolicy { maximum_attempts: Some(9), ..RetryPolicy::default() };
        let call = ctx.run(Double, 1).retry(policy).max_attempts(3).initial_interval(secs(2));
        let call = call.backoff_coefficient(3.0).max_interval(mins(1)).jitter(0.5).non_retryable(["Bad"]);
        let call = call.queue("gpu").start_to_close(secs(60)).schedule_to_start(secs(5));
        Ok(call.schedule_to_close(mins(10)).heartbeat_timeout(secs(7)).await?)
    });
    let mut run = Run::new(&code);
    let asked = run.try_turn([started()]).unwrap();
    let [Command::RunActivity(activity)] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(activity.queue.as_str(), "gpu");
    assert_eq!(activity.input.json(), "1");
    let options = &activity.options;
    assert_eq!(options.start_to_close_ms, Some(60_000));
    assert_eq!(options.schedule_to_start_ms, Some(5_000));
    assert_eq!(options.schedule_to_close_ms, Some(600_000));
    assert_eq!(options.heartbeat_timeout_ms, Some(7_000));
    let policy = RetryPolicy {
        initial_interval_ms: 2_000,
        backoff_coefficient: 3.0,
        maximum_interval_ms: Some(60_000),
        maximum_attempts: Some(3),
        non_retryable: vec!["Bad".into()],
        jitter: 0.5,
    };
    assert_eq!(options.retry, policy);
}

#[test]
fn queue_and_compensation_come_from_the_declarations() {
    let code = code(|ctx| async move { Ok(ctx.run(Double, 1).compensate(Halve).await?) });
    let mut run = Run::new(&code);
    let asked = run.try_turn([started()]).unwrap();
    let [Command::RunActivity(activity)] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(activity.queue.as_str(), "main", "the run's own queue");
    let undo = activity.compensation.as_ref().unwrap();
    assert_eq!((undo.activity_type.as_str(), undo.queue.as_str()), ("halve", "undoing"));
    assert_eq!(undo.options.start_to_close_ms, Some(20_000));
}

#[test]
fn activities_known_by_name_take_and_return_payloads() {
    let code = code(|ctx| async move {
        let input = Payload::from_json(r#"{"a":[1]}"#.into())?;
        let output = ctx
            .run_untyped("translate", input)
            .start_to_close(secs(3))
            .compensate_untyped("forget", ActivityDefaults::start_to_close(secs(1)))
            .await?;
        Ok(output.json().to_owned())
    });
    let (mut run, asked) = Run::start(&code);
    assert_eq!(asked, ["run 1 translate undo forget"]);
    assert_eq!(run.turn([completed(1, [1, 2])]), [r#"complete "[1,2]""#]);
}

#[test]
fn a_failure_names_the_activity_and_fails_the_run_with_its_type() {
    let code = code(|ctx| async move {
        let first = ctx.run(Double, 1).await.unwrap_err();
        assert_eq!((first.activity(), first.seq(), first.error_type()), ("double", Some(1), "CardDeclined"));
        assert_eq!(first.to_string(), "activity `double` (#1): CardDeclined: it did not work");
        Ok(ctx.run(Double, 2).await?)
    });
    let (mut run, _) = Run::start(&code);
    assert_eq!(run.turn([failed(1, "CardDeclined")]), ["run 2 double"]);
    let asked = run.turn([failed(2, "Broke")]);
    assert_eq!(asked, ["fail Broke: activity `double` (#2) failed: it did not work"]);
}

#[test]
fn a_result_of_another_type_is_a_failure_of_the_call() {
    let code = code(|ctx| async move {
        let failure = ctx.run(Double, 1).await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Payload);
        Ok(failure.message().to_owned())
    });
    let (mut run, _) = Run::start(&code);
    assert_holds(&run.turn([completed(1, "two")])[0], &["not a `u64`", "invalid type: string"]);
}

#[test]
fn calls_that_cannot_be_made_fail_with_activity_and_line_and_ask_for_nothing() {
    let code = code(|ctx| async move {
        let text = || "x".to_owned();
        let failures = [
            ctx.run(Bare, text()).await.unwrap_err(),
            ctx.run(Bare, text()).start_to_close(secs(0)).await.unwrap_err(),
            ctx.run(Bare, text()).start_to_close(secs(1)).max_attempts(0).start().await.unwrap_err(),
            ctx.run(Bare, text()).start_to_close(secs(1)).backoff_coefficient(f64::NAN).await.unwrap_err(),
            ctx.run(Bare, text()).start_to_close(secs(1)).jitter(2.0).await.unwrap_err(),
            ctx.run(Bare, text()).start_to_close(secs(1)).queue("no spaces").await.unwrap_err(),
            ctx.run(Bare, "x".repeat(600_000)).start_to_close(secs(1)).await.unwrap_err(),
            ctx.run(Bare, text())
                .start_to_close(secs(1))
                .compensate_untyped("undo", ActivityDefaults::default())
                .await
                .unwrap_err(),
        ];
        let unnamed = ctx.run_untyped("", Payload::null()).start_to_close(secs(1)).await.unwrap_err();
        assert!(failures.iter().all(|failure| failure.seq().is_none() && failure.failure().non_retryable));
        let mut texts: Vec<String> = failures.iter().map(ToString::to_string).collect();
        texts.push(unnamed.to_string());
        Ok(texts)
    });
    let (_, asked) = Run::start(&code);
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_holds(
        &asked[0],
        &[
            "activity `bare`: InvalidOptions: activity `bare`, called at ",
            "activities.rs:",
            "needs start_to_close or schedule_to_close",
            "start_to_close is 0 ms",
            "maximum_attempts is 0",
            "backoff_coefficient is NaN",
            "jitter is 2",
            "holds ' '",
            "PayloadError",
            "600002 bytes",
            "its compensation `undo`: an activity needs",
            "name is empty",
        ],
    );
}

#[test]
fn a_dropped_call_is_cancelled_and_its_result_is_ignored() {
    let code = code(|ctx| async move {
        let one = ctx.run(Double, 1).start();
        let two = ctx.run(Double, 2).start();
        ctx.run(Double, 3).await?;
        drop(one);
        ctx.run(Double, 4).await?;
        drop(two);
        Ok(ctx.run(Double, 5).await?)
    });
    let (mut run, _) = Run::start(&code);
    assert_eq!(run.turn([completed(3, 6)]), ["cancel 1", "run 4 double"]);
    // The first one's result comes too late; the second one's is there before it is dropped.
    assert_eq!(run.turn([completed(1, 2), completed(2, 4), completed(4, 8)]), ["run 5 double"]);
    assert_eq!(run.turn([was_cancelled(1), completed(5, 10)]), ["complete 10"]);
}

#[test]
fn handles_cancel_at_once_or_wait_for_the_end() {
    let code = code(|ctx| async move {
        let quick = ctx.run(Double, 1).start();
        let patient = ctx.run(Double, 2).wait_on_cancel().start();
        quick.cancel();
        quick.cancel();
        assert!(quick.await.unwrap_err().is_cancelled());
        patient.cancel();
        Ok(patient.await?)
    });
    let (mut run, asked) = Run::start(&code);
    assert_eq!(asked, ["run 1 double", "run 2 double", "cancel 1", "cancel 2"]);
    assert!(run.turn([was_cancelled(1)]).is_empty());
    let mut twin = run.replayed();
    // It ended in its own way before the cancellation reached it.
    assert_eq!(run.turn([completed(2, 4)]), ["complete 4"]);
    // A cancellation that nobody asked of the run fails it.
    let asked = show(&twin.turn(&[was_cancelled(2)], 2_000_000, 3).unwrap());
    assert_holds(&asked[0], &["fail Cancelled", "nobody had asked the run to stop"]);
}

#[test]
fn cancelling_wakes_whoever_waits_for_it() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    const STOP: stepwell_worker_replay::Signal<()> = stepwell_worker_replay::Signal::new("stop");
    let code = code(|ctx| async move {
        let handle = ctx.run(Double, 1).start();
        let seen = Arc::new(AtomicBool::new(false));
        let watcher =
            async { ctx.wait_until(|| seen.load(Ordering::Relaxed)).await.map(|()| handle.cancel()) };
        let other = async {
            ctx.receive(STOP).await?;
            seen.store(true, Ordering::Relaxed);
            Ok::<_, stepwell_worker_replay::WaitError>(())
        };
        let (watched, received) = stepwell_worker_replay::join!(watcher, other);
        watched?;
        received?;
        Ok(handle.await.unwrap_err().is_cancelled())
    });
    let (mut run, _) = Run::start(&code);
    // The cancellation is the last thing before the end, which cancels by itself.
    assert_eq!(run.turn([signal("stop", ())]), ["complete true"]);
}

#[test]
fn what_is_open_when_the_code_returns_is_left_to_the_end_of_the_run() {
    let code = code(|ctx| async move {
        let open = ctx.run(Double, 1).start();
        ctx.run(Double, 2).await?;
        drop(open);
        Ok(())
    });
    let (mut run, _) = Run::start(&code);
    assert_eq!(run.turn([completed(2, 4)]), ["complete null"]);
}

#[test]
fn undo_inputs_read_as_their_wire_form() {
    let undo = Undo { input: 1u64, output: Some(2u64), idempotency_key: "run-1/1".into() };
    let payload = Payload::encode(&undo).unwrap();
    assert_eq!(payload.decode::<<Halve as Activity>::Input>().unwrap(), undo);
}
