//! What must hold when everything has come to rest, whatever went wrong on the way.

use std::collections::{BTreeMap, BTreeSet};

use stepwell_orchestrator_core::Workflow;
use stepwell_shared::api::CompensationState;
use stepwell_shared::command::Command;
use stepwell_shared::encoding::decode;
use stepwell_shared::history::{Event, Record};
use stepwell_shared::ids::{RunId, Seq, StepId, WorkflowId};
use stepwell_shared::message::SignalMessage;
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::{self, Bucket, EventAddress, Stream, parse_stored_event};
use stepwell_shared::summary::{RunSummary, Status};
use stepwell_worker_replay::Instance;

use super::client::{Client, Plan, Planned, works_by_seq};
use super::code::{SignalBody, code};
use super::history::{StoredRecord, records};
use super::program::{Fate, Work};
use super::world::World;
use crate::backend::{KeyValue, Log};

/// Everything that does not hold.
pub(crate) fn check(world: &mut World, client: &Client) -> Vec<String> {
    let mut found = Findings::default();
    let mut runs = BTreeSet::new();
    let mut signals: BTreeMap<u64, u32> = BTreeMap::new();
    for plan in &client.plans {
        let subject = subject::history(&world.namespace, &plan.id, world.partitions);
        let messages = world.server.read(Stream::History(Shard::FIRST), &subject, 0, usize::MAX);
        let all = records(&messages);
        let histories: Vec<&[StoredRecord]> =
            all.chunk_by(|a, b| a.record.run_id == b.record.run_id).collect();
        if histories.len() != plan.runs.len() {
            found.add(format!("{}: {} runs, planned were {}", plan.id, histories.len(), plan.runs.len()));
        }
        for (history, planned) in histories.into_iter().zip(&plan.runs) {
            let run_id = &history[0].record.run_id;
            runs.insert(run_id.clone());
            let works = works_by_seq(&messages, Some(run_id));
            let about = format!("{} ({run_id})", plan.id);
            found.about(about, |found| check_run(found, world, plan, planned, history, &works));
            count_signals(history, &mut signals);
        }
        found.about(plan.id.to_string(), |found| check_summary(found, world, plan, &all));
    }
    check_service(&mut found, world, &runs);
    check_signals(&mut found, world, &signals);
    check_leftovers(&mut found, world);
    found.list
}

#[derive(Default)]
struct Findings {
    about: String,
    list: Vec<String>,
}

impl Findings {
    fn add(&mut self, text: impl Into<String>) {
        let text = text.into();
        let line = if self.about.is_empty() { text } else { format!("{}: {text}", self.about) };
        self.list.push(line);
    }

    fn about(&mut self, about: String, check: impl FnOnce(&mut Self)) {
        self.about = about;
        check(self);
        self.about.clear();
    }

    fn expect(&mut self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.add(text());
        }
    }
}

fn check_run(
    found: &mut Findings,
    world: &World,
    plan: &Plan,
    planned: &Planned,
    history: &[StoredRecord],
    works: &BTreeMap<Seq, Work>,
) {
    let Some(workflow) = rebuilt(found, &plan.id, history) else { return };
    check_replay(found, &plan.id, history);
    check_history(found, history);
    check_attempts(found, world, history);
    check_compensations(found, world, &workflow, history);
    let Some(summary) = workflow.summary() else { return };
    if !summary.status.closed() {
        return found.add(format!("the run is not closed: {:?}", summary.status));
    }
    if planned.unruly {
        return;
    }
    let answer = planned.program.answer(planned.by_timeout);
    found.expect(answer.statuses.contains(&summary.status), || {
        format!("it ended as {:?}, expected {:?}", summary.status, answer.statuses)
    });
    if summary.status == Status::Completed {
        let result = summary.result.and_then(|result| result.decode::<u64>().ok());
        found.expect(result == Some(answer.result), || {
            format!("its result is {result:?}, expected {}", answer.result)
        });
    }
    check_fates(found, world, &summary.run_id, works, &answer.fates);
}

/// The records make a run, and nothing but its own records are in it.
fn rebuilt(found: &mut Findings, id: &WorkflowId, history: &[StoredRecord]) -> Option<Workflow> {
    let mut workflow = Workflow::new(id.clone());
    for (stored, index) in history.iter().zip(1..) {
        found.expect(stored.record.index == index, || format!("record {index} is missing"));
        if let Err(error) = workflow.apply(&stored.record) {
            found.add(error.to_string());
            return None;
        }
    }
    Some(workflow)
}

/// Fresh code does what the history says.
fn check_replay(found: &mut Findings, id: &WorkflowId, history: &[StoredRecord]) {
    let mut instance = Instance::new(code(), id.clone(), history[0].record.run_id.clone());
    for stored in history {
        if let Err(stalled) = instance.replay(&stored.record) {
            return found.add(format!("it cannot be replayed: {}", stalled.message));
        }
    }
}

