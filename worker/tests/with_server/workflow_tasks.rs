//! How workflow tasks are answered. The test keeps the history.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use stepwell::prelude::*;
use stepwell::shared::command::Command;
use stepwell::shared::encoding::{VERSION, decode, encode};
use stepwell::shared::history::{Event, Record, RunStarted, StallKind, Turn};
use stepwell::shared::ids::{RunId, WorkerId, WorkflowId};
use stepwell::shared::subject;
use stepwell::shared::task::{Answer, Work, WorkflowTask, WorkflowTaskReply};
use stepwell_connection::chunked;
use tracing::Subscriber;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::support::{PATIENCE, QUEUE, RunningWorker, World, json, name, queue, run_id, within};

const STEPS: Query<(), u32> = Query::new("steps");

#[activity(start_to_close = "10s")]
async fn double(_ctx: ActivityContext, n: u32) -> Result<u32, ActivityError> {
    Ok(n * 2)
}

/// Doubles a number three times.
#[workflow]
async fn eight_times(ctx: WorkflowContext, n: u32) -> Result<u32, WorkflowError> {
    let steps = ctx.answer(STEPS, 0);
    let mut value = n;
    for step in 1..=3 {
        value = ctx.run(double, value).await?;
        steps.set(step);
    }
    Ok(value)
}

#[workflow]
async fn explodes(_ctx: WorkflowContext) -> Result<(), WorkflowError> {
    panic!("bang")
}

#[workflow]
async fn sleeps_on_tokio(_ctx: WorkflowContext) -> Result<(), WorkflowError> {
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(())
}

/// Asks for more than fits into one message.
#[workflow]
async fn talkative(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let text = "x".repeat(400_000);
    let calls = (0..5).map(|_| ctx.run_untyped("print", json(&text)).start_to_close(secs(1)));
    let _ = join_all(calls).await;
    Ok(())
}

/// Says what it does, in both ways in which workflow code can.
#[workflow]
async fn chats(ctx: WorkflowContext) -> Result<(), WorkflowError> {
    let steps = ctx.answer(STEPS, 0);
    for step in 1..=3 {
        workflow_info!(ctx, "said before step {step}");
        tracing::info!("traced before step {step}");
        ctx.run(double, step).await?;
        steps.set(step);
    }
    Ok(())
}

/// The test as the orchestrator of one run.
struct Run {
    world: World,
    workflow: &'static str,
    records: Vec<Record>,
    first_sequence: u64,
    worker: Option<WorkerId>,
    /// How many records are handed over with a task.
    handed: usize,
}

impl Run {
    async fn new(world: World, workflow: &'static str) -> Self {
        Self { world, workflow, records: Vec::new(), first_sequence: 0, worker: None, handed: 0 }
    }

    fn id() -> WorkflowId {
        WorkflowId::new("order 7").unwrap()
    }

    fn history_subject(&self) -> String {
        subject::history(self.world.connection.namespace(), &Self::id(), 16)
    }

    fn after(&self) -> u64 {
        self.records.iter().rev().find(|record| record.turn.is_some()).map_or(0, |record| record.index)
    }

    fn task(&self, work: Work) -> WorkflowTask {
        WorkflowTask {
            records: self.records.iter().take(self.handed).cloned().collect(),
            v: VERSION,
            workflow_id: Self::id(),
            run_id: run_id(),
            workflow_type: name(self.workflow),
            history_subject: self.history_subject(),
            first_sequence: self.first_sequence,
            after: self.after(),
            mark: None,
            next_mark: None,
            replay_token: None,
            work,
        }
    }

    async fn ask(&self, work: Work) -> WorkflowTaskReply {
        let (connection, task) = (&self.world.connection, encode(&self.task(work)));
        let answer = match &self.worker {
            Some(worker) => {
                let subject = subject::sticky_workflow_task(connection.namespace(), &queue(), worker);
                chunked::request_packed(connection, subject, task, PATIENCE).await
            }
            None => {
                let subject = subject::workflow_task(connection.namespace(), &queue());
                chunked::request(connection, subject, task, PATIENCE).await
            }
        };
        decode(&answer.expect("an answer")).expect("a reply")
    }

    async fn turn(&self, events: &[Event]) -> WorkflowTaskReply {
        let index = self.records.len() as u64 + 1;
        self.ask(Work::Turn { at_ms: 1_000 * index, events: events.to_vec(), index }).await
    }

    async fn query(&self, query: &str) -> WorkflowTaskReply {
        self.ask(Work::Query { name: name(query), argument: json(()) }).await
    }

