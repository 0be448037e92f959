//! Code that does something else than history says is told so, with both sides.

use stepwell_shared::history::StallKind;
use stepwell_worker_replay::{Either, Signal, WorkflowCode, WorkflowContext, WorkflowError, mins, secs};

use crate::harness::{Double, Halve, Run, assert_holds, code, completed, fired, signal, stall};

const GO: Signal<u64> = Signal::new("go");

/// The code that the run started with: two records with turns, and the end.
fn original() -> Run {
    let code = code(|ctx| async move {
        ctx.run(Double, 1).await?;
        let timer = ctx.sleep(secs(30));
        let call = ctx.run(Double, 2).queue("gpu");
        match ctx.race(call, timer).await {
            Either::Left(output) => drop(output?),
            Either::Right(slept) => slept?,
        }
        ctx.run(Double, 3).await?;
        Ok(())
    });
    let (mut run, _) = Run::start(&code);
    assert_eq!(run.turn([completed(1, 2)]), ["run 2 double", "timer 3 30000"]);
    assert_eq!(run.turn([completed(2, 4)]), ["race 4 0", "cancel_timer 3", "run 5 double"]);
    assert_eq!(run.turn([completed(5, 6)]), ["complete null"]);
    run
}

fn mismatch(changed: &WorkflowCode) -> String {
    let (kind, text) = stall(original().replay_with(changed));
    assert_eq!(kind, StallKind::Nondeterminism, "{text}");
    assert_holds(&text, &["the code does not do what history says it did", "Deploy the code", "ctx.now"]);
    text
}

async fn rest_of_original(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    match ctx.race(ctx.run(Double, 2).queue("gpu"), ctx.sleep(secs(30))).await {
        Either::Left(output) => drop(output?),
        Either::Right(slept) => slept?,
    }
    ctx.run(Double, 3).await?;
    Ok(())
}

#[test]
fn inputs_delays_and_options_may_change() {
    let changed = code(|ctx| async move {
        ctx.run(Double, 100).max_attempts(1).compensate(Halve).await?;
        match ctx.race(ctx.run(Double, 7).queue("gpu").start_to_close(secs(1)), ctx.sleep(mins(9))).await {
            Either::Left(output) => drop(output?),
            Either::Right(slept) => slept?,
        }
        Ok(ctx.run(Double, 8).await?)
    });
    original().replay_with(&changed).unwrap();
}

#[test]
fn another_kind_of_command() {
    let changed = code(|ctx| async move {
        ctx.run(Double, 1).await?;
        ctx.sleep(secs(30)).await?;
        Ok(())
    });
    let text = mismatch(&changed);
    assert_holds(
        &text,
        &[
            "Record 2, command 1: history has run_activity #2 `double` on queue `gpu`; \
             the code did start_timer #2 30s (at ",
            "nondeterminism.rs:",
            "\n>      1 run_activity #2 `double` on queue `gpu`  start_timer #2 30s\n",
            "\n       2 start_timer #3 30s                       -\n",
        ],
    );
}

#[test]
fn another_activity_or_queue() {
    let other = code(|ctx| async move {
        let input = stepwell_shared::payload::Payload::null();
        ctx.run_untyped("treble", input).start_to_close(secs(1)).await?;
        Ok(())
    });
    assert_holds(
        &mismatch(&other),
        &[
            "Record 1, command 1: history has run_activity #1 `double` on queue `main`; the code did run_activity #1 `treble` on queue `main`",
        ],
    );
    let elsewhere = code(|ctx| async move {
        ctx.run(Double, 1).queue("cpu").await?;
        Ok(())
    });
    assert_holds(
        &mismatch(&elsewhere),
        &["on queue `main`; the code did run_activity #1 `double` on queue `cpu`"],
    );
}

#[test]
fn one_command_more_and_one_less() {
    let more = code(|ctx| async move {
        ctx.run(Double, 1).await?;
        let extra = ctx.shielded();
        let (result, _) = futures_util::join!(rest_of_original(ctx), extra.run(Double, 9));
        result
    });
    assert_holds(
        &mismatch(&more),
        &["Record 2, command 3: history has nothing more; the code did run_activity #4 `double`"],
    );
    let less = code(|ctx| async move {
        ctx.run(Double, 1).await?;
        ctx.run(Double, 2).queue("gpu").await?;
        Ok(())
    });
    assert_holds(
        &mismatch(&less),
        &["Record 2, command 2: history has start_timer #3 30s; the code did nothing more"],
    );
}

