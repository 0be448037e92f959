//! Compensation in the middle of the code, and pivots.

use stepwell_worker_replay::{Either, Signal, join};

use crate::harness::{Double, Halve, Run, cancel, code, compensated, completed, signal};

const GO: Signal<u64> = Signal::new("go");

#[test]
fn compensating_waits_for_its_end() {
    let code = code(|ctx| async move {
        ctx.run(Double, 1).compensate(Halve).await?;
        ctx.compensate().await?;
        ctx.pivot();
        Ok(ctx.run(Double, 2).await?)
    });
    let (mut run, asked) = Run::start(&code);
    assert_eq!(asked, ["run 1 double undo halve"]);
    assert_eq!(run.turn([completed(1, 2)]), ["compensate 2"]);
    assert_eq!(run.turn([compensated(2)]), ["pivot 3", "run 4 double"]);
}

#[test]
fn compensations_that_run_are_waited_for_before_others_are_asked_for() {
    let code = code(|ctx| async move {
        let (a, b) = join!(ctx.compensate(), ctx.compensate());
        a?;
        b?;
        Ok(())
    });
    let (mut run, asked) = Run::start(&code);
    assert_eq!(asked, ["compensate 1"]);
    assert_eq!(run.turn([compensated(1)]), ["compensate 2"]);
    assert_eq!(run.turn([compensated(2)]), ["complete null"]);
}

#[test]
fn compensations_go_on_when_nobody_waits_for_them_any_more() {
    let code = code(|ctx| async move {
        match ctx.race(ctx.compensate(), ctx.receive(GO)).await {
            Either::Left(undone) => undone?,
            Either::Right(number) => drop(number?),
        }
        ctx.compensate().await?;
        Ok(())
    });
    let (mut run, asked) = Run::start(&code);
    assert_eq!(asked, ["compensate 1"]);
    assert_eq!(run.turn([signal("go", 1)]), ["race 2 1"]);
    assert_eq!(run.turn([compensated(1)]), ["compensate 3"]);
    assert_eq!(run.turn([compensated(3)]), ["complete null"]);
}

#[test]
fn a_request_to_stop_ends_the_wait_but_calls_nothing_off() {
    let code = code(|ctx| async move {
        let ended = ctx.compensate().await;
        ctx.shielded().compensate().await?;
        Ok(ended?)
    });
    let (mut run, asked) = Run::start(&code);
    assert_eq!(asked, ["compensate 1"]);
    assert!(run.turn([cancel()]).is_empty());
    assert_eq!(run.turn([compensated(1)]), ["compensate 2"]);
    assert_eq!(run.turn([compensated(2)]), ["cancelled Cancelled: changed my mind"]);
}
