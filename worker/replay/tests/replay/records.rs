//! Records as histories hold them: events that wait, turns that take a part of them, records that
//! cannot follow.

use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::history::{Event, StallKind};
use stepwell_shared::ids::{Name, RunId, StepId};
use stepwell_worker_replay::{Signal, WorkflowCode, secs};

use crate::harness::{
    Double, assert_holds, code, completed, fired, instance, record, show, signal, stall, started,
};

const GO: Signal<u64> = Signal::new("go");

fn adding() -> WorkflowCode {
    code(|ctx| async move {
        let mut sum = ctx.run(Double, 1).await?;
        for _ in 0..3 {
            sum += ctx.receive(GO).await?;
        }
        ctx.sleep(secs(1)).await?;
        Ok(sum)
    })
}

/// An event that code does not see.
fn retried() -> Event {
    let failure = Failure::new(FailureKind::Application, "again");
    Event::AttemptFailed { step: StepId::Action(1), attempt: 1, failure, retry_at_ms: 1, heartbeat: None }
}

#[test]
fn events_wait_for_the_turn_that_takes_them() {
    let mut live = instance(&adding());
    let first = live.turn(&[started()], 1, 2).unwrap();
    let second = live.turn(&[signal("go", 1), completed(1, 2)], 5, 6).unwrap();
    let third = live.turn(&[signal("go", 3), signal("go", 4)], 7, 7).unwrap();
    assert_eq!(show(&third), ["timer 2 1000"]);

    let mut replayed = instance(&adding());
    // No worker at first; then retries, then a turn that takes some of what had come.
    replayed.replay(&record(1, 1, vec![started()], None)).unwrap();
    assert_eq!(replayed.position(), 0);
    replayed.replay(&record(2, 1, vec![], Some((first, 1)))).unwrap();
    replayed.replay(&record(3, 2, vec![retried()], None)).unwrap();
    replayed.replay(&record(4, 3, vec![signal("go", 1), retried(), completed(1, 2)], None)).unwrap();
    replayed.replay(&record(5, 4, vec![signal("go", 3)], None)).unwrap();
    assert_eq!(replayed.position(), 2);
    replayed.replay(&record(6, 5, vec![signal("go", 4)], Some((second, 2)))).unwrap();
    assert_eq!(replayed.position(), 6);
    // What was recorded and not handed over comes again with the live turn.
    let again = replayed.turn(&[signal("go", 3), signal("go", 4)], 7, 7).unwrap();
    assert_eq!(again, third);
    assert_eq!(live.turn(&[fired(2)], 8, 8), replayed.turn(&[fired(2)], 8, 8));
    assert!(live.closed() && replayed.closed());
}

#[test]
fn after_the_code_returned_records_have_no_turns() {
    let code = code(|ctx| async move { Ok(ctx.run(Double, 1).await?) });
    let mut live = instance(&code);
    let first = live.turn(&[started()], 1, 1).unwrap();
    let last = live.turn(&[completed(1, 2)], 2, 2).unwrap();

    let mut replayed = instance(&code);
    replayed.replay(&record(1, 1, vec![started()], Some((first, 1)))).unwrap();
    replayed.replay(&record(2, 2, vec![completed(1, 2)], Some((last, 1)))).unwrap();
    let late = vec![Event::CompensationsFinished { seq: None }, signal("go", 1)];
    replayed.replay(&record(3, 3, late, None)).unwrap();
    assert_eq!((replayed.position(), replayed.closed()), (2, true));
    let (kind, text) = stall(replayed.replay(&record(4, 4, vec![signal("go", 1)], Some((vec![], 1)))));
    assert_eq!(kind, StallKind::Nondeterminism);
    assert_holds(&text, &["record 4 is another turn", "has returned"]);
    assert_eq!(stall(live.turn(&[signal("go", 1)], 3, 3)).0, StallKind::Nondeterminism);
}

#[test]
fn records_that_cannot_follow_are_refused() {
    let first =
        || record(1, 1, vec![started()], Some((instance(&adding()).turn(&[started()], 1, 1).unwrap(), 1)));

    let mut twice = instance(&adding());
    twice.replay(&first()).unwrap();
    assert_holds(&stall(twice.replay(&first())).1, &["record 1 cannot be replayed after record 1"]);

    let mut after_live = instance(&adding());
    after_live.turn(&[started()], 1, 1).unwrap();
    let next = record(2, 2, vec![], None);
    assert_holds(&stall(after_live.replay(&next)).1, &["after record 1, which was made live"]);

    let mut stranger = first();
    stranger.run_id = RunId::new("run-2").unwrap();
    assert_holds(
        &stall(instance(&adding()).replay(&stranger)).1,
        &["is of run run-2, and this is run run-1"],
    );

    let mut greedy = first();
    greedy.turn.as_mut().unwrap().delivered = 2;
    let (kind, text) = stall(instance(&adding()).replay(&greedy));
    assert_eq!(kind, StallKind::InvalidTurn);
    assert_holds(&text, &["record 1 says that 2 events were handed over", "has only 1"]);

    let headless = record(1, 1, vec![signal("go", 1)], Some((vec![], 1)));
    assert_holds(&stall(instance(&adding()).replay(&headless)).1, &["must hand over run_started"]);
}

#[test]
fn results_that_nobody_waits_for_change_nothing() {
    let mut instance = instance(&adding());
    instance.turn(&[started()], 1, 1).unwrap();
    let strays = [completed(7, 1), fired(1), started(), Event::CompensationsFinished { seq: Some(1) }];
    assert!(instance.turn(&strays, 2, 2).unwrap().is_empty());
    assert!(instance.turn(&[completed(1, 2), completed(1, 50)], 3, 3).unwrap().is_empty());
    let asked = instance.turn(&[signal("go", 1), signal("go", 1), signal("go", 1)], 4, 4).unwrap();
    assert_eq!(show(&asked), ["timer 2 1000"]);
    assert_eq!(show(&instance.turn(&[fired(2)], 5, 5).unwrap()), ["complete 5"]);
    assert!(Name::new("go").is_ok());
}