/// Ends come once, nothing is early.
fn check_history(found: &mut Findings, history: &[StoredRecord]) {
    let mut ended: BTreeSet<(char, Seq)> = BTreeSet::new();
    let mut timers: BTreeMap<Seq, u64> = BTreeMap::new();
    let mut retries: BTreeMap<StepId, u64> = BTreeMap::new();
    for Record { at_ms, events, turn, .. } in history.iter().map(|stored| &stored.record) {
        for event in events {
            let key = match event {
                Event::ActivityCompleted { seq, .. }
                | Event::ActivityFailed { seq, .. }
                | Event::ActivityCancelled { seq } => ('a', *seq),
                Event::CompensationCompleted { seq } => ('c', *seq),
                Event::RunStarted(_) => ('s', 0),
                Event::RunTerminated { .. } => ('e', 0),
                Event::TimerFired { seq } => {
                    let due_ms = timers.get(seq).copied().unwrap_or(u64::MAX);
                    found.expect(*at_ms >= due_ms, || format!("timer {seq} was early"));
                    ('t', *seq)
                }
                Event::AttemptFailed { step, retry_at_ms, .. } => {
                    retries.insert(*step, *retry_at_ms);
                    continue;
                }
                Event::AttemptScheduled { step, .. } => {
                    let due_ms = retries.remove(step).unwrap_or(0);
                    found.expect(*at_ms >= due_ms, || format!("step {step} was repeated early"));
                    continue;
                }
                Event::SignalReceived { .. }
                | Event::CancelRequested { .. }
                | Event::RunTimedOut { .. }
                | Event::AttemptStarted { .. }
                | Event::AttemptRefused { .. }
                | Event::CompensationStarted { .. }
                | Event::CompensationFailed { .. }
                | Event::CompensationResolved { .. }
                | Event::CompensationsFinished { .. } => continue,
            };
            found.expect(ended.insert(key), || format!("{key:?} ended twice"));
        }
        for command in turn.iter().flat_map(|turn| &turn.commands) {
            if let Command::StartTimer { seq, delay_ms } = command {
                timers.insert(*seq, at_ms + delay_ms);
            }
        }
    }
}

/// No attempt is made twice, and none of a step whose result was recorded before.
fn check_attempts(found: &mut Findings, world: &World, history: &[StoredRecord]) {
    let run_id = &history[0].record.run_id;
    let mut over: BTreeMap<StepId, u64> = BTreeMap::new();
    for stored in history {
        let at_ms = world.stored_ms.get(&stored.last_sequence).copied().unwrap_or(0);
        for event in &stored.record.events {
            if let Event::ActivityCompleted { seq, .. } = event {
                over.insert(StepId::Action(*seq), at_ms);
            } else if let Event::CompensationCompleted { seq } = event {
                over.insert(StepId::Undo(*seq), at_ms);
            }
        }
    }
    let mut made = BTreeSet::new();
    for began in world.service.began.iter().filter(|began| began.run_id == *run_id) {
        let (step, attempt) = (began.step, began.attempt);
        found.expect(made.insert((step, attempt)), || format!("attempt {attempt} of {step} was made twice"));
        let late = !began.stale && over.get(&step).is_some_and(|over_ms| began.at_ms > *over_ms);
        found.expect(!late, || format!("attempt {attempt} of {step} was made after its result was recorded"));
    }
}

/// What was to be undone was undone, once, latest first.
fn check_compensations(found: &mut Findings, world: &World, workflow: &Workflow, history: &[StoredRecord]) {
    let Some(description) = workflow.describe() else { return };
    let run_id = &description.summary.run_id;
    let undone: Vec<Seq> =
        world.service.undone.iter().filter(|(run, _)| run == run_id).map(|(_, seq)| *seq).collect();
    let mut completed = Vec::new();
    let mut last: Option<Seq> = None;
    for Record { events, turn, .. } in history.iter().map(|stored| &stored.record) {
        for event in events {
            if let Event::CompensationStarted { seq } = event {
                found.expect(last.is_none_or(|last| *seq <= last), || {
                    format!("compensation {seq} after {last:?}")
                });
                last = Some(*seq);
            } else if let Event::CompensationCompleted { seq } = event {
                completed.push(*seq);
            }
        }
        let unwinds = |command: &Command| command.closes() || matches!(command, Command::Compensate { .. });
        if turn.iter().flat_map(|turn| &turn.commands).any(unwinds) {
            last = None;
        }
    }
    let of_completed: Vec<Seq> = undone.iter().copied().filter(|seq| completed.contains(seq)).collect();
    found.expect(of_completed == completed, || {
        format!("compensated were {completed:?}, undone in this order {undone:?}")
    });
    if description.summary.status == Status::Terminated || !description.summary.status.closed() {
        return;
    }
    for compensation in &description.compensations {
        let dealt_with = match compensation.state {
            CompensationState::Completed | CompensationState::Skipped | CompensationState::Released => true,
            CompensationState::Registered | CompensationState::Running | CompensationState::Failed => false,
        };
        found.expect(dealt_with, || {
            format!("compensation {} is {:?} at the end", compensation.seq, compensation.state)
        });
        let account = world.service.accounts.get(&format!("{run_id}/{}", compensation.seq));
        let stands = account.is_some_and(|account| account.done);
        let gone = compensation.state == CompensationState::Completed;
        found.expect(!(gone && stands), || format!("step {} was undone and stands", compensation.seq));
    }
}

