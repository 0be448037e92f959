//! An orchestrator process: taking over, reading events, handing them to workflows, timers, checkpoints.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use stepwell_orchestrator_core::{Arrival, Input, Workflow};
use stepwell_shared::encoding::{VERSION, decode, encode};
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::history::RunStarted;
use stepwell_shared::ids::{Name, WorkflowId};
use stepwell_shared::message::{
    CompensationMessage, ReportMessage, SignalMessage, StartMessage, StopMessage,
};
use stepwell_shared::rejection::Rejection;
use stepwell_shared::subject::{self, Bucket, EventAddress, Stream, parse_stored_event};
use stepwell_shared::summary::RunSummary;

use super::drive::{Delivery, Drive, Group, Held, Outgoing, timer_message};
use super::history::load;
use super::timers::{Floors, Receipt, TimerEntry, Timers};
use super::world::{Alarm, Answer, Call, Failed, Pid, Point, Request, Sabotage, What, World, new_run_id};
use crate::backend::{KeyValue, Log, Message, Stored};

/// How often checkpoints are written.
const CHECKPOINT_MS: u64 = 500;

/// How often summaries are compared with their histories, and how many times after taking over: a message is not
/// on its way for longer.
const COMPARE_MS: u64 = 60_000;
const COMPARISONS: u32 = 3;

/// How many events that are done stay readable.
const KEEP: u64 = 5;

/// Pause before an effect that was not confirmed is published again.
const REPEAT_MS: u64 = 200;

/// An orchestrator process.
pub(crate) struct Orchestrator {
    pub(crate) pid: Pid,
    /// Its clock against the world's.
    skew_ms: i64,
    pub(crate) recovery: Recovery,
    /// Up to which sequence the history of each open run is this process's own, or was looked at.
    pub(crate) own: BTreeMap<WorkflowId, u64>,
    pub(crate) floors: Floors,
    pub(crate) timers: Timers,
    pub(crate) parked: BTreeMap<Name, BTreeSet<WorkflowId>>,
    pub(crate) caught_up: bool,
    pub(crate) slots: BTreeMap<WorkflowId, Slot>,
    /// Runs in memory with nothing to do, those used longest ago first.
    idle: VecDeque<WorkflowId>,
    pub(crate) calls: BTreeMap<Call, Waiting>,
    pub(crate) groups: BTreeMap<u64, Group>,
    pub(crate) numbers: u64,
    repeats: BTreeMap<u64, (u64, Outgoing)>,
    checkpoints: Vec<u64>,
    written: Vec<u64>,
    checkpoint_planned: bool,
    next: u64,
    catch_up: u64,
    known_workers: BTreeSet<String>,
    timer_planned_ms: Option<u64>,
    comparisons: u32,
}

/// What predecessors left.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    pub(crate) history_sequence: u64,
    pub(crate) tasks: BTreeSet<String>,
    /// What predecessors had set aside.
    aside: BTreeSet<String>,
    /// The last sequence of TASKS when they were read.
    last_task: u64,
    /// Workflows that are to be looked at when everything has been read, and those that are looked at now.
    pub(crate) later: BTreeSet<WorkflowId>,
    pub(crate) now: BTreeSet<WorkflowId>,
}

/// What is there of a workflow.
pub(crate) struct Slot {
    pub(crate) mailbox: VecDeque<Delivery>,
    pub(crate) state: SlotState,
}

pub(crate) enum SlotState {
    Active(Box<Drive>),
    Idle(Box<Held>),
}

/// What a call was for.
#[derive(Debug, Clone)]
pub(crate) enum Waiting {
    TakingOver,
    Events,
    Load(WorkflowId),
    Turn(WorkflowId),
    Append(WorkflowId),
    Aside(WorkflowId),
    Compared,
    Verify(WorkflowId),
    Effect(u64, Outgoing),
    Newer(u64, Outgoing),
    Checkpoint(u32, u64),
}

#[derive(Serialize, Deserialize)]
struct Checkpoint {
    v: u32,
    sequence: u64,
}

