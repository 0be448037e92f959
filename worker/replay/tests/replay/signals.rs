//! Signals: buffered from the first moment, in order, none dropped.

use futures_util::StreamExt;
use stepwell_worker_replay::{Signal, WaitError, join, secs};

use crate::harness::{Double, Run, assert_holds, cancel, code, completed, fired, signal, started};

const NUMBER: Signal<u64> = Signal::new("number");
const WORD: Signal<String> = Signal::new("word");

#[test]
fn a_signal_is_received_whenever_it_came() {
    let code = code(|ctx| async move {
        let first = ctx.receive(NUMBER).await?;
        ctx.run(Double, first).await?;
        let second = ctx.receive(NUMBER).await?;
        let word = ctx.receive(WORD).await?;
        Ok((first, second, word))
    });
    let mut run = Run::new(&code);
    // Before the code begins, and long before it asks.
    assert_eq!(
        run.turn([started(), signal("number", 1), signal("word", "w"), signal("other", 0)]),
        ["run 1 double"]
    );
    assert!(run.turn([signal("number", 2)]).is_empty());
    assert_eq!(run.turn([completed(1, 2)]), [r#"complete [1,2,"w"]"#]);
}

#[test]
fn order_is_kept_within_and_across_turns() {
    let code = code(|ctx| async move {
        let mut all = Vec::new();
        while all.len() < 5 {
            all.push(ctx.receive(NUMBER).await?);
        }
        Ok(all)
    });
    let (mut run, _) = Run::start(&code);
    assert!(run.turn([signal("number", 1), signal("number", 2)]).is_empty());
    assert!(run.turn([signal("number", 3)]).is_empty());
    assert_eq!(run.turn([signal("number", 4), signal("number", 5)]), ["complete [1,2,3,4,5]"]);
}

#[test]
fn a_timeout_is_a_timer_that_goes_with_the_wait() {
    let code = code(|ctx| async move {
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(match ctx.receive(NUMBER).timeout(secs(5)).await {
                Ok(number) => number,
                Err(WaitError::TimedOut) => 0,
                Err(error) => return Err(error.into()),
            });
        }
        Ok(seen)
    });
    let (mut run, asked) = Run::start(&code);
    assert_eq!(asked, ["timer 1 5000"]);
    assert_eq!(run.turn([fired(1)]), ["timer 2 5000"]);
    // Two at once: the second one is there when it is asked for, and needs no timer.
    assert_eq!(run.turn([signal("number", 7), signal("number", 8)]), ["complete [0,7,8]"]);
}

#[test]
fn a_signal_wins_over_its_timeout_in_the_same_turn() {
    let code = code(|ctx| async move { Ok(ctx.receive(NUMBER).timeout(secs(5)).await?) });
    let (mut run, _) = Run::start(&code);
    assert_eq!(run.turn([fired(1), signal("number", 3)]), ["complete 3"]);
}

#[test]
fn the_timer_is_cancelled_when_the_signal_comes_first() {
    let code = code(|ctx| async move {
        ctx.receive(NUMBER).timeout(secs(5)).await?;
        Ok(ctx.run(Double, 1).await?)
    });
    let (mut run, _) = Run::start(&code);
    assert_eq!(run.turn([signal("number", 3)]), ["cancel_timer 1", "run 2 double"]);
    assert!(run.turn([fired(1)]).is_empty(), "a timer that was cancelled fires into nothing");
}

#[test]
fn a_malformed_payload_is_an_error_and_the_next_one_is_received() {
    let code = code(|ctx| async move {
        let error = ctx.receive(NUMBER).await.unwrap_err();
        let tried = ctx.try_receive(NUMBER).unwrap_err();
        Ok((error.to_string(), tried.payload.json().to_owned(), ctx.receive(NUMBER).await?))
    });
    let (mut run, _) = Run::start(&code);
    let asked = run.turn([signal("number", "one"), signal("number", [2]), signal("number", 3)]);
    assert_holds(
        &asked[0],
        &["payload of signal `number` is not a `u64`", "invalid type: string", "[2]", ",3]"],
    );
}

#[test]
fn trying_does_not_wait() {
    let code = code(|ctx| async move {
        let before = ctx.try_receive(NUMBER)?;
        ctx.run(Double, 1).await?;
        Ok((before, ctx.try_receive(NUMBER)?, ctx.try_receive(NUMBER)?))
    });
    let (mut run, _) = Run::start(&code);
    assert_eq!(run.turn([signal("number", 3), completed(1, 2)]), ["complete [null,3,null]"]);
}

#[test]
fn a_stream_ends_with_the_request_to_stop_after_what_had_arrived() {
    let code = code(|ctx| async move {
        let mut numbers = ctx.signals(NUMBER);
        let mut seen = Vec::new();
        while let Some(number) = numbers.next().await {
            seen.push(number.unwrap_or(0));
        }
        Ok(seen)
    });
    let (mut run, _) = Run::start(&code);
    assert!(run.turn([signal("number", 1)]).is_empty());
    assert!(run.turn([signal("number", "x"), signal("number", 3)]).is_empty());
    assert_eq!(run.turn([cancel(), signal("number", 4)]), ["complete [1,0,3,4]"]);
}

#[test]
fn several_receivers_share_one_buffer() {
    let code = code(|ctx| async move {
        let (a, b) = join!(ctx.receive(NUMBER), ctx.receive(NUMBER));
        Ok((a?, b?))
    });
    let (mut run, _) = Run::start(&code);
    assert!(run.turn([signal("number", 1)]).is_empty());
    assert_eq!(run.turn([signal("number", 2)]), ["complete [1,2]"]);
}

#[test]
fn a_receiver_that_is_dropped_takes_nothing() {
    let code = code(|ctx| async move {
        drop(ctx.receive(NUMBER));
        let lost = ctx.race(ctx.run(Double, 1), ctx.receive(NUMBER)).await;
        drop(lost);
        Ok(ctx.receive(NUMBER).await?)
    });
    let (mut run, _) = Run::start(&code);
    // Both are ready; the left one wins, and the signal stays.
    assert_eq!(run.turn([signal("number", 9), completed(1, 2)]), ["race 2 0", "complete 9"]);
}
