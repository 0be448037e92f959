//! Panics of workflow code become stalls; none of them leaves the instance.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use stepwell_shared::history::StallKind;
use stepwell_shared::ids::Name;
use stepwell_shared::payload::Payload;
use stepwell_worker_replay::{Query, Signal, WorkflowCode, record_panic_locations};

use crate::harness::{Double, Run, assert_holds, code, completed, instance, signal, stall, started};

const GO: Signal<u64> = Signal::new("go");

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a destructor panicked");
    }
}

#[test]
fn a_panic_is_told_with_its_text_and_its_line() {
    record_panic_locations();
    record_panic_locations();
    let code = code(|ctx| async move {
        let number = ctx.run(Double, 1).await?;
        assert!(number > 5, "the number is {number}");
        Ok(())
    });
    let (mut run, _) = Run::start(&code);
    let (kind, text) = stall(run.try_turn([completed(1, 2)]));
    assert_eq!(kind, StallKind::Panic);
    assert_holds(&text, &["the number is 2", "panics.rs:", "ctx.run at", "deploy"]);
    let again = run.instance.turn(&[completed(1, 2)], 9, 9);
    assert_eq!(stall(again).1, text, "a stalled instance keeps saying why");
    let query = run.instance.query(&Name::new("any").unwrap(), &Payload::null());
    assert_holds(&query.unwrap_err().message, &["stalled", "the number is 2"]);
}

#[test]
fn code_may_panic_while_it_is_made() {
    let code = WorkflowCode::from_fn("test", |_, _| panic!("before the first await"));
    let (kind, text) = stall(instance(&code).turn(&[started()], 1, 1));
    assert_eq!(kind, StallKind::Panic);
    assert_holds(&text, &["before the first await"]);
}

#[test]
fn destructors_may_panic_when_the_run_is_torn_down() {
    let code = code(|ctx| async move {
        let _call = ctx.run(Double, 1).start();
        let _bomb = Bomb;
        ctx.receive(GO).await?;
        Ok(())
    });
    let (run, asked) = Run::start(&code);
    assert_eq!(asked, ["run 1 double"]);
    drop(run);
}

#[test]
fn destructors_that_panic_on_return_are_a_panic_of_the_code() {
    let code = code(|ctx| async move {
        let _bomb = Bomb;
        ctx.receive(GO).await?;
        Ok(())
    });
    let (mut run, _) = Run::start(&code);
    let (kind, text) = stall(run.try_turn([signal("go", 1)]));
    assert_eq!(kind, StallKind::Panic);
    assert_holds(&text, &["a destructor panicked"]);
}

#[test]
fn a_query_that_panics_fails_alone() {
    const ASK: Query<u64, u64> = Query::new("ask");
    let code = code(|ctx| async move {
        ctx.on_query(ASK, |divisor: u64| 12 / divisor);
        Ok(ctx.receive(GO).await?)
    });
    let (mut run, _) = Run::start(&code);
    assert_holds(&run.query(ASK, &0).unwrap_err().message, &["query `ask`", "panicked", "divide by zero"]);
    assert_eq!(run.query(ASK, &4).unwrap(), "3");
    assert_eq!(run.turn([signal("go", 5)]), ["complete 5"]);
}

#[test]
fn everything_of_the_users_is_dropped_with_the_instance() {
    const ASK: Query<(), usize> = Query::new("ask");
    let alive = Arc::new(AtomicUsize::new(0));
    struct Guest(Arc<AtomicUsize>);
    impl Guest {
        fn new(alive: &Arc<AtomicUsize>) -> Self {
            alive.fetch_add(1, Ordering::Relaxed);
            Self(alive.clone())
        }
    }
    impl Drop for Guest {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let count = alive.clone();
    let code = code(move |ctx| {
        let (local, captured) = (Guest::new(&count), Guest::new(&count));
        async move {
            // A handler that holds a context would keep the run alive for ever if it were not let go.
            let inner = ctx.clone();
            ctx.on_query(ASK, move |()| {
                captured.0.load(Ordering::Relaxed) + usize::from(inner.is_cancelled())
            });
            let calls = (0..50).map(|n| ctx.run(Double, n));
            futures_util::future::join_all(calls).await;
            drop(local);
            Ok(())
        }
    });
    let mut instance = instance(&code);
    instance.turn(&[started()], 1, 1).unwrap();
    let answer = instance.query(&Name::new("ask").unwrap(), &Payload::null()).unwrap();
    assert_eq!(answer.json(), "2");
    drop(instance);
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}