impl Orchestrator {
    pub(crate) fn new(world: &mut World, pid: Pid) -> Self {
        let skew_ms = i64::try_from(world.dice.orchestrator.below(4_000)).unwrap_or(0) - 2_000;
        let partitions = world.partitions;
        Self {
            pid,
            skew_ms,
            recovery: Recovery::default(),
            own: BTreeMap::new(),
            floors: Floors::new(partitions, 0),
            timers: Timers::default(),
            parked: BTreeMap::new(),
            caught_up: false,
            slots: BTreeMap::new(),
            idle: VecDeque::new(),
            calls: BTreeMap::new(),
            groups: BTreeMap::new(),
            numbers: 0,
            repeats: BTreeMap::new(),
            checkpoints: vec![0; partitions as usize],
            written: Vec::new(),
            checkpoint_planned: false,
            next: 0,
            catch_up: 0,
            known_workers: BTreeSet::new(),
            timer_planned_ms: None,
            comparisons: 0,
        }
    }

    pub(crate) fn now(&self, world: &World) -> u64 {
        world.now_ms.saturating_add_signed(self.skew_ms)
    }

    pub(crate) fn ask(&mut self, world: &mut World, request: Request, waiting: Waiting) {
        let call = world.ask(self.pid, request);
        self.calls.insert(call, waiting);
    }

    /// What happens to the process.
    pub(crate) fn handle(&mut self, world: &mut World, what: What) {
        match what {
            What::Begin => {
                self.ask(world, Request::Last(Stream::History), Waiting::TakingOver);
            }
            What::Answer { call, answer } => {
                if let Some(waiting) = self.calls.remove(&call) {
                    self.answered(world, waiting, answer);
                }
            }
            What::Alarm(Alarm::Timers) => self.timers_due(world),
            What::Alarm(Alarm::Checkpoint) => self.write_checkpoints(world),
            What::Alarm(Alarm::Compare) => self.compare_summaries(world),
            What::Alarm(Alarm::Resume(id)) => {
                if let Ok(id) = WorkflowId::new(id) {
                    self.work(world, &id);
                }
            }
            What::Alarm(Alarm::Repeat(number)) => self.repeat(world, number),
            What::Announced { worker } => self.worker_appeared(world, worker),
            What::Evict => self.evict(world, 0),
            What::Alarm(Alarm::Activity(_) | Alarm::Progress(_) | Alarm::Client(_))
            | What::Task { .. }
            | What::CancelActivity(_)
            | What::Arrives { .. }
            | What::Overdue
            | What::Kill
            | What::Spawn(_)
            | What::Fault
            | What::Room(_) => {}
        }
    }

    fn answered(&mut self, world: &mut World, waiting: Waiting, answer: Answer) {
        match (waiting, answer) {
            (Waiting::TakingOver, answer) => self.take_over(world, answer),
            (Waiting::Events, Answer::Events(messages, more)) => self.read(world, messages, more),
            (Waiting::Load(id), Answer::History(messages, last)) => self.loaded(world, &id, &messages, last),
            (Waiting::Turn(id), Answer::Turn(reply)) => self.turn_answered(world, &id, Some(reply)),
            (Waiting::Turn(id), Answer::TimedOut) => self.turn_answered(world, &id, None),
            // What is refused was put right by somebody else; what was lost is compared again.
            (Waiting::Compared, Answer::Published(_)) => {}
            (Waiting::Aside(id), Answer::Published(result)) => self.set_aside(world, &id, result),
            (Waiting::Append(id), Answer::Published(result)) => self.appended(world, &id, result),
            (Waiting::Verify(id), Answer::History(messages, last)) => {
                self.verified(world, &id, &messages, last);
            }
            (Waiting::Effect(group, outgoing), Answer::Published(result)) => match result {
                Ok(_) => self.confirmed(world, group),
                Err(Failed::Refused(_) | Failed::Unknown) => self.plan_repeat(world, group, outgoing),
            },
            (Waiting::Newer(group, outgoing), Answer::Value(entry)) => {
                self.repeat_unless_newer(world, group, outgoing, entry.as_ref());
            }
            (Waiting::Checkpoint(partition, sequence), Answer::Published(Ok(_))) => {
                self.checkpointed(world, partition, sequence);
            }
            (Waiting::Checkpoint(..), _) => self.plan_checkpoint(world),
            (waiting, answer) => world.complaints.push(format!("{waiting:?} was answered by {answer:?}")),
        }
    }

