//! A worker in plain NATS messages, with four workflows: `echo` returns its input, `broken` fails, `gate`
//! waits for the signal `open` and returns what it carries, `order` charges and then fails, so that the
//! charge is refunded. The refund fails as long as the bank is closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use stepwell_connection::provision::ensure_queue;
use stepwell_connection::{Connection, chunked};
use stepwell_encryption::{KeyRing, Payloads};
use stepwell_shared::announce::Announcement;
use stepwell_shared::command::{Command, Compensation, RunActivity};
use stepwell_shared::encoding::{VERSION, decode, encode};
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::history::Event;
use stepwell_shared::ids::{Name, WorkerId};
use stepwell_shared::message::{Outcome, ReportMessage};
use stepwell_shared::options::ActivityOptions;
use stepwell_shared::payload::Payload;
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::{self, EventAddress};
use stepwell_shared::task::{ActivityTask, Answer, Work, WorkflowTask, WorkflowTaskReply};
use tokio::task::JoinSet;

use crate::support::{Dev, eventually};

/// A running worker; it ends when this is dropped.
pub(crate) struct Worker {
    pub(crate) bank_is_open: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Starts a worker on the queue `default`.
pub(crate) async fn start(dev: &Dev) -> Worker {
    start_with(dev, None).await
}

/// The same with keys.
pub(crate) async fn start_with(dev: &Dev, keys: Option<KeyRing>) -> Worker {
    let connection = dev.connect().await;
    let payloads = Payloads::new(connection.namespace().clone(), keys.map(Into::into));
    let bank_is_open = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    let turns = subject::workflow_task(connection.namespace(), &name("default"));
    let turns = connection.client().queue_subscribe(turns, "default".into()).await.unwrap();
    tasks.spawn(serve_turns(connection.clone(), payloads, turns));
    tasks.spawn(serve_activities(connection.clone(), Arc::clone(&bank_is_open)));
    let announcement = Announcement {
        v: VERSION,
        worker: worker_id(),
        queue: name("default"),
        workflows: ["broken", "echo", "gate", "order"].map(name).into(),
        activities: ["charge", "refund"].map(name).into(),
        slots: 4,
        slots_used: 0,
        host: "host\u{1b}[31m".into(),
        leaving: false,
    };
    let announce = subject::announce(connection.namespace());
    connection.client().publish(announce, encode(&announcement).into()).await.unwrap();
    // An answer to a request means that everything before it has arrived.
    let known = || dev.run(&["workers"]).ok().contains("worker-1").then_some(());
    eventually("the worker to be known", known);
    Worker { bank_is_open, _tasks: tasks }
}

fn worker_id() -> WorkerId {
    WorkerId::new("worker-1").unwrap()
}

async fn serve_turns(connection: Connection, payloads: Payloads, mut turns: async_nats::Subscriber) {
    while let Some(message) = turns.next().await {
        let mut task: WorkflowTask = decode(&message.payload).unwrap();
        payloads.open_workflow_task(&mut task).unwrap();
        let mut answer = match &task.work {
            Work::Turn { events, .. } => {
                let commands = events.iter().flat_map(|event| turn(task.workflow_type.as_str(), event));
                Answer::Commands { commands: commands.collect() }
            }
            Work::Query { name, argument } if name.as_str() == "state" => {
                Answer::QueryResult { result: argument.clone() }
            }
            Work::Query { name, .. } => {
                Answer::QueryFailed { message: format!("there is no query {name}; there is state") }
            }
        };
        payloads.seal_answer(&task, &mut answer).unwrap();
        let reply = WorkflowTaskReply {
            v: VERSION,
            worker: worker_id(),
            answer,
            replayed: false,
            takes_packs: false,
        };
        chunked::reply(connection.client(), message.reply.unwrap(), encode(&reply)).await.unwrap();
    }
}

fn turn(workflow_type: &str, event: &Event) -> Vec<Command> {
    let failed = |name: &str, text: &str| {
        vec![Command::FailRun { failure: Failure::typed(FailureKind::Application, name, text) }]
    };
    match (workflow_type, event) {
        ("echo", Event::RunStarted(start)) => vec![Command::CompleteRun { result: start.input.clone() }],
        ("broken", Event::RunStarted(_)) => failed("Broken", "it \u{1b}[31mbroke"),
        ("gate", Event::SignalReceived { name, payload, .. }) if name.as_str() == "open" => {
            vec![Command::CompleteRun { result: payload.clone() }]
        }
        ("gate", Event::CancelRequested { reason }) => {
            let failure = Failure::new(FailureKind::Cancelled, reason.clone());
            vec![Command::CancelRun { failure }]
        }
        ("order", Event::RunStarted(start)) => vec![charge(&start.input)],
        ("order", Event::ActivityCompleted { .. }) => failed("OutOfStock", "nothing left"),
        _ => Vec::new(),
    }
}

fn charge(input: &Payload) -> Command {
    let options = ActivityOptions { start_to_close_ms: Some(30_000), ..ActivityOptions::default() };
    let compensation =
        Compensation { activity_type: name("refund"), queue: name("default"), options: options.clone() };
    Command::RunActivity(RunActivity {
        seq: 1,
        activity_type: name("charge"),
        queue: name("default"),
        input: input.clone(),
        options,
        compensation: Some(Box::new(compensation)),
    })
}

async fn serve_activities(connection: Connection, bank_is_open: Arc<AtomicBool>) {
    let consumer = ensure_queue(&connection, &name("default"), Shard::FIRST).await.unwrap();
    let mut tasks = consumer.messages().await.unwrap();
    while let Some(message) = tasks.next().await {
        let message = message.unwrap();
        let task: ActivityTask = decode(&message.payload).unwrap();
        let outcome = if task.activity_type.as_str() == "charge" || bank_is_open.load(Ordering::SeqCst) {
            Outcome::Completed { result: Payload::encode("done").unwrap() }
        } else {
            let mut failure = Failure::typed(FailureKind::Application, "BankClosed", "come back tomorrow");
            failure.non_retryable = true;
            Outcome::Failed { failure, heartbeat: None }
        };
        let report = ReportMessage {
            v: VERSION,
            attempt: task.attempt,
            token: task.token,
            outcome,
            worker: Some(worker_id()),
            schedule_to_start_ms: None,
            execution_ms: None,
        };
        let address = EventAddress::Report { run_id: task.run_id, step: task.step };
        let subject = subject::event(connection.namespace(), &task.workflow_id, &address);
        let sent = connection.publisher().publish(subject, None, encode(&report).into()).await;
        sent.unwrap().await.unwrap();
        message.ack().await.unwrap();
    }
}
