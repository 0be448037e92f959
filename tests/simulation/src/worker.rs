//! A worker process: workflow code in a cache, activities one attempt at a time each.

use std::collections::BTreeMap;

use stepwell_shared::encoding::{VERSION, decode, encode};
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::history::StallKind;
use stepwell_shared::ids::{RunId, StepId, WorkerId};
use stepwell_shared::message::{Outcome, ReportMessage};
use stepwell_shared::payload::Payload;
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::{self, EventAddress, Stream};
use stepwell_shared::task::{
    self, ActivityTask, CancelActivity, UndoInput, Work as TurnWork, WorkflowTask, WorkflowTaskReply,
};
use stepwell_worker_replay::Instance;

use super::code::code;
use super::history::records;
use super::knobs::Sabotage;
use super::program::Work;
use super::reports::{Pending, message, together};
use super::service::{Began, Reply};
use super::wire::{Alarm, Answer, Call, Kind, Pid, Point, Request, What};
use super::world::World;
use crate::backend::{Handed, Log, Message};

/// How often a worker says that it works on a task: a third of the time after which it would lose it.
const PROGRESS_MS: u64 = 5_000;

/// After this time without a sign of life a task is handed to somebody else.
const ACK_WAIT_MS: u64 = 15_000;

/// Endless work gives up after this time, as its start_to_close says.
const ENDLESS_MS: u64 = 20 * 60 * 1_000;

/// Most runs whose code a worker keeps.
const CACHED_RUNS: usize = 6;

/// Pause before a report that was not confirmed is sent again.
const REPEAT_MS: u64 = 200;

/// A worker process.
pub(crate) struct Worker {
    pid: Pid,
    /// With the mark that each was left with.
    cache: BTreeMap<RunId, (Instance, Option<String>)>,
    /// Attempts that were taken, by the number of the alarm that goes on with them.
    activities: BTreeMap<u64, Activity>,
    calls: BTreeMap<Call, Waiting>,
    numbers: u64,
    /// Attempts whose reports wait to go together.
    lingering: Vec<u64>,
    /// Reports that were sent together and are not stored yet, with the attempts that they are of.
    packs: BTreeMap<u64, (Message, Vec<u64>)>,
}

enum Waiting {
    Pull,
    Report(u64),
    Pack(u64),
}

struct Activity {
    handed: Handed,
    task: ActivityTask,
    stage: Stage,
    report: Option<Message>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It was asked to begin, and asks for the effect when the time has come.
    Running,
    /// It has the service's answer and is about to report.
    Asked(Reply),
    Reporting,
}

impl Worker {
    pub(crate) fn new(pid: Pid) -> Self {
        Self {
            pid,
            cache: BTreeMap::new(),
            activities: BTreeMap::new(),
            calls: BTreeMap::new(),
            numbers: 0,
            lingering: Vec::new(),
            packs: BTreeMap::new(),
        }
    }

    /// What happens to the process.
    pub(crate) fn handle(&mut self, world: &mut World, what: What) {
        match what {
            What::Begin => {
                let worker = world.name_of(self.pid).to_owned();
                for pid in world.living(Kind::Orchestrator) {
                    let after_ms = world.dice.network.between(0, 5_000);
                    world.at(world.now_ms + after_ms, pid, What::Announced { worker: worker.clone() });
                }
                for _ in 0..world.knobs.slots {
                    self.pull(world);
                }
            }
            What::Answer { call, answer } => match (self.calls.remove(&call), answer) {
                (Some(Waiting::Pull), Answer::Task(handed)) => self.handed(world, handed),
                (Some(Waiting::Report(number)), Answer::Published(result)) => {
                    self.reported(world, number, result.is_ok());
                }
                (Some(Waiting::Pack(number)), Answer::Published(result)) => {
                    self.pack_sent(world, number, result.is_ok());
                }
                (Some(Waiting::Pull | Waiting::Report(_) | Waiting::Pack(_)) | None, _) => {}
            },
            What::Task { body, from, call } => self.turn(world, &body, from, call),
            What::CancelActivity(body) => self.cancel(world, &body),
            What::Alarm(Alarm::Activity(number)) => self.go_on(world, number),
            What::Alarm(Alarm::Progress(number)) => self.progress(world, number),
            What::Alarm(Alarm::Reports) => self.send_together(world),
            What::Alarm(Alarm::Pack(number)) => self.send_pack(world, number),
            What::Evict => self.cache.clear(),
            What::Alarm(Alarm::Member(_) | Alarm::Engine(..) | Alarm::Client(_))
            | What::Announced { .. }
            | What::OwnersChanged
            | What::Stop
            | What::Arrives { .. }
            | What::Overdue
            | What::Spawn(_)
            | What::Fault
            | What::Hold(_)
            | What::Room(_) => {}
        }
    }

