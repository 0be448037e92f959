//! Everybody outside: who starts runs, sends signals, cancels, and decides about compensations that failed.
//! What was not confirmed is sent again.

use std::collections::BTreeMap;

use stepwell_shared::api::CompensationState;
use stepwell_shared::encoding::{VERSION, decode, encode};
use stepwell_shared::ids::{Name, RunId, WorkflowId};
use stepwell_shared::message::{
    CompensationAction, CompensationMessage, SignalMessage, StartMessage, StopMessage,
};
use stepwell_shared::payload::Payload;
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::{self, Bucket, EventAddress, Stream};
use stepwell_shared::summary::{RunSummary, Status};

use super::code::{SignalBody, TYPE, signal_name};
use super::history::load;
use super::program::{End, Program, Work, signal_value};
use super::wire::{Alarm, Answer, Call, Request, What};
use super::world::{OUTSIDE, World};
use crate::backend::{KeyValue, Log, Message};

/// How often the outside looks at its runs.
const LOOK_MS: u64 = 10_000;

/// The same when a run has gone on for hours: it waits for its timeout.
const LOOK_LATE_MS: u64 = 600_000;

/// After this time a run has gone on for long.
const SOON_MS: u64 = 2 * 60 * 60 * 1_000;

/// Longest time of a run that is to be stopped by its timeout: more than any program takes.
const RUN_TIMEOUT_MS: u64 = 12 * 60 * 60 * 1_000;

/// One workflow id with the runs that it is to have, one after the other.
pub(crate) struct Plan {
    pub(crate) id: WorkflowId,
    pub(crate) runs: Vec<Planned>,
    current: usize,
}

/// One run that is to be.
pub(crate) struct Planned {
    pub(crate) program: Program,
    pub(crate) by_timeout: bool,
    /// Cancelled or terminated at some moment: what comes out is open, what must hold is not.
    pub(crate) unruly: bool,
    pub(crate) run_id: Option<RunId>,
    pub(crate) closed: bool,
    started: Option<Call>,
    sent_signals: bool,
    sent_cancel: bool,
}

/// Something to be sent until it is confirmed.
#[derive(Debug, Clone)]
struct Chore {
    message: Message,
    /// Names the message in its body, where a repeat would be a second one.
    uid: Option<u64>,
}

/// The outside.
pub(crate) struct Client {
    pub(crate) plans: Vec<Plan>,
    chores: BTreeMap<u64, Chore>,
    calls: BTreeMap<Call, u64>,
    numbers: u64,
    soon_until_ms: u64,
}

impl Client {
    pub(crate) fn new(world: &mut World) -> Self {
        let count = world.dice.program.between(1, 4);
        let plans = (0..count).map(|number| {
            // Ids that need escaping, and some that share a partition.
            let id = WorkflowId::new(format!("order {number}.a")).expect("a valid id");
            let runs = if world.dice.program.chance(200) { 2 } else { 1 };
            let runs = (0..runs)
                .map(|_| Planned {
                    program: Program::random(&mut world.dice.program),
                    by_timeout: world.dice.program.chance(300),
                    unruly: world.dice.program.chance(120),
                    run_id: None,
                    closed: false,
                    started: None,
                    sent_signals: false,
                    sent_cancel: false,
                })
                .collect();
            Plan { id, runs, current: 0 }
        });
        Self {
            plans: plans.collect(),
            chores: BTreeMap::new(),
            calls: BTreeMap::new(),
            numbers: 0,
            soon_until_ms: world.now_ms + SOON_MS,
        }
    }

    pub(crate) fn begin(&mut self, world: &mut World) {
        world.alarm(OUTSIDE, 0, Alarm::Client(0));
    }

    pub(crate) fn done(&self) -> bool {
        self.plans.iter().all(|plan| plan.current == plan.runs.len())
    }

