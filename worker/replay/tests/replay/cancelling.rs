//! Requests to stop and run timeouts: what ends, what does not, and how the code accepts it.

use stepwell_worker_replay::{Cancelled, Either, Query, Signal, WaitError, WorkflowError, join, secs};

use crate::harness::{
    Double, Run, assert_holds, cancel, code, completed, fired, signal, started, timed_out, was_cancelled,
};

const GO: Signal<u64> = Signal::new("go");

#[test]
fn a_request_to_stop_ends_every_wait_and_is_accepted_by_returning_it() {
    let code = code(|ctx| async move {
        let (a, b, c, d) = join!(
            ctx.run(Double, 1),
            ctx.sleep(secs(1)),
            ctx.receive(GO),
            ctx.wait_until(|| false).timeout(secs(2))
        );
        assert!(a.as_ref().unwrap_err().is_cancelled());
        assert_eq!((&b, &c, &d), (&Err(Cancelled), &Err(WaitError::Cancelled), &Err(WaitError::Cancelled)));
        assert_eq!((ctx.is_cancelled(), ctx.cancel_reason().as_deref()), (true, Some("changed my mind")));
        a?;
        Ok(())
    });
    let (mut run, _) = Run::start(&code);
    assert_eq!(run.turn([cancel()]), ["cancelled Cancelled: changed my mind"]);
}

#[test]
fn a_run_timeout_is_accepted_in_the_same_way() {
    let code = code(|ctx| async move { Ok(ctx.sleep(secs(1)).await?) });
    let (mut run, _) = Run::start(&code);
    assert_eq!(run.turn([timed_out(), cancel()]), ["cancelled RunTimeout: took longer than 1h"]);
}

#[test]
fn cleaning_up_is_shielded() {
    let code = code(|ctx| async move {
        let held = ctx.run(Double, 1).start();
        let Err(error) = ctx.run(Double, 2).await else { return Ok(0) };
        // New calls that are not shielded end at once and ask for nothing.
        assert!(ctx.run(Double, 3).await.unwrap_err().is_cancelled());
        assert_eq!(ctx.sleep(secs(1)).await, Err(Cancelled));
        assert_eq!(ctx.compensate().await, Err(Cancelled));
        assert_eq!(ctx.receive(GO).timeout(secs(3)).await, Err(WaitError::Cancelled));
        assert!(held.await.unwrap_err().is_cancelled());
        let shielded = ctx.shielded();
        shielded.run(Double, 4).await?;
        shielded.sleep(secs(5)).await?;
        assert_eq!(shielded.receive(GO).await, Ok(6));
        Err(error.into())
    });
    let (mut run, _) = Run::start(&code);
    assert_eq!(run.turn([cancel()]), ["cancel 1", "cancel 2", "run 3 double"]);
    assert_eq!(run.turn([was_cancelled(1), completed(3, 8), cancel()]), ["timer 4 5000"]);
    assert!(run.turn([fired(4), was_cancelled(2)]).is_empty());
    assert_eq!(run.turn([signal("go", 6)]), ["cancelled Cancelled: changed my mind"]);
}

#[test]
fn what_was_begun_under_a_shield_goes_on() {
    let code = code(|ctx| async move {
        let shielded = ctx.shielded();
        let (inside, outside) = join!(shielded.run(Double, 1), ctx.run(Double, 2));
        assert!(outside.unwrap_err().is_cancelled());
        Ok(inside?)
    });
    let (mut run, _) = Run::start(&code);
    assert_eq!(run.turn([cancel()]), ["cancel 2"]);
    assert_eq!(run.turn([completed(1, 2)]), ["complete 2"]);
}

#[test]
fn a_result_of_the_same_turn_is_kept_whatever_the_order() {
    let code = code(|ctx| async move {
        let one = ctx.run(Double, 1).await?;
        let two = ctx.receive(GO).await?;
        ctx.shielded().run(Double, one + two).await?;
        Ok(())
    });
    let (mut run, _) = Run::start(&code);
    assert_eq!(run.turn([cancel(), completed(1, 2), signal("go", 3)]), ["run 2 double"]);
    assert_eq!(run.turn([completed(2, 10)]), ["complete null"], "the code may also go on as if nothing were");
}

#[test]
fn waiting_on_cancel_ends_with_whatever_the_activity_ended_with() {
    let code = code(|ctx| async move {
        let (a, b) = join!(ctx.run(Double, 1).wait_on_cancel(), ctx.run(Double, 2).wait_on_cancel());
        assert_eq!(b, Ok(4));
        a?;
        Ok(())
    });
    let (mut run, _) = Run::start(&code);
    assert_eq!(run.turn([cancel()]), ["cancel 1", "cancel 2"]);
    assert!(run.turn([completed(2, 4)]).is_empty());
    assert_eq!(run.turn([was_cancelled(1)]), ["cancelled Cancelled: changed my mind"]);
}

#[test]
fn the_request_can_be_waited_for_and_raced() {
    let code = code(|ctx| async move {
        let patient = ctx.shielded();
        match ctx.race(patient.run(Double, 1), ctx.cancelled()).await {
            Either::Left(output) => Ok(output?),
            Either::Right(()) => Err(WorkflowError::new("Stopped", "while doubling")),
        }
    });
    let (mut run, _) = Run::start(&code);
    assert_eq!(run.turn([cancel()]), ["race 2 1", "fail Stopped: while doubling"]);
}

#[test]
fn a_request_that_comes_before_the_first_turn_counts() {
    let code = code(|ctx| async move {
        ctx.cancelled().await;
        Ok(ctx.run(Double, 1).await?)
    });
    let mut run = Run::new(&code);
    assert_eq!(run.turn([started(), cancel()]), ["cancelled Cancelled: changed my mind"]);
}

#[test]
fn an_activity_cancelled_on_its_own_fails_the_run() {
    let code = code(|ctx| async move { Ok(ctx.run(Double, 1).await?) });
    let (mut run, _) = Run::start(&code);
    assert_holds(&run.turn([was_cancelled(1)])[0], &["fail Cancelled", "nobody had asked"]);
}

#[test]
fn queries_are_answered_while_cleaning_up() {
    const PHASE: Query<(), &str> = Query::new("phase");
    let code = code(|ctx| async move {
        let phase = ctx.answer(PHASE, "working");
        let ended = ctx.sleep(secs(1)).await;
        phase.set("cleaning up");
        ctx.shielded().run(Double, 1).await?;
        Ok(ended?)
    });
    let (mut run, _) = Run::start(&code);
    run.turn([cancel()]);
    assert_eq!(run.query(PHASE, &()).unwrap(), r#""cleaning up""#);
}
