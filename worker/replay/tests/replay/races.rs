//! Races: the winner is recorded, the losers are cancelled after it.

use stepwell_shared::history::StallKind;
use stepwell_worker_replay::{Either, Signal, secs};

use crate::harness::{Double, Run, assert_holds, code, completed, fired, signal, stall, started};

const GO: Signal<u64> = Signal::new("go");

#[test]
fn the_winner_is_recorded_before_the_loser_is_cancelled() {
    let code = code(|ctx| async move {
        let won = match ctx.race(ctx.run(Double, 1), ctx.sleep(secs(60))).await {
            Either::Left(output) => output?,
            Either::Right(slept) => slept.map(|()| 0)?,
        };
        Ok(ctx.run(Double, won).await?)
    });
    let (mut run, asked) = Run::start(&code);
    assert_eq!(asked, ["run 1 double", "timer 2 60000"]);
    let mut other = Run::start(&code).0;
    assert_eq!(run.turn([completed(1, 2)]), ["race 3 0", "cancel_timer 2", "run 4 double"]);
    assert_eq!(other.turn([fired(2)]), ["race 3 1", "cancel 1", "run 4 double"]);
    assert_eq!(other.turn([completed(1, 2), completed(4, 0)]), ["complete 0"]);
}

#[test]
fn ties_go_to_the_first() {
    let code = code(|ctx| async move {
        let sleeps = (1..4).map(|n| ctx.sleep(secs(n)));
        let (winner, slept) = ctx.race_all(sleeps).await;
        slept?;
        ctx.run(Double, winner as u64).await?;
        Ok(winner)
    });
    let (mut run, asked) = Run::start(&code);
    assert_eq!(asked, ["timer 1 1000", "timer 2 2000", "timer 3 3000"]);
    assert_eq!(run.turn([fired(3), fired(2)]), ["race 4 1", "cancel_timer 1", "run 5 double"]);
    assert_eq!(run.turn([completed(5, 2)]), ["complete 1"]);
}

#[test]
fn a_branch_that_is_ready_at_once_wins_before_others_begin() {
    let code = code(|ctx| async move {
        let ready = async { 7 };
        match ctx.race(ready, ctx.run(Double, 1)).await {
            Either::Left(seven) => Ok(seven),
            Either::Right(_) => Ok(0),
        }
    });
    let mut run = Run::new(&code);
    assert_eq!(run.turn([started()]), ["race 1 0", "complete 7"]);
}

#[test]
fn races_nest() {
    let code = code(|ctx| async move {
        let inner = ctx.race(ctx.receive(GO), ctx.sleep(secs(5)));
        match ctx.race(inner, ctx.sleep(secs(9))).await {
            Either::Left(Either::Left(number)) => Ok(number?),
            Either::Left(Either::Right(_)) => Ok(5),
            Either::Right(_) => Ok(9),
        }
    });
    let (mut run, asked) = Run::start(&code);
    assert_eq!(asked, ["timer 1 5000", "timer 2 9000"]);
    assert_eq!(run.turn([signal("go", 3)]), ["race 3 0", "cancel_timer 1", "race 4 0", "complete 3"]);
}

#[test]
fn a_race_without_branches_is_reported_with_its_line() {
    let code = code(|ctx| async move {
        let (winner, ()) = ctx.race_all(Vec::<std::future::Ready<()>>::new()).await;
        Ok(winner)
    });
    let (kind, text) = stall(Run::new(&code).try_turn([started()]));
    assert_eq!(kind, StallKind::InvalidTurn);
    assert_holds(&text, &["race_all at", "races.rs:", "no branch"]);
}