    fn turn(&mut self, world: &mut World, body: &[u8], from: Pid, call: Call) {
        let task: WorkflowTask = decode(body).expect("the orchestrator writes workflow tasks");
        let TurnWork::Turn { at_ms, events, index } = &task.work else { return };
        let mut replayed = false;
        let cached = self.cache.remove(&task.run_id);
        let blind = world.sabotage == Sabotage::NoMarks;
        let usable = |(instance, mark): &(Instance, Option<String>)| {
            instance.position() == task.after && (*mark == task.mark || blind)
        };
        let instance = match cached.filter(usable) {
            Some((instance, _)) => Ok(instance),
            None => {
                replayed = task.after > 0;
                world.stats.replays += u64::from(replayed);
                replay(world, &task)
            }
        };
        let answer = match instance.and_then(|mut instance| {
            let commands = instance.turn(events, *at_ms, *index)?;
            Ok((instance, commands))
        }) {
            Ok((instance, commands)) => {
                while self.cache.len() >= CACHED_RUNS {
                    self.cache.pop_first();
                }
                self.cache.insert(task.run_id.clone(), (instance, task.next_mark.clone()));
                task::Answer::Commands { commands }
            }
            Err(stalled) => task::Answer::Stalled { kind: stalled.kind, message: stalled.message },
        };
        let worker = WorkerId::new(world.name_of(self.pid)).expect("letters and digits");
        let reply = WorkflowTaskReply { v: VERSION, worker, answer, replayed, takes_packs: false };
        if !world.dies_at(self.pid, Point::TurnMade) {
            world.reply(self.pid, from, call, encode(&reply));
        }
    }

    fn pull(&mut self, world: &mut World) {
        let call = world.ask(self.pid, Request::Pull { queue: super::queue() });
        self.calls.insert(call, Waiting::Pull);
    }

    fn handed(&mut self, world: &mut World, handed: Handed) {
        let task: ActivityTask = decode(&handed.body).expect("the orchestrator writes tasks");
        self.numbers += 1;
        let number = self.numbers;
        let again = handed.num_delivered > 1;
        let (run, step, attempt) = (task.run_id.clone(), task.step, task.attempt);
        world.note(self.pid, || format!("is handed {run}/{step}/{attempt}, again: {again}"));
        let mut activity = Activity { handed, task, stage: Stage::Running, report: None };
        if again {
            let failure = Failure::new(FailureKind::Lost, "its worker died");
            let message = report(world, &activity.task, Outcome::Failed { failure, heartbeat: None });
            activity.stage = Stage::Reporting;
            activity.report = Some(message);
            self.activities.insert(number, activity);
            return self.end(world, number);
        }
        if activity.task.schedule_to_start_ms.is_some() {
            let message = report(world, &activity.task, Outcome::Started {});
            world.ask(self.pid, Request::Publish(message));
        }
        let (handed, now_ms) = (&activity.handed, world.now_ms);
        let handed_ms = world.handed_ms.get(&(handed.sequence, handed.num_delivered)).copied();
        let stale = handed_ms.is_none_or(|handed_ms| now_ms >= handed_ms + ACK_WAIT_MS);
        world.service.begin(Began { run_id: run, step, attempt, at_ms: now_ms, stale });
        let work = work_of(&activity.task);
        let endless = work.as_ref().is_some_and(|work| work.endless) && matches!(step, StepId::Action(_));
        let lasts_ms = work.map_or(10, |work| work.lasts_ms);
        let lasts_ms = if step.to_string().starts_with("undo") { lasts_ms.min(500) } else { lasts_ms };
        self.activities.insert(number, activity);
        let lasts_ms = if endless { ENDLESS_MS } else { lasts_ms };
        world.alarm(self.pid, lasts_ms, Alarm::Activity(number));
        world.alarm(self.pid, PROGRESS_MS, Alarm::Progress(number));
        world.dies_at(self.pid, Point::ActivityBegun);
    }

