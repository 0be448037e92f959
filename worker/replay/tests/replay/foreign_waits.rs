//! Waits that no event can end are named, at once where that is certain, and else when they wake the
//! code.

use std::sync::{Arc, Mutex};

use stepwell_shared::history::StallKind;
use stepwell_worker_replay::{Either, Instance, Signal, WorkflowCode, secs};

use crate::harness::{Double, Run, assert_holds, code, completed, instance, signal, stall, started};

const GO: Signal<u64> = Signal::new("go");

#[test]
fn waiting_for_nothing_of_stepwells_is_reported_in_that_turn() {
    let code = code(|ctx| async move {
        ctx.run(Double, 1).await?;
        std::future::pending::<()>().await;
        Ok(())
    });
    let (mut run, _) = Run::start(&code);
    let (kind, text) = stall(run.try_turn([completed(1, 2)]));
    assert_eq!(kind, StallKind::ForeignWait);
    assert_holds(
        &text,
        &["not Stepwell's", "ctx.run at", "foreign_waits.rs:", "ctx.sleep", "activity", "ctx.receive"],
    );
}

#[test]
fn code_that_waits_before_any_call_is_reported_too() {
    let code = code(|_| async move {
        std::future::pending::<()>().await;
        Ok(())
    });
    let (kind, text) = stall(Run::new(&code).try_turn([started()]));
    assert_eq!(kind, StallKind::ForeignWait);
    assert_holds(&text, &["had made no Stepwell call"]);
}

/// Code that races a channel, fed from outside, against a call.
fn racing_a_channel() -> (WorkflowCode, Arc<Mutex<Vec<tokio::sync::oneshot::Sender<u64>>>>) {
    let senders = Arc::new(Mutex::new(Vec::new()));
    let outside = senders.clone();
    let code = code(move |ctx| {
        let outside = outside.clone();
        async move {
            let (send, receive) = tokio::sync::oneshot::channel();
            outside.lock().unwrap().push(send);
            match ctx.race(ctx.run(Double, 1), receive).await {
                Either::Left(output) => Ok(output?),
                Either::Right(number) => Ok(number?),
            }
        }
    });
    (code, senders)
}

fn first_turn(code: &WorkflowCode) -> Instance {
    let mut instance = instance(code);
    instance.turn(&[started()], 1, 1).unwrap();
    instance
}

#[test]
fn a_wake_from_outside_is_reported_at_the_next_turn() {
    let (code, senders) = racing_a_channel();
    let mut instance = first_turn(&code);
    senders.lock().unwrap().pop().unwrap().send(7).unwrap();
    let (kind, text) = stall(instance.turn(&[completed(1, 2)], 2, 2));
    assert_eq!(kind, StallKind::ForeignWait);
    assert_holds(
        &text,
        &["something other than a recorded event woke it", "ctx.race at", "foreign_waits.rs:"],
    );
}

#[test]
fn a_wake_from_another_thread_in_the_middle_of_a_turn_is_reported() {
    let code = code(|ctx| async move {
        let (send, receive) = tokio::sync::oneshot::channel();
        let call = ctx.run(Double, 1).start();
        let sender = async {
            ctx.receive(GO).await.ok();
            std::thread::scope(|scope| {
                scope.spawn(|| send.send(7u64).ok());
            });
        };
        let (number, ()) = futures_util::join!(receive, sender);
        call.await?;
        Ok(number?)
    });
    let (mut run, _) = Run::start(&code);
    assert_eq!(stall(run.try_turn([signal("go", 1)])).0, StallKind::ForeignWait);
}

#[test]
fn a_channel_that_never_wakes_does_no_harm() {
    let (code, _senders) = racing_a_channel();
    let mut instance = first_turn(&code);
    let asked = instance.turn(&[completed(1, 2)], 2, 2).unwrap();
    assert_eq!(crate::harness::show(&asked), ["race 2 0", "complete 2"]);
}

