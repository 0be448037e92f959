//! Conditions over the code's own variables, and timers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use stepwell_worker_replay::{Signal, WaitError, WorkflowContext, hours, join, join_all, secs};

use crate::harness::{Double, Run, code, completed, fired, signal, started};

const ADD: Signal<u64> = Signal::new("add");

#[test]
fn sleeping_is_a_timer() {
    let code = code(|ctx| async move {
        ctx.sleep(hours(1)).await?;
        ctx.sleep(Duration::from_micros(1_500)).await?;
        Ok(())
    });
    let (mut run, asked) = Run::start(&code);
    assert_eq!(asked, ["timer 1 3600000"]);
    assert_eq!(run.turn([fired(1)]), ["timer 2 2"]);
    assert_eq!(run.turn([fired(2)]), ["complete null"]);
}

#[test]
fn a_condition_is_looked_at_after_everything_that_happens() {
    let code = code(|ctx| async move {
        let count = AtomicU64::new(0);
        let counting = async {
            while count.load(Ordering::Relaxed) < 3 {
                count.fetch_add(ctx.receive(ADD).await?, Ordering::Relaxed);
            }
            Ok::<_, WaitError>(())
        };
        let waiting = ctx.wait_until(|| count.load(Ordering::Relaxed) > 1);
        let (waited, counted) = join!(waiting, counting);
        waited?;
        counted?;
        Ok(ctx.run(Double, count.load(Ordering::Relaxed)).await?)
    });
    let (mut run, _) = Run::start(&code);
    assert!(run.turn([signal("add", 1)]).is_empty());
    assert_eq!(run.turn([signal("add", 2)]), ["run 1 double"]);
    assert_eq!(run.turn([completed(1, 6)]), ["complete 6"]);
}

#[test]
fn a_condition_that_holds_at_once_does_not_wait() {
    let code = code(|ctx| async move { Ok(ctx.wait_until(|| true).timeout(secs(1)).await?) });
    assert_eq!(Run::start(&code).1, ["complete null"]);
}

#[test]
fn a_condition_has_a_timeout() {
    let code = code(|ctx| async move {
        Ok(ctx.wait_until(|| false).timeout(secs(1)).await == Err(WaitError::TimedOut))
    });
    let (mut run, asked) = Run::start(&code);
    assert_eq!(asked, ["timer 1 1000"]);
    assert_eq!(run.turn([fired(1)]), ["complete true"]);
}

#[test]
fn conditions_set_each_other_off_within_one_turn_whatever_their_order() {
    // Each waits for the one that comes after it in polling order: the chain needs many looks.
    const LINKS: u64 = 40;
    fn link(
        ctx: WorkflowContext,
        level: Arc<AtomicU64>,
        place: u64,
    ) -> BoxFuture<'static, Result<(), WaitError>> {
        async move {
            ctx.wait_until(|| level.load(Ordering::Relaxed) == place).await?;
            level.store(place + 1, Ordering::Relaxed);
            Ok(())
        }
        .boxed()
    }
    let code = code(|ctx| async move {
        let level = Arc::new(AtomicU64::new(0));
        let links = (1..=LINKS).rev().map(|place| link(ctx.clone(), level.clone(), place));
        let first = async {
            ctx.receive(ADD).await?;
            level.store(1, Ordering::Relaxed);
            Ok::<_, WaitError>(())
        };
        let (linked, begun) = join!(join_all(links), first);
        begun?;
        linked.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(level.load(Ordering::Relaxed))
    });
    let (mut run, _) = Run::start(&code);
    assert_eq!(run.turn([signal("add", 1)]), [format!("complete {}", LINKS + 1)]);
}

#[test]
fn an_answer_can_be_the_variable() {
    const COUNT: stepwell_worker_replay::Query<(), u64> = stepwell_worker_replay::Query::new("count");
    let code = code(|ctx| async move {
        let count = ctx.answer(COUNT, 0);
        let adding = async {
            for _ in 0..2 {
                let more = ctx.receive(ADD).await?;
                count.update(|count| *count += more);
            }
            Ok::<_, WaitError>(())
        };
        let (done, added) = join!(ctx.wait_until(|| count.get() >= 5), adding);
        done?;
        added?;
        Ok(count.with(|count| *count))
    });
    let mut run = Run::new(&code);
    assert!(run.turn([started(), signal("add", 2)]).is_empty());
    assert_eq!(run.query(COUNT, &()).unwrap(), "2");
    assert_eq!(run.turn([signal("add", 3)]), ["complete 5"]);
    assert_eq!(run.query(COUNT, &()).unwrap(), "5");
}
