//! Queries read the code's state at any time, and change nothing.

use serde::Serialize;
use stepwell_shared::payload::Payload;
use stepwell_worker_replay::{Query, Signal};

use crate::harness::{Double, Run, assert_holds, code, completed, instance, signal};

const STATUS: Query<(), Status> = Query::new("status");
const TIMES: Query<u64, u64> = Query::new("times");
const GO: Signal<u64> = Signal::new("go");

#[derive(Serialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Status {
    Waiting,
    Got(u64),
}

#[test]
fn answers_follow_the_code_and_outlive_it() {
    let code = code(|ctx| async move {
        let status = ctx.answer(STATUS, Status::Waiting);
        ctx.on_query(TIMES, |factor: u64| factor * 3);
        let number = ctx.receive(GO).await?;
        status.clone().set(Status::Got(number));
        assert_eq!(status.get(), Status::Got(number));
        Ok(ctx.run(Double, number).await?)
    });
    let (mut run, _) = Run::start(&code);
    assert_eq!(run.query(STATUS, &()).unwrap(), r#""waiting""#);
    assert_eq!(run.query(TIMES, &5).unwrap(), "15");
    run.turn([signal("go", 4)]);
    assert_eq!(run.query(STATUS, &()).unwrap(), r#"{"got":4}"#);
    assert_eq!(run.turn([completed(1, 8)]), ["complete 8"]);
    assert_eq!(run.query(STATUS, &()).unwrap(), r#"{"got":4}"#);
}

#[test]
fn unknown_names_and_unfit_arguments_say_what_there_is() {
    let code = code(|ctx| async move {
        ctx.answer(STATUS, Status::Waiting);
        ctx.on_query(TIMES, |factor: u64| factor * 3);
        Ok(ctx.receive(GO).await?)
    });
    let (mut run, _) = Run::start(&code);
    let unknown = run.query_raw("stauts", &Payload::null()).unwrap_err();
    assert_holds(&unknown.message, &["query `stauts`", "no such query", "`status`, `times`"]);
    let unfit = run.query_raw("times", &Payload::null()).unwrap_err();
    assert_holds(&unfit.message, &["query `times`", "argument is not a `u64`"]);
    let early = instance(&code).query(&"status".parse().unwrap(), &Payload::null()).unwrap_err();
    assert_holds(&early.message, &["has not begun"]);
}

#[test]
fn code_without_queries_says_so() {
    let code = code(|ctx| async move { Ok(ctx.receive(GO).await?) });
    let (mut run, _) = Run::start(&code);
    let unknown = run.query_raw("status", &Payload::null()).unwrap_err();
    assert_holds(&unknown.message, &["answers none so far"]);
}

#[test]
fn answers_that_cannot_be_sent_say_why() {
    const LARGE: Query<usize, String> = Query::new("large");
    const ODD: Query<(), std::collections::BTreeMap<(u8, u8), u8>> = Query::new("odd");
    let code = code(|ctx| async move {
        ctx.on_query(LARGE, |length| "x".repeat(length));
        ctx.answer(ODD, [((1, 2), 3)].into());
        Ok(ctx.receive(GO).await?)
    });
    let (mut run, _) = Run::start(&code);
    assert_holds(&run.query(LARGE, &600_000).unwrap_err().message, &["its answer has 600002 bytes"]);
    assert_holds(&run.query(ODD, &()).unwrap_err().message, &["has no JSON form"]);
}

#[test]
fn whatever_would_change_the_run_fails_the_query_and_changes_nothing() {
    const ACT: Query<u64, u64> = Query::new("act");
    let code = code(|ctx| async move {
        let status = ctx.answer(STATUS, Status::Waiting);
        let inner = ctx.clone();
        ctx.on_query(ACT, move |what: u64| {
            match what {
                0 => drop(inner.run(Double, 1).start()),
                1 => inner.pivot(),
                2 => drop(inner.random_u64()),
                3 => drop(inner.try_receive(GO)),
                4 => status.set(Status::Got(1)),
                5 => drop(inner.uuid()),
                6 => drop(inner.answer(STATUS, Status::Got(2))),
                _ => return inner.info().history_length,
            }
            0
        });
        ctx.run(Double, 1).await?;
        Ok((ctx.random_u64(), ctx.receive(GO).await?))
    });
    let (mut asked, _) = Run::start(&code);
    let mut untouched = Run::start(&code).0;
    for (what, text) in [
        "run an activity",
        "pass a pivot",
        "draw random numbers",
        "receive a signal",
        "change an answer",
        "draw random numbers",
        "declare queries",
    ]
    .into_iter()
    .enumerate()
    {
        let failed = asked.query(ACT, &(what as u64)).unwrap_err();
        assert_holds(&failed.message, &["query `act`", text, "must not change the run"]);
    }
    assert_eq!(asked.query(ACT, &7).unwrap(), "1");
    assert_eq!(asked.query(STATUS, &()).unwrap(), r#""waiting""#);
    let events = || [completed(1, 2), signal("go", 3)];
    assert_eq!(asked.turn(events()), untouched.turn(events()));
}