    /// Reads what was left, one thing after the other, in the order that the orchestrator does.
    fn take_over(&mut self, world: &mut World, answer: Answer) {
        let next = match answer {
            Answer::Last(sequence) if self.recovery.history_sequence == 0 && self.next == 0 => {
                self.recovery.history_sequence = sequence;
                self.next = 1;
                Request::TaskIds
            }
            Answer::TaskIds(ids, last) => {
                self.recovery.tasks = ids.into_iter().collect();
                self.recovery.last_task = last;
                Request::Entries(Bucket::Timers)
            }
            Answer::Entries(entries) if self.next == 1 => {
                for (key, value) in entries {
                    let (Some(id), Ok(entry)) =
                        (subject::parse_timer_key(&key), serde_json::from_slice::<TimerEntry>(&value))
                    else {
                        continue;
                    };
                    self.park(&id, &BTreeSet::new(), &entry.waits_on);
                    self.timers.restore(id, &entry);
                }
                self.next = 2;
                Request::Entries(Bucket::Owners)
            }
            Answer::Entries(entries) => {
                for (key, value) in entries {
                    let partition = key.strip_prefix("checkpoint.").and_then(|it| it.parse::<usize>().ok());
                    if let (Some(partition), Ok(checkpoint)) = (partition, decode::<Checkpoint>(&value)) {
                        self.checkpoints[partition] = checkpoint.sequence;
                    }
                }
                Request::Last(Stream::Events)
            }
            Answer::Last(sequence) => {
                self.catch_up = sequence;
                return self.activate(world);
            }
            _ => return,
        };
        self.ask(world, next, Waiting::TakingOver);
    }

    fn activate(&mut self, world: &mut World) {
        let lowest = self.checkpoints.iter().copied().min().unwrap_or(0);
        self.next = lowest + 1;
        let all = subject::all_rejected(&world.namespace);
        let rejected = world.server.read(Stream::Rejected, &all, 0, usize::MAX);
        self.recovery.aside = rejected.into_iter().filter_map(|it| it.message_id).collect();
        self.floors = Floors::new(world.partitions, lowest);
        self.written.clone_from(&self.checkpoints);
        let (next, catch_up) = (self.next, self.catch_up);
        world.note(self.pid, || format!("takes over from {next}, catches up to {catch_up}"));
        self.plan_timers(world);
        world.alarm(self.pid, COMPARE_MS, Alarm::Compare);
        if self.next > self.catch_up {
            self.catch_up_done(world);
        }
        self.ask(world, Request::Events { from: self.next }, Waiting::Events);
    }

    fn read(&mut self, world: &mut World, messages: Vec<Stored>, more: usize) {
        let last = messages.last().map_or(self.next, |message| message.sequence);
        for message in messages {
            self.next = message.sequence + 1;
            self.take(world, message);
        }
        if !self.caught_up && (last >= self.catch_up || more == 0) {
            self.catch_up_done(world);
        }
        if world.alive(self.pid) {
            self.ask(world, Request::Events { from: self.next }, Waiting::Events);
        }
    }

    fn catch_up_done(&mut self, world: &mut World) {
        self.caught_up = true;
        let later = std::mem::take(&mut self.recovery.later);
        self.recovery.now.extend(later.iter().cloned());
        for id in later {
            self.deliver(world, &id, Delivery::internal(Input::Wake));
        }
        self.plan_checkpoint(world);
    }