    /// Records what was answered, as the orchestrator would.
    async fn record(&mut self, events: Vec<Event>, commands: Vec<Command>) {
        let index = self.records.len() as u64 + 1;
        let delivered = events.len() as u32;
        let record = Record {
            v: VERSION,
            run_id: run_id(),
            index,
            at_ms: 1_000 * index,
            through: index,
            events,
            turn: Some(Turn { commands, worker: None, delivered }),
            stall: None,
        };
        let publisher = self.world.connection.publisher();
        let sent = publisher.publish(self.history_subject(), None, encode(&record).into()).await;
        let ack = sent.expect("it is sent").await.expect("it is stored");
        if self.first_sequence == 0 {
            self.first_sequence = ack.sequence;
        }
        self.records.push(record);
    }

    /// A turn whose answer is recorded.
    async fn step(&mut self, event: Event) -> (Vec<Command>, bool) {
        let reply = self.turn(std::slice::from_ref(&event)).await;
        let Answer::Commands { commands } = reply.answer else { panic!("no commands: {:?}", reply.answer) };
        assert!(reply.takes_packs);
        self.worker = Some(reply.worker);
        self.record(vec![event], commands.clone()).await;
        (commands, reply.replayed)
    }

    async fn stalled(&self, event: Event) -> (StallKind, String) {
        let reply = self.turn(&[event]).await;
        let Answer::Stalled { kind, message } = reply.answer else {
            panic!("not stalled: {:?}", reply.answer)
        };
        (kind, message)
    }
}

async fn worker(world: &World, cached: usize) -> RunningWorker {
    let worker = world.worker().await.max_cached_workflows(cached);
    let worker =
        worker.workflow(eight_times).workflow(explodes).workflow(sleeps_on_tokio).workflow(talkative);
    world.run(worker).await
}

fn started(workflow: &str, input: u32) -> Event {
    Event::RunStarted(Box::new(RunStarted {
        workflow_type: name(workflow),
        queue: queue(),
        input: if workflow == "eight_times" { json(input) } else { json(()) },
        request_id: None,
        run_timeout_ms: None,
        execution_timeout_ms: None,
    }))
}

fn completed(seq: u32, result: u32) -> Event {
    Event::ActivityCompleted { seq, attempt: 1, result: json(result) }
}

/// The input of the one activity that is asked for.
fn asked(commands: &[Command]) -> u32 {
    let [Command::RunActivity(run)] = commands else { panic!("not one activity: {commands:?}") };
    assert_eq!((run.activity_type.as_str(), run.queue.as_str()), ("double", QUEUE));
    run.input.decode().unwrap()
}

#[tokio::test]
async fn a_run_goes_on_in_memory_or_from_its_history() {
    for (cached, replays) in [(10, false), (0, true)] {
        let world = World::new().await;
        let _worker = worker(&world, cached).await;
        let mut run = Run::new(world, "eight_times").await;
        let (commands, replayed) = run.step(started("eight_times", 1)).await;
        assert_eq!((asked(&commands), replayed), (1, false));
        for (seq, value) in [(1, 2), (2, 4)] {
            let (commands, replayed) = run.step(completed(seq, value)).await;
            assert_eq!((asked(&commands), replayed), (value, replays));
        }
        let (commands, replayed) = run.step(completed(3, 8)).await;
        assert_eq!(commands, [Command::CompleteRun { result: json(8) }]);
        assert_eq!(replayed, replays);
    }
}

#[tokio::test]
async fn code_that_is_ahead_of_the_history_is_replayed() {
    let world = World::new().await;
    let _worker = worker(&world, 10).await;
    let mut run = Run::new(world, "eight_times").await;
    run.step(started("eight_times", 1)).await;
    // The answer is lost before it is recorded; the orchestrator asks again.
    let lost = run.turn(&[completed(1, 2)]).await;
    let again = run.turn(&[completed(1, 2)]).await;
    assert_eq!(again.answer, lost.answer);
    assert_eq!((lost.replayed, again.replayed), (false, true));
    // And another time from the beginning.
    run.records.clear();
    let first = run.turn(&[started("eight_times", 5)]).await;
    let Answer::Commands { commands } = first.answer else { panic!("{:?}", first.answer) };
    assert_eq!((asked(&commands), first.replayed), (5, false));
}

#[tokio::test]
async fn another_worker_goes_on_from_the_history() {
    let world = World::new().await;
    let first = worker(&world, 10).await;
    let mut run = Run::new(world, "eight_times").await;
    run.step(started("eight_times", 1)).await;
    run.step(completed(1, 2)).await;
    first.end().await;
    run.worker = None;
    let _second = worker(&run.world, 10).await;
    let (commands, replayed) = run.step(completed(2, 4)).await;
    assert_eq!((asked(&commands), replayed), (4, true));
}

