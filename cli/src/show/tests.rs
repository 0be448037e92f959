//! What people see, on fixed data.

use stepwell_shared::announce::Announcement;
use stepwell_shared::api::{CompensationState, CompensationView, Description, PendingActivity, PendingTimer};
use stepwell_shared::command::{Command, RunActivity};
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::history::{Event, Record, RunStarted, Stall, StallKind, Turn};
use stepwell_shared::ids::{Name, RunId, StepId, WorkerId, WorkflowId};
use stepwell_shared::options::ActivityOptions;
use stepwell_shared::payload::Payload;
use stepwell_shared::summary::{RunSummary, Status};

use super::*;
use crate::output::Rows;
use crate::times::{TimeFormat, Times};

const NOW: u64 = 1_700_000_100_000;

fn times() -> Times {
    Times::from_moment(TimeFormat::Relative, NOW)
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn json(text: &str) -> Payload {
    Payload::from_json(text.to_owned()).unwrap()
}

fn run(id: &str, status: Status) -> RunSummary {
    RunSummary {
        v: 1,
        workflow_id: WorkflowId::new(id).unwrap(),
        run_id: RunId::new("run-1").unwrap(),
        workflow_type: name("order"),
        queue: name("orders"),
        status,
        started_at_ms: NOW - 100_000,
        closed_at_ms: None,
        result: None,
        failure: None,
        stall: None,
        history_length: 3,
    }
}

fn stall() -> Stall {
    Stall {
        kind: StallKind::Nondeterminism,
        message: "step 2 was refund\nand is charge now".into(),
        retry_at_ms: NOW + 30_000,
        failures: 2,
    }
}

fn worker() -> Announcement {
    Announcement {
        v: 1,
        worker: WorkerId::new("w-1").unwrap(),
        queue: name("orders"),
        workflows: vec![name("order")],
        activities: vec![name("charge"), name("refund")],
        slots: 8,
        slots_used: 3,
        host: "box:17".into(),
        leaving: false,
    }
}

fn trimmed(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[test]
fn runs_with_the_reason_why_they_stand_still_or_ended() {
    let closed = RunSummary {
        closed_at_ms: Some(NOW - 98_500),
        failure: Some(Failure::typed(FailureKind::Application, "CardDeclined", "no money")),
        ..run("order 2", Status::Compensated)
    };
    let stalled = RunSummary { stall: Some(stall()), ..run("order-1", Status::Running) };
    assert_eq!(
        trimmed(&runs(&[stalled.clone(), closed.clone()], &times())),
        "\
WORKFLOW  TYPE   STATUS       QUEUE   STARTED     TOOK      REASON
order-1   order  running      orders  1m 40s ago  1m 40s    nondeterminism: step 2 was refund and is charge now
order 2   order  compensated  orders  1m 40s ago  1s 500ms  CardDeclined: no money"
    );
    assert_eq!(standing(&closed), "compensated: CardDeclined: no money");
    assert_eq!(obstacle(&closed), None);
    assert!(obstacle(&stalled).is_some());
}

#[test]
fn a_description_in_full() {
    let failure = Failure::typed(FailureKind::Application, "Timeout", "bank is slow");
    let description = Description {
        summary: RunSummary { stall: Some(stall()), ..run("order-1", Status::Stuck) },
        input: json("{\"total\":12}"),
        waiting_for: vec!["compensation of step 1".into(), "timer 4".into()],
        pending_activities: vec![PendingActivity {
            step: StepId::Undo(1),
            activity_type: name("refund"),
            queue: name("orders"),
            state: "waiting_for_retry".into(),
            attempt: 3,
            retry_at_ms: Some(NOW + 4_000),
            last_failure: Some(failure.clone()),
        }],
        pending_timers: vec![PendingTimer { seq: 4, due_ms: NOW + 7 * 86_400_000 }],
        compensations: vec![CompensationView {
            seq: 1,
            action: name("charge"),
            compensation: name("refund"),
            state: CompensationState::Failed,
            failure: Some(failure),
        }],
        cancel_requested: Some("ordered twice".into()),
        workers: vec![worker()],
    };
    assert_eq!(
        trimmed(&super::description(&description, &times())),
        "\
workflow      order-1
run           run-1
type          order
queue         orders
status        stuck
cannot go on  nondeterminism: step 2 was refund
              and is charge now
              asked in vain 2 times; asked again in 30s, or when the reason goes away
cancel asked  ordered twice
waits for     compensation of step 1
              timer 4
started       1m 40s ago
history       3 records
input         {\"total\":12}

Activities
  STEP    TYPE    QUEUE   STATE              ATTEMPT  NEXT TRY  LAST FAILURE
  undo-1  refund  orders  waiting_for_retry  3        in 4s     Timeout: bank is slow

Timers
  TIMER  DUE
  4      in 7d

Compensations
  STEP  UNDOES  BY      STATE                     FAILURE
  1     charge  refund  failed; retry or skip it  Timeout: bank is slow

Workers of the queue
  QUEUE   WORKER  HOST    SLOTS  WORKFLOWS  ACTIVITIES
  orders  w-1     box:17  3/8    order      charge refund"
    );
}

#[test]
fn a_history_row_by_row() {
    let record = |index: u64, events, commands: Option<Vec<Command>>| Record {
        v: 1,
        run_id: RunId::new("run-1").unwrap(),
        index,
        at_ms: NOW + index * 1_250,
        through: index,
        events,
        turn: commands.map(|commands| Turn { commands, worker: None, delivered: 1 }),
        stall: None,
    };
    let started = Event::RunStarted(Box::new(RunStarted {
        workflow_type: name("order"),
        queue: name("orders"),
        input: json("12"),
        request_id: None,
        run_timeout_ms: None,
        execution_timeout_ms: None,
    }));
    let charge = Command::RunActivity(RunActivity {
        seq: 1,
        activity_type: name("charge"),
        queue: name("orders"),
        input: json("12"),
        options: ActivityOptions::default(),
        compensation: None,
    });
    let long = format!("\"{}\"", "x".repeat(200));
    let records = [
        record(1, vec![started], Some(vec![charge, Command::StartTimer { seq: 2, delay_ms: 90_000 }])),
        record(2, vec![Event::TimerFired { seq: 2 }], Some(vec![])),
        record(
            3,
            vec![Event::ActivityCompleted { seq: 1, attempt: 2, result: json(&long) }],
            Some(vec![Command::CompleteRun { result: json("null") }]),
        ),
        Record { stall: Some(stall()), ..record(4, vec![], None) },
        record(5, vec![], Some(vec![])),
    ];
    let mut view = HistoryView::new(times());
    let mut rows = Rows::new(&HistoryView::HEADER);
    let mut lines = Vec::new();
    for record in &records {
        for row in view.rows(record) {
            lines.push(HistoryView::line(&row));
            rows.add(row);
        }
    }
    let cut = format!("\"{}…", "x".repeat(119));
    assert_eq!(
        trimmed(&rows.text()),
        format!(
            "\
RECORD  TIME       WHAT                DETAIL
1       +0ms       run_started         order on queue orders, input 12
                   → run_activity      1 charge on queue orders, input 12
                   → start_timer       2: 1m 30s
2       +1s 250ms  timer_fired         2
3       +2s 500ms  activity_completed  1 charge at attempt 2 = {cut}
                   → complete_run      null
4       +3s 750ms  stalled             nondeterminism: step 2 was refund and is charge now
5       +5s        → nothing"
        )
    );
    assert_eq!(lines[0], "     1  +0ms        run_started             order on queue orders, input 12");
}