    pub(crate) fn handle(&mut self, world: &mut World, what: What) {
        match what {
            What::Alarm(Alarm::Client(0)) => self.look(world),
            What::Alarm(Alarm::Client(number)) => self.send(world, number),
            What::Answer { call, answer: Answer::Published(result) } => {
                let Some(number) = self.calls.remove(&call) else { return };
                let landed = result.is_ok() || self.chores.get(&number).is_some_and(|it| landed(world, it));
                if landed {
                    self.chores.remove(&number);
                } else {
                    world.alarm(OUTSIDE, 500, Alarm::Client(number));
                }
            }
            _ => {}
        }
    }

    fn look(&mut self, world: &mut World) {
        for plan in 0..self.plans.len() {
            self.look_at(world, plan);
        }
        if !self.done() {
            let after_ms =
                if world.faulty() || world.now_ms < self.soon_until_ms { LOOK_MS } else { LOOK_LATE_MS };
            world.alarm(OUTSIDE, after_ms, Alarm::Client(0));
        }
    }

    fn look_at(&mut self, world: &mut World, number: usize) {
        let plan = &mut self.plans[number];
        let key = subject::state_key(&plan.id);
        let entry = world.server.get(Bucket::State, &key);
        let summary = entry.and_then(|entry| decode::<RunSummary>(&entry.value).ok());
        let current = plan.current;
        let before = current.checked_sub(1).and_then(|before| plan.runs[before].run_id.clone());
        let Some(planned) = plan.runs.get_mut(current) else { return };
        let Some(chore) = planned.started else {
            let message = start(world, &plan.id, planned, current);
            planned.started = Some(self.numbers + 1);
            return self.plan_chore(world, message, None, 2_000);
        };
        let Some(summary) = summary.filter(|summary| Some(&summary.run_id) != before.as_ref()) else {
            return;
        };
        planned.run_id = Some(summary.run_id.clone());
        if summary.status.closed() {
            // A start that is still repeated could start another run.
            if !self.chores.contains_key(&chore) {
                planned.closed = true;
                plan.current += 1;
            }
            return;
        }
        self.keep_going(world, number, &summary);
    }

    /// Gives a run what its program waits for.
    fn keep_going(&mut self, world: &mut World, number: usize, summary: &RunSummary) {
        let plan = &mut self.plans[number];
        let (id, current) = (plan.id.clone(), plan.current);
        let planned = &mut plan.runs[current];
        let mut chores = Vec::new();
        if !std::mem::replace(&mut planned.sent_signals, true) {
            for signal in planned.program.answer(planned.by_timeout).signals {
                chores.push(signal_message(world, &id, current, signal));
            }
            if current + 1 == plan.runs.len() && world.dice.client.chance(300) {
                chores.push((start(world, &id, &plan.runs[current], current), None));
            }
        }
        let planned = &mut plan.runs[current];
        let at_its_end = planned.program.last_work().is_some_and(|last| {
            let accounts = &world.service.accounts;
            let of_run = format!("{}/", summary.run_id);
            accounts.iter().any(|(key, it)| key.starts_with(&of_run) && it.node == last.node && it.done)
        });
        let stop = at_its_end && !planned.by_timeout && planned.program.end == End::AwaitStop;
        let unruly = planned.unruly && world.dice.client.chance(300);
        if (stop || unruly) && !std::mem::replace(&mut planned.sent_cancel, true) {
            let address = if unruly && world.dice.client.chance(300) {
                EventAddress::Terminate
            } else {
                EventAddress::Cancel
            };
            let body = encode(&StopMessage { v: VERSION, reason: "told to".into() });
            chores.push((Message::new(subject::event(&world.namespace, &id, &address), body), None));
        }
        if summary.status == Status::Stuck {
            chores.extend(resolutions(world, &id).into_iter().map(|message| (message, None)));
        }
        for (message, uid) in chores {
            self.plan_chore(world, message, uid, 5_000);
        }
    }

    fn plan_chore(&mut self, world: &mut World, message: Message, uid: Option<u64>, within_ms: u64) {
        self.numbers += 1;
        self.chores.insert(self.numbers, Chore { message, uid });
        let after_ms = world.dice.client.between(0, within_ms);
        world.alarm(OUTSIDE, after_ms, Alarm::Client(self.numbers));
    }