    /// What predecessors wanted for a workflow is to be looked at when everything they left has been read.
    fn look_again(&mut self, world: &mut World, id: &WorkflowId) {
        if self.caught_up {
            self.recovery.now.insert(id.clone());
            self.deliver(world, id, Delivery::internal(Input::Wake));
        } else {
            self.recovery.later.insert(id.clone());
        }
    }

    fn take(&mut self, world: &mut World, message: Stored) {
        let partition = message.subject.split('.').nth(3).and_then(|token| token.parse::<u32>().ok());
        let receipt = Receipt { partition: partition.unwrap_or(0), sequence: message.sequence };
        let aside = self.recovery.aside.contains(&format!("rejected-{}", message.sequence));
        if aside || message.sequence <= self.checkpoints[receipt.partition as usize] {
            return self.floors.pass(message.sequence);
        }
        if message.sequence <= self.catch_up {
            world.stats.reread += 1;
        }
        self.floors.begin(receipt);
        match input_of(world, &message) {
            Ok((id, input)) => {
                // Without the watermark nothing tells a redelivery from a new event.
                let sequence = (world.sabotage != Sabotage::NoWatermark).then_some(message.sequence);
                let delivery = Delivery {
                    arrival: Arrival { sequence, input },
                    receipt: Some(receipt),
                    raw: Some(message),
                };
                self.deliver(world, &id, delivery);
            }
            Err(reason) => world.complaints.push(format!("an event cannot be read: {reason}")),
        }
    }

    /// Puts something into a workflow's mailbox, and begins to work on it if nobody does.
    pub(crate) fn deliver(&mut self, world: &mut World, id: &WorkflowId, delivery: Delivery) {
        match self.slots.remove(id) {
            Some(mut slot) => {
                slot.mailbox.push_back(delivery);
                match slot.state {
                    SlotState::Active(_) => {
                        self.slots.insert(id.clone(), slot);
                    }
                    SlotState::Idle(held) => {
                        self.idle.retain(|other| other != id);
                        self.begin(world, id, Some(held), slot.mailbox);
                    }
                }
            }
            None => self.begin(world, id, None, VecDeque::from([delivery])),
        }
    }

    pub(crate) fn begin(
        &mut self,
        world: &mut World,
        id: &WorkflowId,
        held: Option<Box<Held>>,
        mail: VecDeque<Delivery>,
    ) {
        self.numbers += 1;
        let group = self.numbers;
        self.groups.insert(group, Group::default());
        self.timers.begin(id);
        let drive = Drive::new(held, mail, group, self.caught_up);
        let slot = Slot { mailbox: VecDeque::new(), state: SlotState::Active(Box::new(drive)) };
        self.slots.insert(id.clone(), slot);
        self.work(world, id);
    }

    /// A workflow comes back from its drive.
    pub(crate) fn end(&mut self, world: &mut World, id: &WorkflowId, held: Option<Box<Held>>) {
        let Some(slot) = self.slots.remove(id) else { return };
        if !slot.mailbox.is_empty() {
            return self.begin(world, id, held, slot.mailbox);
        }
        if let Some(held) = held.filter(|held| !held.workflow.idle()) {
            let slot = Slot { mailbox: VecDeque::new(), state: SlotState::Idle(held) };
            self.slots.insert(id.clone(), slot);
            self.idle.push_back(id.clone());
        }
        self.evict(world, world.knobs.cached_runs);
    }

    fn evict(&mut self, world: &mut World, keep: usize) {
        while self.idle.len() > keep
            && let Some(id) = self.idle.pop_front()
        {
            self.slots.remove(&id);
            world.stats.evictions += 1;
        }
    }

    /// A workflow in memory with nothing to do.
    pub(crate) fn idle_workflow(&self, id: &WorkflowId) -> Option<&Workflow> {
        match &self.slots.get(id)?.state {
            SlotState::Idle(held) => Some(&held.workflow),
            SlotState::Active(_) => None,
        }
    }

