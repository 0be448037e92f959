//! The bounds of one turn and one run.

use stepwell_shared::history::StallKind;
use stepwell_shared::limits::{MAX_PENDING_STEPS, MAX_TURN_COMMANDS};
use stepwell_worker_replay::{Signal, join_all, secs};

use crate::harness::{Double, assert_holds, cancel, code, instance, show, signal, stall, started};

const GO: Signal<u64> = Signal::new("go");

#[test]
fn a_turn_takes_as_many_commands_as_a_record_may_hold() {
    for (calls, fits) in [(MAX_TURN_COMMANDS, true), (MAX_TURN_COMMANDS + 1, false)] {
        let code = code(move |ctx| async move {
            join_all((0..calls as u64).map(|n| ctx.run(Double, n))).await;
            Ok(())
        });
        let turn = instance(&code).turn(&[started()], 1, 1);
        if fits {
            assert_eq!(turn.unwrap().len(), MAX_TURN_COMMANDS);
        } else {
            let (kind, text) = stall(turn);
            assert_eq!(kind, StallKind::InvalidTurn);
            assert_holds(&text, &["20001 things", "at most 20000", "limits.rs:", "map_concurrent"]);
        }
    }
}

#[test]
fn a_loop_that_never_waits_is_stopped_before_it_fills_the_memory() {
    let code = code(|ctx| async move {
        for _ in 0..MAX_TURN_COMMANDS + MAX_PENDING_STEPS + 10 {
            ctx.pivot();
        }
        Ok(ctx.receive(GO).await?)
    });
    let (kind, text) = stall(instance(&code).turn(&[started()], 1, 1));
    assert_eq!(kind, StallKind::InvalidTurn);
    assert_holds(&text, &["70000 things"]);
}

#[test]
fn a_run_has_no_more_pending_than_it_may() {
    let code = code(|ctx| async move {
        let mut held = Vec::new();
        loop {
            held.extend((0..10_000).map(|n| ctx.run(Double, n).start()));
            ctx.receive(GO).await?;
        }
        #[allow(unreachable_code)]
        Ok(())
    });
    let mut instance = instance(&code);
    instance.turn(&[started()], 1, 1).unwrap();
    for index in 2..=5 {
        instance.turn(&[signal("go", 1)], 1, index).unwrap();
    }
    let (kind, text) = stall(instance.turn(&[signal("go", 1)], 1, 6));
    assert_eq!(kind, StallKind::InvalidTurn);
    assert_holds(&text, &["50000 activities and timers pending", "limits.rs:", "map_concurrent"]);
}

#[test]
fn a_run_with_as_much_pending_as_it_may_can_be_stopped() {
    let code = code(|ctx| async move {
        let mut held = Vec::new();
        for _ in 0..3 {
            held.extend((0..10_000).map(|n| ctx.run(Double, n).start()));
            ctx.receive(GO).await?;
        }
        Ok(())
    });
    let mut instance = instance(&code);
    instance.turn(&[started()], 1, 1).unwrap();
    instance.turn(&[signal("go", 1)], 1, 2).unwrap();
    instance.turn(&[signal("go", 1)], 1, 3).unwrap();
    assert_eq!(show(&instance.turn(&[cancel()], 1, 4).unwrap()), ["cancelled Cancelled: changed my mind"]);
}

#[test]
fn code_that_never_comes_to_rest_is_stopped() {
    let code = code(|ctx| async move {
        ctx.sleep(secs(0)).await?;
        loop {
            tokio::task::yield_now().await;
        }
        #[allow(unreachable_code)]
        Ok(())
    });
    let mut instance = instance(&code);
    instance.turn(&[started()], 1, 1).unwrap();
    let (kind, text) = stall(instance.turn(&[crate::harness::fired(1)], 1, 2));
    assert_eq!(kind, StallKind::InvalidTurn);
    assert_holds(&text, &["did not come to rest", "ctx.sleep at", "limits.rs:"]);
}
