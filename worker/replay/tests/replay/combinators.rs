//! Ordinary combinators work, and none of them looks like a foreign wait.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::stream::{FuturesOrdered, FuturesUnordered};
use futures_util::{FutureExt, StreamExt};
use stepwell_worker_replay::{ActivityFailure, Signal, join_all, secs, select_biased, try_join};

use crate::harness::{Double, Run, code, completed, failed, fired, signal};

const GO: Signal<u64> = Signal::new("go");

#[test]
fn unordered_results_come_in_the_order_of_events() {
    let code = code(|ctx| async move {
        let mut calls: FuturesUnordered<_> = (0..5).map(|n| ctx.run(Double, n)).collect();
        let mut seen = Vec::new();
        while let Some(output) = calls.next().await {
            seen.push(output?);
            ctx.sleep(secs(1)).await?;
        }
        Ok(seen)
    });
    let (mut run, asked) = Run::start(&code);
    assert_eq!(asked.len(), 5);
    assert_eq!(run.turn([completed(4, 6), completed(2, 2)]), ["timer 6 1000"]);
    assert_eq!(run.turn([fired(6)]), ["timer 7 1000"]);
    assert!(run.turn([completed(1, 0), completed(5, 8)]).is_empty());
    assert_eq!(run.turn([fired(7), completed(3, 4)]), ["timer 8 1000"]);
    run.turn([fired(8)]);
    run.turn([fired(9)]);
    assert_eq!(run.turn([fired(10)]), ["complete [6,2,0,8,4]"]);
}

#[test]
fn ordered_and_buffered_streams_work() {
    let code = code(|ctx| async move {
        let ordered: FuturesOrdered<_> = (0..3).map(|n| ctx.run(Double, n)).collect();
        let first: Vec<_> = ordered.collect().await;
        let second: Vec<_> =
            futures_util::stream::iter(3..6).map(|n| ctx.run(Double, n)).buffer_unordered(2).collect().await;
        Ok(first.into_iter().chain(second).collect::<Result<Vec<_>, _>>()?)
    });
    let (mut run, asked) = Run::start(&code);
    assert_eq!(asked.len(), 3);
    assert_eq!(
        run.turn([completed(3, 4), completed(1, 0), completed(2, 2)]),
        ["run 4 double", "run 5 double"]
    );
    assert_eq!(run.turn([completed(5, 8)]), ["run 6 double"]);
    assert_eq!(run.turn([completed(6, 10), completed(4, 6)]), ["complete [0,2,4,8,10,6]"]);
}

#[test]
fn shared_futures_work() {
    let code = code(|ctx| async move {
        let shared = ctx.run(Double, 1).map(|output| output.unwrap_or(0)).shared();
        let branches = (0..3).map(|n| {
            let shared = shared.clone();
            async move { shared.await + n }
        });
        let all = join_all(branches).await;
        Ok((all, shared.await))
    });
    let (mut run, asked) = Run::start(&code);
    assert_eq!(asked, ["run 1 double"]);
    assert_eq!(run.turn([completed(1, 2)]), ["complete [[2,3,4],2]"]);
}

#[test]
fn a_biased_select_works() {
    let code = code(|ctx| async move {
        let mut call = ctx.run(Double, 1);
        let mut timer = ctx.sleep(secs(1));
        let mut ticks = 0;
        loop {
            select_biased! {
                output = call => return Ok((output?, ticks)),
                slept = timer => {
                    slept?;
                    ticks += 1;
                    timer = ctx.sleep(secs(1));
                }
            }
        }
    });
    let (mut run, asked) = Run::start(&code);
    assert_eq!(asked, ["run 1 double", "timer 2 1000"]);
    assert_eq!(run.turn([fired(2)]), ["timer 3 1000"]);
    assert_eq!(run.turn([fired(3)]), ["timer 4 1000"]);
    assert_eq!(run.turn([completed(1, 2), fired(4)]), ["complete [2,2]"]);
}

#[test]
fn tokios_biased_select_and_join_work() {
    let code = code(|ctx| async move {
        let mut call = ctx.run(Double, 1);
        let first = tokio::select! {
            biased;
            output = &mut call => output?,
            number = ctx.receive(GO) => number?,
        };
        let (second, third) = tokio::join!(call, ctx.run(Double, 2));
        Ok((first, second?, third?))
    });
    let (mut run, _) = Run::start(&code);
    assert_eq!(run.turn([signal("go", 9)]), ["run 2 double"]);
    assert!(run.turn([completed(2, 4)]).is_empty());
    assert_eq!(run.turn([completed(1, 2)]), ["complete [9,2,4]"]);
}