    fn worker_appeared(&mut self, world: &mut World, worker: String) {
        if !self.known_workers.insert(worker) {
            return;
        }
        let queue = super::queue();
        for id in self.parked.remove(&queue).unwrap_or_default() {
            let input = Input::WorkerAppeared {
                queue: queue.clone(),
                workflows: vec![queue.clone()],
                activities: [super::code::WORK, super::code::UNDO]
                    .iter()
                    .filter_map(|name| Name::new(name).ok())
                    .collect(),
            };
            self.deliver(world, &id, Delivery::internal(input));
        }
    }

    pub(crate) fn park(&mut self, id: &WorkflowId, before: &BTreeSet<Name>, now: &BTreeSet<Name>) {
        for queue in before.difference(now) {
            if let Some(ids) = self.parked.get_mut(queue) {
                ids.remove(id);
            }
        }
        for queue in now {
            self.parked.entry(queue.clone()).or_default().insert(id.clone());
        }
    }

    pub(crate) fn plan_timers(&mut self, world: &mut World) {
        let Some(next_ms) = self.timers.next_ms() else { return };
        if self.timer_planned_ms.is_none_or(|planned| planned > next_ms) {
            self.timer_planned_ms = Some(next_ms);
            world.alarm(self.pid, next_ms.saturating_sub(self.now(world)), Alarm::Timers);
        }
    }

    fn timers_due(&mut self, world: &mut World) {
        self.timer_planned_ms = None;
        for id in self.timers.take_due(self.now(world)) {
            self.deliver(world, &id, Delivery::internal(Input::Wake));
            if !world.alive(self.pid) {
                return;
            }
        }
        self.plan_timers(world);
    }

    /// Sends something that must reach a stream; the group waits for it.
    pub(crate) fn send(&mut self, world: &mut World, group: u64, outgoing: Outgoing) {
        // Whose lease has run out acts no more; what it had sent before may still arrive.
        if world.is_zombie(self.pid) {
            return;
        }
        if let Some(group) = self.groups.get_mut(&group) {
            group.left += 1;
        }
        let request = Request::Publish(outgoing.message.clone());
        self.ask(world, request, Waiting::Effect(group, outgoing));
    }

    fn plan_repeat(&mut self, world: &mut World, group: u64, outgoing: Outgoing) {
        self.numbers += 1;
        self.repeats.insert(self.numbers, (group, outgoing));
        world.alarm(self.pid, REPEAT_MS, Alarm::Repeat(self.numbers));
    }

    fn repeat(&mut self, world: &mut World, number: u64) {
        let Some((group, outgoing)) = self.repeats.remove(&number) else { return };
        if world.is_zombie(self.pid) {
            return;
        }
        match &outgoing.summary {
            // A summary must not replace a newer one.
            Some(summary) => {
                let key = subject::state_key(&summary.workflow_id);
                let request = Request::Get { bucket: Bucket::State, key };
                self.ask(world, request, Waiting::Newer(group, outgoing));
            }
            None => {
                let outgoing = match &outgoing.timer_of {
                    Some(id) => timer_message(world, id, &self.timers.stored(id)),
                    None => outgoing,
                };
                let request = Request::Publish(outgoing.message.clone());
                self.ask(world, request, Waiting::Effect(group, outgoing));
            }
        }
    }

    fn repeat_unless_newer(
        &mut self,
        world: &mut World,
        group: u64,
        outgoing: Outgoing,
        entry: Option<&crate::backend::Entry>,
    ) {
        let stored = entry.and_then(|it| decode::<stepwell_shared::summary::RunSummary>(&it.value).ok());
        let newer = match (&stored, &outgoing.summary) {
            (Some(stored), Some(ours)) if stored.run_id == ours.run_id => {
                stored.history_length >= ours.history_length
            }
            (Some(stored), Some(ours)) => stored.started_at_ms > ours.started_at_ms,
            (None, _) | (_, None) => false,
        };
        if newer {
            return self.confirmed(world, group);
        }
        let mut outgoing = outgoing;
        // Somebody may write a newer one between the look and this.
        outgoing.message.expected_last = Some(entry.map_or(0, |entry| entry.revision));
        let request = Request::Publish(outgoing.message.clone());
        self.ask(world, request, Waiting::Effect(group, outgoing));
    }