#[test]
fn runtimes_that_are_missed_are_named() {
    let code = code(|ctx| async move {
        ctx.run(Double, 1).await?;
        tokio::time::sleep(secs(1)).await;
        Ok(())
    });
    let (mut run, _) = Run::start(&code);
    let (kind, text) = stall(run.try_turn([completed(1, 2)]));
    assert_eq!(kind, StallKind::ForeignWait);
    assert_holds(&text, &["asked for a runtime", "no reactor running", "ctx.sleep"]);
}

#[test]
fn sleeping_on_a_runtime_is_found_whether_alone_or_beside_a_call() {
    let alone = code(|_| async move {
        tokio::time::sleep(secs(3_600)).await;
        Ok(())
    });
    let beside = code(|ctx| async move {
        let timer = tokio::time::sleep(std::time::Duration::from_millis(1));
        ctx.race(ctx.receive(GO), timer).await;
        Ok(())
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        assert_eq!(stall(instance(&alone).turn(&[started()], 1, 1)).0, StallKind::ForeignWait);
        let mut instance = first_turn(&beside);
        // This one is due later, so the code's own has fired when it is over.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        assert_eq!(stall(instance.turn(&[signal("go", 1)], 2, 2)).0, StallKind::ForeignWait);
    });
}

#[test]
fn calls_from_another_thread_are_reported() {
    let code = code(|ctx| async move {
        let call = ctx.run(Double, 1);
        std::thread::scope(|scope| scope.spawn(|| drop(call.start())).join().unwrap());
        ctx.run(Double, 2).await?;
        Ok(())
    });
    let (kind, text) = stall(Run::new(&code).try_turn([started()]));
    assert_eq!(kind, StallKind::ForeignWait);
    assert_holds(&text, &["another thread or task", "run an activity"]);
}

#[test]
fn a_context_that_leaves_the_run_does_nothing() {
    let kept = Arc::new(Mutex::new(None));
    let place = kept.clone();
    let code = code(move |ctx| {
        *place.lock().unwrap() = Some(ctx.clone());
        async move { Ok(ctx.run(Double, 1).await?) }
    });
    let mut instance = first_turn(&code);
    let ctx = kept.lock().unwrap().take().unwrap();
    // Between two turns: reported at the next one.
    drop(ctx.run(Double, 2).start());
    assert_eq!(stall(instance.turn(&[completed(1, 2)], 2, 2)).0, StallKind::ForeignWait);
    // After the end: nothing happens any more.
    drop(instance);
    drop(ctx.run(Double, 3).start());
    ctx.pivot();
    assert_eq!(ctx.try_receive(GO), Ok(None));
}

#[test]
fn a_wake_after_the_end_does_no_harm() {
    let code = code(|ctx| async move {
        let (send, receive) = tokio::sync::oneshot::channel::<u64>();
        let waiting = async { receive.await.unwrap_or(0) };
        let number = match ctx.race(ctx.run(Double, 1), waiting).await {
            Either::Left(output) => output?,
            Either::Right(number) => number,
        };
        std::thread::scope(|scope| scope.spawn(|| send.send(1)).join()).ok();
        Ok(number)
    });
    let (mut run, _) = Run::start(&code);
    assert_eq!(run.turn([completed(1, 2)]), ["race 2 0", "complete 2"]);
}

#[test]
fn a_runtimes_blocking_threads_can_drive_code_that_yields_and_uses_channels_a_lot() {
    let code = code(|ctx| async move {
        let (send, mut receive) = tokio::sync::mpsc::channel::<u64>(1);
        let producer = async {
            for n in 0..1_000 {
                send.send(n).await.expect("the other branch receives");
                tokio::task::yield_now().await;
            }
            drop(send);
        };
        let consumer = async {
            let mut sum = 0;
            while let Some(n) = receive.recv().await {
                sum += n;
            }
            sum
        };
        let ((), sum) = futures_util::join!(producer, consumer);
        Ok(ctx.run(Double, sum).await?)
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let asked = runtime.block_on(async move {
        let turn = move || instance(&code).turn(&[started()], 1, 1);
        tokio::task::spawn_blocking(turn).await.unwrap()
    });
    assert_eq!(crate::harness::show(&asked.unwrap()), ["run 1 double"]);
}