#[test]
fn another_winner() {
    let changed = code(|ctx| async move {
        ctx.run(Double, 1).await?;
        let (call, timer) = (ctx.run(Double, 2).queue("gpu"), ctx.sleep(secs(30)));
        let mut timer = Box::pin(timer);
        let mut call = Box::pin(call);
        // Begun in the old order, raced in the new one.
        let _ = futures_util::poll!(&mut call);
        ctx.race(&mut timer, &mut call).await;
        Ok(())
    });
    assert_holds(
        &mismatch(&changed),
        &["Record 3, command 1: history has race_won #4 by branch 0; the code did race_won #4 by branch 1"],
    );
}

#[test]
fn another_number() {
    let changed = code(|ctx| async move {
        ctx.run(Double, 1).await?;
        match ctx.race(ctx.run(Double, 2).queue("gpu"), ctx.sleep(secs(30))).await {
            Either::Left(output) => drop(output?),
            Either::Right(slept) => slept?,
        }
        // The loser is cancelled by the race; here the order of the two calls is another.
        ctx.pivot();
        ctx.run(Double, 3).await?;
        Ok(())
    });
    assert_holds(
        &mismatch(&changed),
        &["Record 3, command 3: history has run_activity #5 `double` on queue `main`; the code did pivot #5"],
    );
}

#[test]
fn another_end_and_an_end_too_early() {
    let failing = code(|ctx| async move {
        ctx.run(Double, 1).await?;
        rest_of_original(ctx).await?;
        Err::<(), _>(WorkflowError::new("Other", "x".repeat(500)))
    });
    let text = mismatch(&failing);
    assert_holds(
        &text,
        &["Record 4, command 1: history has complete_run; the code did fail_run (Other: xxx", "…)"],
    );
    let early = code(|ctx| async move { Ok(ctx.run(Double, 1).await?) });
    assert_holds(
        &mismatch(&early),
        &[
            "Record 2, command 1: history has run_activity #2 `double` on queue `gpu`; the code did complete_run",
        ],
    );
}

#[test]
fn an_end_too_late() {
    let late = code(|ctx| async move {
        ctx.run(Double, 1).await?;
        rest_of_original(ctx.clone()).await?;
        Ok(ctx.receive(GO).await?)
    });
    assert_holds(
        &mismatch(&late),
        &["Record 4, command 1: history has complete_run; the code did nothing more"],
    );
}

#[test]
fn only_the_neighbourhood_of_the_difference_is_shown() {
    let wide = |odd: u64| {
        code(move |ctx| async move {
            for n in 0..500 {
                if n == odd {
                    ctx.pivot();
                }
                ctx.sleep(secs(n)).await?;
            }
            Ok(())
        })
    };
    let many = |odd: usize| {
        code(move |ctx| async move {
            let started: Vec<_> = (0..500)
                .map(|n| {
                    if n == odd {
                        ctx.pivot();
                    }
                    ctx.run(Double, n as u64).start()
                })
                .collect();
            futures_util::future::join_all(started).await;
            Ok(())
        })
    };
    let run = Run::start(&many(1_000)).0;
    let text = stall(run.replay_with(&many(250))).1;
    assert_eq!(text.lines().count(), 2 + 7 + 1, "{text}");
    assert_holds(&text, &["Record 1, command 251", "\n     248 run", "\n>    251 run", "\n     254 run"]);
    let mut run = Run::start(&wide(1_000)).0;
    run.turn([fired(1)]);
    assert_holds(&stall(run.replay_with(&wide(1))).1, &["Record 2, command 1", "pivot #2"]);
}

#[test]
fn a_signal_in_the_wrong_place_is_not_the_codes_fault() {
    let code = code(|ctx| async move { Ok(ctx.receive(GO).await?) });
    let (mut run, _) = Run::start(&code);
    assert_eq!(run.turn([signal("go", 1)]), ["complete 1"]);
    run.replay_with(&code).unwrap();
}