#[tokio::test]
async fn records_that_come_with_the_task_are_not_asked_for() {
    let world = World::new().await;
    let _worker = worker(&world, 0).await;
    let mut run = Run::new(world, "eight_times").await;
    run.step(started("eight_times", 1)).await;
    run.step(completed(1, 2)).await;
    let history = run.world.connection.jetstream().get_stream("STEPWELL_default_HISTORY").await.unwrap();
    history.purge().await.unwrap();
    run.handed = 2;
    let reply = run.turn(&[completed(2, 4)]).await;
    let Answer::Commands { commands } = reply.answer else { panic!("{:?}", reply.answer) };
    assert_eq!((asked(&commands), reply.replayed), (4, true));
    // Those that do not reach far enough are no use.
    run.handed = 1;
    assert_eq!(run.stalled(completed(2, 4)).await.0, StallKind::TaskTimeout);
}

#[tokio::test]
async fn code_that_contradicts_the_history_stalls() {
    let world = World::new().await;
    let _worker = worker(&world, 0).await;
    let mut run = Run::new(world, "eight_times").await;
    run.record(vec![started("eight_times", 1)], vec![Command::StartTimer { seq: 1, delay_ms: 5 }]).await;
    let (kind, message) = run.stalled(completed(1, 2)).await;
    assert_eq!(kind, StallKind::Nondeterminism, "{message}");
    assert!(message.contains("double"), "{message}");
}

#[tokio::test]
async fn code_that_fails_stalls_only_itself() {
    let world = World::new().await;
    let _worker = worker(&world, 10).await;
    let mut run = Run::new(world, "explodes").await;
    let (kind, message) = run.stalled(started("explodes", 0)).await;
    assert_eq!(kind, StallKind::Panic);
    assert!(message.contains("bang") && message.contains("workflow_tasks.rs"), "{message}");
    run.workflow = "sleeps_on_tokio";
    assert_eq!(run.stalled(started("sleeps_on_tokio", 0)).await.0, StallKind::ForeignWait);
    run.workflow = "unheard_of";
    let (kind, message) = run.stalled(started("unheard_of", 0)).await;
    assert_eq!(kind, StallKind::UnknownType);
    let there = "`eight_times`, `explodes`, `sleeps_on_tokio` and `talkative`";
    assert!(message.contains("no workflow `unheard_of`") && message.contains(there), "{message}");
    run.workflow = "eight_times";
    let Event::RunStarted(mut bad) = started("eight_times", 1) else { panic!("no start") };
    bad.input = json("no number");
    let bad = Event::RunStarted(bad);
    let (kind, message) = run.stalled(bad).await;
    assert_eq!(kind, StallKind::InvalidTurn);
    assert!(message.contains("`eight_times` is not a `u32`"), "{message}");
    assert_eq!(asked(&run.step(started("eight_times", 3)).await.0), 3);
}

#[tokio::test]
async fn a_history_that_is_missing_stalls_and_one_that_is_late_is_waited_for() {
    let world = World::new().await;
    let _worker = worker(&world, 0).await;
    let mut run = Run::new(world, "eight_times").await;
    let (first, _) = run.step(started("eight_times", 1)).await;
    let commands = vec![Command::CancelTimer { seq: 1 }];
    let turn = Some(Turn { commands, worker: None, delivered: 0 });
    let record = Record { index: 2, turn, events: Vec::new(), ..run.records[0].clone() };
    run.records.push(record);
    let (kind, message) = run.stalled(completed(1, 2)).await;
    assert_eq!(kind, StallKind::TaskTimeout);
    assert!(message.contains("up to record 2") && message.contains("it has 1 records"), "{message}");
    // Asked before the record is there.
    run.records.pop();
    let late = run.turn(&[completed(1, 2)]).await;
    let Answer::Commands { commands: second } = late.answer else { panic!("{:?}", late.answer) };
    assert_eq!((asked(&first), asked(&second)), (1, 2));
}

#[tokio::test]
async fn queries_are_answered_from_the_state_as_it_is() {
    for cached in [10, 0] {
        let world = World::new().await;
        let _worker = worker(&world, cached).await;
        let mut run = Run::new(world, "eight_times").await;
        for (event, steps) in [(started("eight_times", 1), 0), (completed(1, 2), 1), (completed(2, 4), 2)] {
            run.step(event).await;
            assert_eq!(run.query("steps").await.answer, Answer::QueryResult { result: json(steps) });
        }
        let Answer::QueryFailed { message } = run.query("stepz").await.answer else { panic!("answered") };
        assert!(message.contains("`stepz`") && message.contains("steps"), "{message}");
        run.step(completed(3, 8)).await;
        // Closed runs answer, too.
        assert_eq!(run.query("steps").await.answer, Answer::QueryResult { result: json(3) });
    }
}