    /// An activity comes to its point, then reports.
    fn go_on(&mut self, world: &mut World, number: u64) {
        let Some(activity) = self.activities.get_mut(&number) else { return };
        match activity.stage {
            Stage::Running => {
                let reply = ask_service(world, &activity.task);
                activity.stage = Stage::Asked(reply);
                if world.dies_at(self.pid, Point::EffectDone) {
                    return;
                }
                // The report may follow much later than the effect.
                let later_ms = world.dice.worker.between(0, 20);
                world.alarm(self.pid, later_ms, Alarm::Activity(number));
            }
            Stage::Asked(reply) => {
                let outcome = outcome(&activity.task, reply);
                activity.report = Some(report(world, &activity.task, outcome));
                activity.stage = Stage::Reporting;
                self.end(world, number);
            }
            Stage::Reporting => self.send_report(world, number),
        }
    }

    /// Sends the report of an attempt, with others if they are to go together.
    fn end(&mut self, world: &mut World, number: u64) {
        if world.knobs.linger_ms == 0 {
            return self.send_report(world, number);
        }
        self.lingering.push(number);
        if self.lingering.len() == 1 {
            world.alarm(self.pid, world.knobs.linger_ms, Alarm::Reports);
        }
    }

    fn send_together(&mut self, world: &mut World) {
        let lingering = std::mem::take(&mut self.lingering);
        let pending = lingering.iter().filter_map(|number| {
            let activity = self.activities.get(number)?;
            Some(Pending { number: *number, task: &activity.task, report: activity.report.as_ref()? })
        });
        let packs: Vec<(Message, Vec<u64>)> = together(world, pending.collect())
            .into_iter()
            .map(|pack| (message(world, &pack), pack.iter().map(|it| it.number).collect()))
            .collect();
        for (message, numbers) in packs {
            match numbers.as_slice() {
                [alone] => self.send_report(world, *alone),
                _ => {
                    world.stats.packs += 1;
                    self.numbers += 1;
                    self.packs.insert(self.numbers, (message, numbers));
                    self.send_pack(world, self.numbers);
                }
            }
            if !world.alive(self.pid) {
                return;
            }
        }
    }

    fn send_pack(&mut self, world: &mut World, number: u64) {
        let Some((message, _)) = self.packs.get(&number) else { return };
        let call = world.ask(self.pid, Request::Publish(message.clone()));
        self.calls.insert(call, Waiting::Pack(number));
        world.dies_at(self.pid, Point::ReportSent);
    }

    fn pack_sent(&mut self, world: &mut World, number: u64, stored: bool) {
        if !stored {
            return world.alarm(self.pid, REPEAT_MS, Alarm::Pack(number));
        }
        let Some((_, numbers)) = self.packs.remove(&number) else { return };
        for number in numbers {
            self.reported(world, number, true);
            if !world.alive(self.pid) {
                return;
            }
        }
    }

    fn send_report(&mut self, world: &mut World, number: u64) {
        let Some(message) = self.activities.get(&number).and_then(|activity| activity.report.clone()) else {
            return;
        };
        let call = world.ask(self.pid, Request::Publish(message));
        self.calls.insert(call, Waiting::Report(number));
        world.dies_at(self.pid, Point::ReportSent);
    }

    fn reported(&mut self, world: &mut World, number: u64, stored: bool) {
        if !stored {
            return world.alarm(self.pid, REPEAT_MS, Alarm::Activity(number));
        }
        if world.dies_at(self.pid, Point::ReportStored) {
            return;
        }
        if let Some(activity) = self.activities.remove(&number) {
            world.ask(self.pid, Request::Ack(activity.handed));
        }
        self.pull(world);
    }