    fn confirmed(&mut self, world: &mut World, group: u64) {
        if let Some(group) = self.groups.get_mut(&group) {
            group.left -= 1;
        }
        self.settle_group(world, group);
    }

    /// Events count as done when everything behind them is confirmed.
    pub(crate) fn settle_group(&mut self, world: &mut World, number: u64) {
        let Some(group) = self.groups.get_mut(&number) else { return };
        let Some(id) = group.closed.clone().filter(|_| group.left == 0) else { return };
        if group.unchecked {
            // What a predecessor wanted is not looked at yet: what leads to the run stays.
            self.timers.end_unchecked(&id);
            let receipts = self.groups.remove(&number).map(|group| group.receipts).unwrap_or_default();
            receipts.into_iter().for_each(|receipt| self.floors.done(receipt));
            return self.look_again(world, &id);
        }
        // What woke the run goes only now: until here a successor would have needed it.
        if !std::mem::replace(&mut group.timer_ended, true)
            && let Some(write) = self.timers.end(&id)
        {
            return self.send(world, number, timer_message(world, &id, &write));
        }
        if self.timers.all_confirmed(&id) {
            self.recovery.now.remove(&id);
        }
        if let Some(group) = self.groups.remove(&number) {
            for receipt in group.receipts {
                self.floors.done(receipt);
            }
            self.plan_checkpoint(world);
        }
    }

    pub(crate) fn plan_checkpoint(&mut self, world: &mut World) {
        if !self.checkpoint_planned {
            self.checkpoint_planned = true;
            world.alarm(self.pid, CHECKPOINT_MS, Alarm::Checkpoint);
        }
    }

    fn write_checkpoints(&mut self, world: &mut World) {
        self.checkpoint_planned = false;
        // Until everything that predecessors left has been looked at, a successor must find it too.
        let over = self.caught_up && self.recovery.later.is_empty() && self.recovery.now.is_empty();
        if !over || world.is_zombie(self.pid) {
            return;
        }
        self.forget_tasks(world);
        for partition in 0..world.partitions {
            let sequence = self.floors.floor(partition);
            if self.written[partition as usize] != sequence {
                let key = format!("checkpoint.{partition}");
                let body = encode(&Checkpoint { v: VERSION, sequence });
                let message = Message::new(Bucket::Owners.subject(&world.namespace, &key), body);
                self.ask(world, Request::Publish(message), Waiting::Checkpoint(partition, sequence));
                if world.dies_at(self.pid, Point::CheckpointSent) {
                    return;
                }
            }
        }
    }

    /// Puts right what a predecessor's summary hides that was on its way for long.
    fn compare_summaries(&mut self, world: &mut World) {
        if world.is_zombie(self.pid) {
            return;
        }
        for (key, value) in world.server.entries(Bucket::State) {
            let Ok(stored) = decode::<RunSummary>(&value) else { continue };
            if stored.status.closed() || self.own.contains_key(&stored.workflow_id) {
                continue;
            }
            let subject = subject::history(&world.namespace, &stored.workflow_id, world.partitions);
            let messages = world.server.read(Stream::History, &subject, 0, usize::MAX);
            let Ok(loaded) = load(&stored.workflow_id, &messages, 0, 0) else { continue };
            let Some(right) = loaded.workflow.summary() else { continue };
            let newer = stored.run_id != right.run_id || stored.history_length < right.history_length;
            if newer && (&stored.run_id, stored.status) != (&right.run_id, right.status) {
                let revision = world.server.get(Bucket::State, &key).map_or(0, |entry| entry.revision);
                let message = Message::new(Bucket::State.subject(&world.namespace, &key), encode(&right));
                let request = Request::Publish(message.after(revision));
                self.ask(world, request, Waiting::Compared);
            }
        }
        self.comparisons += 1;
        if self.comparisons < COMPARISONS {
            world.alarm(self.pid, COMPARE_MS, Alarm::Compare);
        }
    }