/// The service did what the program says, no more and no less.
fn check_fates(
    found: &mut Findings,
    world: &World,
    run_id: &RunId,
    works: &BTreeMap<Seq, Work>,
    fates: &BTreeMap<u32, Fate>,
) {
    let accounts: BTreeMap<u32, &super::service::Account> = works
        .iter()
        .filter_map(|(seq, work)| {
            world.service.accounts.get(&format!("{run_id}/{seq}")).map(|account| (work.node, account))
        })
        .collect();
    let nodes: BTreeMap<u32, &Work> = works.values().map(|work| (work.node, work)).collect();
    for (node, fate) in fates {
        let account = accounts.get(node);
        let (asked, done, undone) =
            account.map_or((0, false, 0), |account| (account.asked, account.done, account.undone));
        let skipped = nodes
            .get(node)
            .and_then(|work| work.undo.as_ref())
            .is_some_and(|undo| undo.skip && undo.fatal > 0);
        let fits = match fate {
            Fate::Done => asked > 0 && done && undone == 0,
            Fate::Undone => asked > 0 && (skipped || (!done && undone > 0)),
            Fate::Open => true,
            Fate::Never => asked == 0 && !done,
            Fate::Once => asked <= 1,
        };
        found.expect(fits, || {
            format!("node {node} should be {fate:?}: asked {asked} times, done {done}, undone {undone} times")
        });
    }
}

/// What a list says of the id is what its last run is.
fn check_summary(found: &mut Findings, world: &mut World, plan: &Plan, all: &[StoredRecord]) {
    let mut workflow = Workflow::new(plan.id.clone());
    if all.iter().any(|stored| workflow.apply(&stored.record).is_err()) {
        return;
    }
    let entry = world.server.get(Bucket::State, &subject::state_key(&plan.id));
    let stored = entry.and_then(|entry| decode::<RunSummary>(&entry.value).ok());
    found.expect(stored == workflow.summary(), || {
        format!("the summary is {stored:?}, and the run is {:?}", workflow.summary())
    });
}

/// The service was asked only by runs that exist.
fn check_service(found: &mut Findings, world: &World, runs: &BTreeSet<RunId>) {
    for began in &world.service.began {
        found.expect(runs.contains(&began.run_id), || {
            format!("{}/{} was carried out, and no such run was recorded", began.run_id, began.step)
        });
    }
}

fn count_signals(history: &[StoredRecord], signals: &mut BTreeMap<u64, u32>) {
    for event in history.iter().flat_map(|stored| &stored.record.events) {
        if let Event::SignalReceived { payload, .. } = event
            && let Ok(body) = payload.decode::<SignalBody>()
        {
            *signals.entry(body.uid).or_default() += 1;
        }
    }
}

/// Every signal that was stored is in one history once, or was set aside.
fn check_signals(found: &mut Findings, world: &mut World, recorded: &BTreeMap<u64, u32>) {
    let all = subject::all_rejected(&world.namespace);
    let rejected: BTreeSet<String> = world
        .server
        .read(Stream::Rejected, &all, 0, usize::MAX)
        .into_iter()
        .filter_map(|it| it.message_id)
        .collect();
    let mut refused: BTreeMap<u64, bool> = BTreeMap::new();
    for event in &world.events {
        let Ok((_, EventAddress::Signal { .. })) = parse_stored_event(&event.subject) else { continue };
        let message = decode::<SignalMessage>(&event.body).ok();
        let Some(body) = message.and_then(|message| message.payload.decode::<SignalBody>().ok()) else {
            continue;
        };
        let aside = rejected.contains(&format!("rejected-{}", event.sequence));
        *refused.entry(body.uid).or_insert(false) |= aside;
    }
    for (uid, refused) in refused {
        let count = recorded.get(&uid).copied().unwrap_or(0);
        found.expect(count == 1 || (count == 0 && refused), || {
            format!("signal {uid} is recorded {count} times, and set aside: {refused}")
        });
    }
}

/// Nothing lies around.
fn check_leftovers(found: &mut Findings, world: &mut World) {
    let tasks = world.server.read(
        Stream::Tasks(Shard::FIRST),
        &subject::all_tasks(&world.namespace, Shard::FIRST),
        0,
        usize::MAX,
    );
    let tasks: Vec<String> = tasks.into_iter().filter_map(|task| task.message_id).collect();
    found.expect(world.server.is_empty(Stream::Tasks(Shard::FIRST)), || format!("tasks are left: {tasks:?}"));
    let timers: Vec<String> = world.server.entries(Bucket::Timers).into_iter().map(|(key, _)| key).collect();
    found.expect(timers.is_empty(), || format!("timers are left: {timers:?}"));
}
