//! The bounds of one turn and one run.

use stepwell_shared::history::{Record, StallKind};
use stepwell_shared::limits::MAX_TURN_COMMANDS;
use stepwell_worker_replay::{Instance, Signal, WorkflowCode, WorkflowError, join_all, secs};

use crate::harness::{
    Double, assert_holds, cancel, code, completed, instance, record, show, signal, stall, started,
    was_cancelled,
};

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
            assert_holds(&text, &["more than 20000 things", "limits.rs:", "map_concurrent"]);
        }
    }
}

#[test]
fn a_loop_that_never_waits_is_stopped_before_it_fills_the_memory() {
    let code = code(|ctx| async move {
        for _ in 0..MAX_TURN_COMMANDS + 10 {
            ctx.pivot();
        }
        Ok(ctx.receive(GO).await?)
    });
    let (kind, text) = stall(instance(&code).turn(&[started()], 1, 1));
    assert_eq!(kind, StallKind::InvalidTurn);
    assert_holds(&text, &["more than 20000 things"]);
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

/// Code that has 30,000 activities pending, and then `cleans_up` or not when it is stopped.
fn busy(cleans_up: bool) -> (Instance, WorkflowCode, Vec<Record>) {
    let code = code(move |ctx| async move {
        let mut held = Vec::new();
        for _ in 0..3 {
            held.extend((0..10_000).map(|n| ctx.run(Double, n).start()));
            if ctx.receive(GO).await.is_err() {
                break;
            }
        }
        if cleans_up {
            ctx.shielded().run(Double, 0).await?;
        }
        Err::<(), _>(WorkflowError::Cancelled)
    });
    let mut instance = instance(&code);
    let mut records = Vec::new();
    for (index, event) in (1..).zip([started(), signal("go", 1), signal("go", 1)]) {
        let commands = instance.turn(std::slice::from_ref(&event), 1, index).unwrap();
        records.push(record(index, 1, vec![event], Some((commands, 1))));
    }
    (instance, code, records)
}

#[test]
fn a_run_with_more_pending_than_a_turn_can_cancel_can_be_stopped() {
    let (mut instance, ..) = busy(false);
    assert_eq!(show(&instance.turn(&[cancel()], 1, 4).unwrap()), ["cancelled Cancelled: changed my mind"]);
}

#[test]
fn what_one_turn_cannot_cancel_the_next_ones_do() {
    let (mut live, code, mut records) = busy(true);
    let mut cancelled = 0;
    for (index, event) in (4..).zip([cancel(), was_cancelled(1), was_cancelled(2), was_cancelled(3)]) {
        let commands = live.turn(std::slice::from_ref(&event), 1, index).unwrap();
        let shown = show(&commands);
        assert_eq!(
            shown.iter().filter(|command| command.starts_with("run")).count(),
            usize::from(index == 4)
        );
        cancelled += shown.iter().filter(|command| command.starts_with("cancel ")).count();
        assert_eq!(cancelled, (index as usize - 3).min(3) * 10_000);
        records.push(record(index, 1, vec![event], Some((commands, 1))));
    }
    let mut replayed = instance(&code);
    records.iter().for_each(|record| replayed.replay(record).unwrap());
    let end = [completed(30_001, 0)];
    assert_eq!(show(&live.turn(&end, 1, 8).unwrap()), ["cancelled Cancelled: changed my mind"]);
    assert_eq!(show(&replayed.turn(&end, 1, 8).unwrap()), ["cancelled Cancelled: changed my mind"]);
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