#[tokio::test]
async fn tasks_that_come_in_one_message_are_answered_each() {
    let world = World::new().await;
    let _worker = worker(&world, 10).await;
    let mut run = Run::new(world, "eight_times").await;
    run.step(started("eight_times", 1)).await;
    run.step(completed(1, 2)).await;
    let (connection, worker) = (&run.world.connection, run.worker.clone().unwrap());
    let subject = subject::sticky_workflow_task(connection.namespace(), &queue(), &worker);
    let query = |query| encode(&run.task(Work::Query { name: name(query), argument: json(()) }));
    let mut talk = run.task(Work::Turn { at_ms: 1, events: vec![started("talkative", 0)], index: 1 });
    (talk.workflow_type, talk.run_id, talk.after) = (name("talkative"), RunId::new("other").unwrap(), 0);
    let tasks = [query("steps"), b"{\"v\":1".to_vec(), query("stepz"), encode(&talk), query("steps")];
    let asks = tasks.map(|task| chunked::request_packed(connection, subject.clone(), task, PATIENCE));
    let answers = futures_util::future::join_all(asks).await;
    let answers =
        answers.into_iter().map(|answer| decode::<WorkflowTaskReply>(&answer.unwrap()).unwrap().answer);
    let answers: Vec<Answer> = answers.collect();
    assert_eq!(answers[0], Answer::QueryResult { result: json(1) });
    let stalled = |answer: &Answer| matches!(answer, Answer::Stalled { kind: StallKind::InvalidTurn, .. });
    assert!(stalled(&answers[1]), "{:?}", answers[1]);
    assert!(matches!(answers[2], Answer::QueryFailed { .. }), "{:?}", answers[2]);
    // Larger than a message.
    assert!(matches!(&answers[3], Answer::Commands { commands } if commands.len() == 5), "{:?}", answers[3]);
    assert_eq!(answers[4], answers[0]);
}

/// What is logged on a thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        let log = self.clone();
        tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || log.clone())
    }

    /// Before which steps the code of [`chats`] spoke in this way.
    fn steps(&self, way: &str) -> Vec<u32> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let steps = text.lines().filter_map(|line| line.split_once(&format!("{way} before step ")));
        steps.map(|(_, step)| step.trim().parse().unwrap()).collect()
    }
}

// The worker runs on the test's thread, where the log is.
#[tokio::test(flavor = "current_thread")]
async fn what_was_logged_before_is_not_logged_again_by_a_replay() {
    for (cached, replays) in [(10, false), (0, true)] {
        // A subscriber that knows of replays, and one that does not: the macro needs none that does.
        let (muted, raw) = (Log::default(), Log::default());
        let knowing = muted.layer().with_filter(stepwell::log::not_replaying());
        let subscriber = tracing_subscriber::registry().with(knowing).with(raw.layer());
        let _logged = tracing::subscriber::set_default(subscriber);
        let said = || [muted.steps("said"), muted.steps("traced"), raw.steps("said")];
        let world = World::new().await;
        let _worker = world.run(world.worker().await.max_cached_workflows(cached).workflow(chats)).await;
        let mut run = Run::new(world, "chats").await;
        run.step(started("chats", 0)).await;
        for step in 1..=3 {
            let once: Vec<u32> = (1..=step).collect();
            assert_eq!(said(), [&once[..]; 3]);
            let query = run.query("steps").await;
            assert_eq!(query.answer, Answer::QueryResult { result: json(step - 1) });
            assert_eq!(query.replayed, replays);
            assert_eq!(said(), [&once[..]; 3], "a question makes the code say nothing");
            let (_, replayed) = run.step(completed(step, 2 * step)).await;
            assert_eq!(replayed, replays);
        }
        assert_eq!(said(), [[1, 2, 3]; 3]);
        assert_eq!(raw.steps("traced").len() > 3, replays, "it was retraced");
    }
}

#[tokio::test]
async fn a_long_answer_comes_in_parts() {
    let world = World::new().await;
    let _worker = worker(&world, 10).await;
    let mut run = Run::new(world, "talkative").await;
    let reply = run.turn(&[started("talkative", 0)]).await;
    let Answer::Commands { commands } = reply.answer else { panic!("no commands") };
    assert_eq!(commands.len(), 5);
    run.worker = Some(reply.worker);
}

#[tokio::test]
async fn one_run_has_one_task_at_a_time_and_many_runs_have_many() {
    let world = World::new().await;
    let _worker = worker(&world, 10).await;
    let run = Run::new(world, "eight_times").await;
    let answers = join_all((0..50).map(|_| run.query("steps"))).await;
    assert!(answers.iter().all(|reply| matches!(reply.answer, Answer::QueryFailed { .. })));
    let answers = join_all((0..50).map(|_| run.turn(&[])));
    assert_eq!(within(answers).await.len(), 50);
}