#[test]
fn channels_between_branches_of_the_code_work() {
    let code = code(|ctx| async move {
        let (send, mut receive) = tokio::sync::mpsc::channel::<u64>(1);
        let (done, wait) = tokio::sync::oneshot::channel::<()>();
        let producer = async {
            for n in 0..100 {
                let output = if n % 50 == 0 { ctx.run(Double, n).await.unwrap_or(0) } else { n };
                send.send(output).await.expect("the other branch receives");
            }
            drop(send);
            wait.await.expect("the other branch tells");
        };
        let consumer = async {
            let mut sum = 0;
            while let Some(n) = receive.recv().await {
                sum += n;
            }
            done.send(()).expect("the other branch waits");
            sum
        };
        let ((), sum) = futures_util::join!(producer, consumer);
        Ok(sum)
    });
    let (mut run, _) = Run::start(&code);
    assert_eq!(run.turn([completed(1, 0)]), ["run 2 double"]);
    assert_eq!(run.turn([completed(2, 100)]), ["complete 5000"]);
}

#[test]
fn a_failing_branch_of_a_try_join_cancels_the_others() {
    let code = code(|ctx| async move {
        let failure: ActivityFailure = try_join!(ctx.run(Double, 1), ctx.run(Double, 2)).unwrap_err();
        ctx.run(Double, 3).await?;
        Ok(failure.error_type().to_owned())
    });
    let (mut run, _) = Run::start(&code);
    assert_eq!(run.turn([failed(2, "Bad")]), ["cancel 1", "run 3 double"]);
}

#[test]
fn map_concurrent_keeps_its_bound_and_the_order_of_items() {
    let code = code(|ctx| async move {
        let outputs = ctx.map_concurrent(0..5, 2, |ctx, n| async move { ctx.run(Double, n).await });
        Ok(outputs.await.into_iter().collect::<Result<Vec<_>, _>>()?)
    });
    let (mut run, asked) = Run::start(&code);
    assert_eq!(asked, ["run 1 double", "run 2 double"]);
    assert_eq!(run.turn([completed(2, 2)]), ["run 3 double"]);
    // One that is slow does not keep the others from going on.
    assert_eq!(run.turn([completed(3, 4)]), ["run 4 double"]);
    assert_eq!(run.turn([completed(4, 6), completed(1, 0)]), ["run 5 double"]);
    assert_eq!(run.turn([completed(5, 8)]), ["complete [0,2,4,6,8]"]);
}

#[test]
fn map_concurrent_takes_no_items_and_no_bound() {
    let code = code(|ctx| async move {
        let none = ctx.map_concurrent(Vec::<u64>::new(), 3, |ctx, n| async move { ctx.run(Double, n).await });
        assert!(none.await.is_empty());
        let one_by_one =
            ctx.map_concurrent(0..2, 0, |ctx, n| async move { ctx.run(Double, n).await.is_ok() });
        Ok(one_by_one.await)
    });
    let (mut run, asked) = Run::start(&code);
    assert_eq!(asked, ["run 1 double"]);
    assert_eq!(run.turn([completed(1, 0)]), ["run 2 double"]);
    assert_eq!(run.turn([completed(2, 2)]), ["complete [true,true]"]);
}

/// Counts how often its future is polled.
struct Counted<F>(F, Arc<AtomicUsize>);

impl<F: Future + Unpin> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.poll_unpin(cx)
    }
}

#[test]
fn a_wide_join_polls_only_what_has_moved() {
    const WIDTH: u32 = 10_000;
    let polls = Arc::new(AtomicUsize::new(0));
    let counter = polls.clone();
    let code = code(move |ctx| {
        let counter = counter.clone();
        async move {
            let calls = (0..u64::from(WIDTH)).map(|n| Counted(ctx.run(Double, n), counter.clone()));
            let outputs = join_all(calls).await;
            Ok(outputs.into_iter().collect::<Result<Vec<_>, _>>()?.iter().sum::<u64>())
        }
    });
    let mut instance = crate::harness::instance(&code);
    let asked = instance.turn(&[crate::harness::started()], 1, 1).unwrap();
    assert_eq!(asked.len(), WIDTH as usize);
    let mut index = 1;
    let mut last = Vec::new();
    // Every result in a turn of its own: the worst case for a driver that looks at everything each time.
    for seq in (1..=WIDTH).rev() {
        index += 1;
        last = instance.turn(&[completed(seq, 1)], 1, index).unwrap();
    }
    assert_eq!(crate::harness::show(&last), ["complete 10000"]);
    assert_eq!(polls.load(Ordering::Relaxed), 2 * WIDTH as usize);
}