    fn progress(&mut self, world: &mut World, number: u64) {
        let Some(activity) = self.activities.get(&number) else { return };
        world.ask(self.pid, Request::InProgress(activity.handed.clone()));
        world.alarm(self.pid, PROGRESS_MS, Alarm::Progress(number));
    }

    fn cancel(&mut self, world: &mut World, body: &[u8]) {
        let cancel: CancelActivity = decode(body).expect("the orchestrator writes cancellations");
        let found = self.activities.iter_mut().find(|(_, activity)| {
            activity.task.run_id == cancel.run_id
                && activity.task.step == cancel.step
                && activity.stage == Stage::Running
        });
        let Some((&number, activity)) = found else { return };
        // It may not notice, and end as if nothing had been said.
        let endless = work_of(&activity.task).is_some_and(|work| work.endless);
        if !endless && world.dice.worker.chance(300) {
            return;
        }
        activity.stage = Stage::Reporting;
        activity.report = Some(report(world, &activity.task, Outcome::Cancelled {}));
        self.end(world, number);
    }
}

/// Code that is where the task wants it.
fn replay(world: &mut World, task: &WorkflowTask) -> Result<Instance, stepwell_worker_replay::Stalled> {
    let mut instance = Instance::new(code(), task.workflow_id.clone(), task.run_id.clone());
    let messages = world.server.read(
        Stream::History(Shard::FIRST),
        &task.history_subject,
        task.first_sequence,
        usize::MAX,
    );
    for stored in records(&messages) {
        if task.after > 0 && stored.record.run_id == task.run_id && stored.record.index <= task.after {
            instance.replay(&stored.record)?;
        }
    }
    if instance.position() == task.after {
        return Ok(instance);
    }
    Err(stepwell_worker_replay::Stalled {
        kind: StallKind::Nondeterminism,
        message: format!("the records end at {}, not {}", instance.position(), task.after),
    })
}

fn work_of(task: &ActivityTask) -> Option<Work> {
    match task.step {
        StepId::Action(_) => task.input.decode().ok(),
        StepId::Undo(_) => task.input.decode::<UndoInput<Work>>().ok().map(|undo| undo.input),
    }
}

fn ask_service(world: &mut World, task: &ActivityTask) -> Reply {
    match task.step {
        StepId::Action(_) => {
            let Ok(work) = task.input.decode::<Work>() else { return Reply::Never };
            world.service.work(&task.idempotency_key, &work)
        }
        StepId::Undo(seq) => {
            let Ok(input) = task.input.decode::<UndoInput<Work>>() else { return Reply::Never };
            let Some(undo) = &input.input.undo else { return Reply::Never };
            world.service.undo(&input.idempotency_key, input.input.node, undo, &task.run_id, seq)
        }
    }
}

fn outcome(task: &ActivityTask, reply: Reply) -> Outcome {
    let failed = |error_type: &str, non_retryable| {
        let failure = Failure::typed(FailureKind::Application, error_type, "as planned");
        Outcome::Failed { failure: Failure { non_retryable, ..failure }, heartbeat: None }
    };
    match reply {
        Reply::Done => {
            let value = work_of(task).map_or(0, |work| work.value);
            Outcome::Completed { result: Payload::encode(&value).unwrap_or_default() }
        }
        Reply::TryAgain => failed("Unlucky", false),
        Reply::Never => failed("Declined", true),
    }
}

fn report(world: &World, task: &ActivityTask, outcome: Outcome) -> Message {
    let address = EventAddress::Report { run_id: task.run_id.clone(), step: task.step };
    let body = ReportMessage {
        v: VERSION,
        attempt: task.attempt,
        token: task.token.clone(),
        outcome,
        worker: None,
        schedule_to_start_ms: None,
        execution_ms: None,
    };
    Message::new(subject::event(&world.namespace, &task.workflow_id, &address), encode(&body))
}