    fn send(&mut self, world: &mut World, number: u64) {
        let Some(chore) = self.chores.get(&number).cloned() else { return };
        let call = world.ask(OUTSIDE, Request::Publish(chore.message));
        self.calls.insert(call, number);
    }
}

/// Whether a message that must not be sent twice is stored after all.
fn landed(world: &World, chore: &Chore) -> bool {
    let Some(uid) = chore.uid else { return false };
    let text = format!("\"uid\":{uid}}}");
    world.events.iter().any(|event| String::from_utf8_lossy(&event.body).contains(&text))
}

fn start(world: &World, id: &WorkflowId, planned: &Planned, number: usize) -> Message {
    let workflow_type = Name::new(TYPE).expect("a valid name");
    let body = StartMessage {
        v: VERSION,
        queue: super::queue(),
        input: Payload::encode(&planned.program).unwrap_or_default(),
        request_id: Some(format!("start-{number}")),
        run_timeout_ms: planned.by_timeout.then_some(RUN_TIMEOUT_MS),
        execution_timeout_ms: None,
    };
    let address = EventAddress::Start { workflow_type };
    Message::new(subject::event(&world.namespace, id, &address), encode(&body))
}

fn signal_message(world: &mut World, id: &WorkflowId, run: usize, number: u32) -> (Message, Option<u64>) {
    let uid = world.dice.client.below(1 << 50);
    let body = SignalBody { number, value: signal_value(number), uid };
    // Half of them are recognised by their request id and may be repeated blindly.
    let request_id = world.dice.client.chance(500).then(|| format!("signal-{run}-{number}"));
    let blind = request_id.is_some();
    let name = Name::new(signal_name(number)).expect("a valid name");
    let message =
        SignalMessage { v: VERSION, payload: Payload::encode(&body).unwrap_or_default(), request_id };
    let address = EventAddress::Signal { name };
    let message = Message::new(subject::event(&world.namespace, id, &address), encode(&message));
    (message, (!blind).then_some(uid))
}

/// What an operator decides about every compensation that failed for good.
fn resolutions(world: &mut World, id: &WorkflowId) -> Vec<Message> {
    let subject = subject::history(&world.namespace, id, world.partitions);
    let messages = world.server.read(Stream::History(Shard::FIRST), &subject, 0, usize::MAX);
    let Ok(loaded) = load(id, &messages, 0, 0) else { return Vec::new() };
    let works = works_by_seq(&messages, loaded.workflow.run_id());
    let description = loaded.workflow.describe();
    let compensations = description.map(|it| it.compensations).unwrap_or_default();
    let failed = compensations.into_iter().filter(|it| it.state == CompensationState::Failed);
    failed
        .map(|compensation| {
            let skip =
                works.get(&compensation.seq).and_then(|work| work.undo.as_ref()).is_some_and(|it| it.skip);
            let action = if skip { CompensationAction::Skip } else { CompensationAction::Retry };
            let body = CompensationMessage { v: VERSION, action, reason: "looked at it".into() };
            let address = EventAddress::Compensation { seq: compensation.seq };
            Message::new(subject::event(&world.namespace, id, &address), encode(&body))
        })
        .collect()
}

/// What a run asked for, by number.
pub(crate) fn works_by_seq(
    messages: &[crate::backend::Stored],
    run_id: Option<&RunId>,
) -> BTreeMap<u32, Work> {
    let mut works = BTreeMap::new();
    for stored in super::history::records(messages) {
        if Some(&stored.record.run_id) != run_id {
            continue;
        }
        for command in stored.record.turn.into_iter().flat_map(|turn| turn.commands) {
            if let stepwell_shared::command::Command::RunActivity(activity) = command
                && let Ok(work) = activity.input.decode::<Work>()
            {
                works.insert(activity.seq, work);
            }
        }
    }
    works
}