    /// Forgets which tasks there were when all of them are gone and every report on them is taken in.
    fn forget_tasks(&mut self, world: &mut World) {
        let all = subject::all_tasks(&world.namespace);
        let first = world.server.read(Stream::Tasks, &all, 0, 1).first().map_or(u64::MAX, |it| it.sequence);
        let last_event = world.server.last_sequence(Stream::Events);
        let taken_in = (0..world.partitions).all(|it| self.floors.floor(it) >= last_event);
        if first > self.recovery.last_task && taken_in {
            self.recovery.tasks.clear();
        }
    }

    fn checkpointed(&mut self, world: &mut World, partition: u32, sequence: u64) {
        self.written[partition as usize] = sequence;
        let lowest = self.written.iter().copied().min().unwrap_or(0);
        if lowest > KEEP && world.dice.orchestrator.chance(100) {
            let request = Request::PurgeBelow { stream: Stream::Events, sequence: lowest - KEEP };
            world.ask(self.pid, request);
        }
    }

    /// Whether everything that was begun is done, for the end of a run.
    pub(crate) fn behind(&self, world: &mut World) -> Option<String> {
        let last = world.server.last_sequence(Stream::Events);
        let behind: Vec<u32> = (0..world.partitions).filter(|it| self.floors.floor(*it) != last).collect();
        (!behind.is_empty()).then(|| {
            let name = world.name_of(self.pid);
            format!("{name}: partitions {behind:?} are not done up to {last}")
        })
    }
}

/// Sets an event aside with its reason.
pub(crate) fn rejection(world: &World, raw: &Stored, code: ErrorCode, message: &str) -> Message {
    let rejection = Rejection {
        v: VERSION,
        code,
        message: message.to_owned(),
        subject: raw.subject.clone(),
        sequence: raw.sequence,
        at_ms: world.now_ms,
        size: raw.body.len(),
        preview: String::new(),
    };
    Message::new(subject::rejected(&world.namespace, code), encode(&rejection))
        .with_id(format!("rejected-{}", raw.sequence))
}

/// The token of an attempt.
pub(crate) fn token(run: &str, step: &str, attempt: u32) -> String {
    format!("token of {run}/{step}/{attempt}")
}

fn input_of(world: &mut World, message: &Stored) -> Result<(WorkflowId, Input), String> {
    let (id, address) = parse_stored_event(&message.subject).map_err(|error| error.to_string())?;
    let body = &message.body;
    let text = |error: stepwell_shared::encoding::DecodeError| error.to_string();
    let input = match address {
        EventAddress::Start { workflow_type } => {
            let message: StartMessage = decode(body).map_err(text)?;
            let start = RunStarted {
                workflow_type,
                queue: message.queue,
                input: message.input,
                request_id: message.request_id,
                run_timeout_ms: message.run_timeout_ms,
                execution_timeout_ms: message.execution_timeout_ms,
            };
            Input::Start { start: Box::new(start), run_id: new_run_id(world) }
        }
        EventAddress::Signal { name } => {
            let message: SignalMessage = decode(body).map_err(text)?;
            Input::Signal { name, payload: message.payload, request_id: message.request_id }
        }
        EventAddress::Cancel => Input::Cancel { reason: decode::<StopMessage>(body).map_err(text)?.reason },
        EventAddress::Terminate => {
            Input::Terminate { reason: decode::<StopMessage>(body).map_err(text)?.reason }
        }
        EventAddress::Report { run_id, step } => {
            let message: ReportMessage = decode(body).map_err(text)?;
            if message.token != token(run_id.as_str(), &step.to_string(), message.attempt) {
                return Err(format!("wrong token {}", message.token));
            }
            Input::Report { run_id, step, attempt: message.attempt, outcome: message.outcome }
        }
        EventAddress::Compensation { seq } => {
            let message: CompensationMessage = decode(body).map_err(text)?;
            Input::Resolve { seq, action: message.action, reason: message.reason }
        }
    };
    Ok((id, input))
}
