//! The engine of one partition: taking over, reading events, handing them to workflows, timers. It exists from when the
//! lease was written until the partition is given back or lost. When it may not act any more it is kept for a
//! while: what its drives append then is what a process does that has not noticed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use stepwell_orchestrator_core::{Arrival, Input, Workflow};
use stepwell_shared::encoding::decode;
use stepwell_shared::ids::{MemberId, Name, WorkflowId};
use stepwell_shared::subject::{self, Bucket, Stream};

use super::drive::{Delivery, Drive, Held};
use super::effects::Outgoing;
use super::events::{Raw, input_of, parts};
use super::knobs::Sabotage;
use super::progress::{COMPARE_MS, Checkpoint};
use super::recovery::Recovery;
use super::sending::Group;
use super::timers::{Floor, Receipt, TimerEntry, Timers};
use super::wire::{Alarm, Answer, Call, EngineAlarm, Failed, Pid, Request};
use super::world::World;
use crate::backend::{Log, Stored};

/// The engine of one partition.
pub(crate) struct Engine {
    pub(crate) pid: Pid,
    /// No other engine has this number.
    pub(crate) number: u64,
    pub(crate) member: MemberId,
    pub(crate) partition: u32,
    /// Its process's wall clock against the world's.
    pub(crate) skew_ms: i64,
    pub(crate) recovery: Recovery,
    /// Up to which sequence the history of each open run is this engine's own, or was looked at.
    pub(crate) own: BTreeMap<WorkflowId, u64>,
    pub(crate) floor: Floor,
    pub(crate) timers: Timers,
    parked: BTreeMap<Name, BTreeSet<WorkflowId>>,
    pub(crate) caught_up: bool,
    pub(crate) slots: BTreeMap<WorkflowId, Slot>,
    /// Runs in memory with nothing to do, those used longest ago first.
    idle: VecDeque<WorkflowId>,
    pub(crate) calls: BTreeMap<Call, Waiting>,
    pub(crate) groups: BTreeMap<u64, Group>,
    pub(crate) repeats: BTreeMap<u64, (u64, Outgoing)>,
    pub(crate) written: u64,
    pub(crate) checkpoint_planned: bool,
    pub(crate) passed_ms: u64,
    pub(crate) comparisons: u32,
    next: u64,
    catch_up: u64,
    known_workers: BTreeSet<String>,
    timer_planned_ms: Option<u64>,
    /// It reads what was left.
    begun: bool,
    /// It has read it, and works.
    active: bool,
    /// It begins nothing more.
    pub(crate) stopping: bool,
    /// It publishes nothing more that is not fenced.
    pub(crate) ended: bool,
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
    Checkpoint(u64),
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { next, catch_up, begun, active, caught_up, .. } = self;
        let working = self.slots.values().filter(|slot| matches!(slot.state, SlotState::Active(_))).count();
        write!(
            f,
            "begun {begun}, active {active}, at {next} of {catch_up}, caught up {caught_up}, {working} drives"
        )
    }
}

impl Engine {
    /// The engine of a partition whose lease was just written.
    pub(crate) fn new(world: &mut World, pid: Pid, skew_ms: i64, member: MemberId, partition: u32) -> Self {
        Self {
            pid,
            number: world.number(),
            member,
            partition,
            skew_ms,
            recovery: Recovery::default(),
            own: BTreeMap::new(),
            floor: Floor::new(0, false),
            timers: Timers::default(),
            parked: BTreeMap::new(),
            caught_up: false,
            slots: BTreeMap::new(),
            idle: VecDeque::new(),
            calls: BTreeMap::new(),
            groups: BTreeMap::new(),
            repeats: BTreeMap::new(),
            written: 0,
            checkpoint_planned: false,
            passed_ms: world.members_ms(),
            comparisons: 0,
            next: 0,
            catch_up: 0,
            known_workers: BTreeSet::new(),
            timer_planned_ms: None,
            begun: false,
            active: false,
            stopping: false,
            ended: false,
        }
    }

    pub(crate) fn now(&self, world: &World) -> u64 {
        world.now_ms.saturating_add_signed(self.skew_ms)
    }

    /// Whether it may publish what is not fenced.
    pub(crate) fn holds(&self, world: &World) -> bool {
        !self.ended && world.valid(self.pid)
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    pub(crate) fn is_active(&self) -> bool {
        self.active
    }

    /// Whether nothing is under way.
    pub(crate) fn is_drained(&self) -> bool {
        let working = |slot: &Slot| matches!(slot.state, SlotState::Active(_));
        self.groups.is_empty() && !self.slots.values().any(working)
    }

    /// Whether nobody waits for anything that it could still do after its end.
    pub(crate) fn is_gone(&self) -> bool {
        !self.slots.values().any(|slot| matches!(slot.state, SlotState::Active(_)))
    }

    pub(crate) fn ask(&mut self, world: &mut World, request: Request, waiting: Waiting) {
        let call = world.ask(self.pid, request);
        self.calls.insert(call, waiting);
    }

    pub(crate) fn alarm(&self, world: &mut World, after_ms: u64, alarm: EngineAlarm) {
        world.alarm(self.pid, after_ms, Alarm::Engine(self.number, alarm));
    }

    /// Begins to take over; these tasks were there after whoever had the partition before had ended.
    pub(crate) fn start(&mut self, world: &mut World, tasks: BTreeSet<String>, last_task: u64) {
        self.begun = true;
        self.recovery = Recovery::new(tasks, last_task);
        let key = format!("checkpoint.{}", self.partition);
        self.ask(world, Request::Get { bucket: Bucket::Owners, key }, Waiting::TakingOver);
    }

    pub(crate) fn alarmed(&mut self, world: &mut World, alarm: EngineAlarm) {
        match alarm {
            EngineAlarm::Timers => self.timers_due(world),
            EngineAlarm::Checkpoint => self.checkpoint_due(world),
            EngineAlarm::Compare => self.compare_summaries(world),
            EngineAlarm::Resume(id) => {
                if let Ok(id) = WorkflowId::new(id) {
                    self.work(world, &id);
                }
            }
            EngineAlarm::Repeat(number) => self.repeat(world, number),
        }
    }

    pub(crate) fn answered(&mut self, world: &mut World, waiting: Waiting, answer: Answer) {
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
            (Waiting::Checkpoint(sequence), Answer::Published(Ok(_))) => self.checkpointed(world, sequence),
            (Waiting::Checkpoint(_), _) => self.plan_checkpoint(world),
            (waiting, answer) => world.complaints.push(format!("{waiting:?} was answered by {answer:?}")),
        }
    }

    /// Reads what was left, one thing after the other, in the order that the orchestrator does.
    fn take_over(&mut self, world: &mut World, answer: Answer) {
        let next = match answer {
            Answer::Value(entry) => {
                let checkpoint = entry.and_then(|entry| decode::<Checkpoint>(&entry.value).ok());
                self.written = checkpoint.map_or(0, |checkpoint| checkpoint.sequence);
                Request::LastEvent(self.partition)
            }
            Answer::LastEvent(sequence) => {
                self.catch_up = sequence;
                Request::Timers(self.partition)
            }
            Answer::Timers(entries) => {
                for (key, value) in entries {
                    let (Some((_, id)), Ok(entry)) =
                        (subject::parse_timer_key(&key), serde_json::from_slice::<TimerEntry>(&value))
                    else {
                        continue;
                    };
                    self.park(&id, &BTreeSet::new(), &entry.waits_on);
                    self.timers.restore(id, &entry);
                }
                return self.activate(world);
            }
            _ => return,
        };
        self.ask(world, next, Waiting::TakingOver);
    }

    fn activate(&mut self, world: &mut World) {
        self.active = true;
        self.next = self.written + 1;
        self.floor = Floor::new(self.written, world.sabotage == Sabotage::FirstPartOnly);
        let all = subject::all_rejected(&world.namespace);
        let rejected = world.server.read(Stream::Rejected, &all, 0, usize::MAX);
        self.recovery.aside = rejected.into_iter().filter_map(|it| it.message_id).collect();
        let (partition, next, catch_up) = (self.partition, self.next, self.catch_up);
        world.note(self.pid, || format!("works at {partition} from {next}, catches up to {catch_up}"));
        self.plan_timers(world);
        self.alarm(world, COMPARE_MS, EngineAlarm::Compare);
        if self.next > self.catch_up {
            self.catch_up_done(world);
        }
        self.ask_for_events(world);
    }

    fn ask_for_events(&mut self, world: &mut World) {
        let request = Request::Events { partition: self.partition, from: self.next };
        self.ask(world, request, Waiting::Events);
    }

    fn read(&mut self, world: &mut World, messages: Vec<Stored>, more: usize) {
        if self.stopping {
            return;
        }
        let last = messages.last().map_or(self.next, |message| message.sequence);
        for message in messages {
            self.next = message.sequence + 1;
            self.take(world, message);
        }
        if !self.caught_up && (last >= self.catch_up || more == 0) {
            self.catch_up_done(world);
        }
        if world.alive(self.pid) {
            self.ask_for_events(world);
        }
    }

    fn catch_up_done(&mut self, world: &mut World) {
        self.caught_up = true;
        for id in self.recovery.take_later() {
            self.deliver(world, &id, Delivery::internal(Input::Wake));
        }
        self.plan_checkpoint(world);
    }

    /// What predecessors wanted for a workflow is to be looked at when everything they left has been read. Who stops
    /// looks at nothing any more.
    pub(crate) fn look_again(&mut self, world: &mut World, id: &WorkflowId) {
        if self.stopping {
            return;
        }
        if self.caught_up {
            self.recovery.later.remove(id);
            self.recovery.now.insert(id.clone());
            self.deliver(world, id, Delivery::internal(Input::Wake));
        } else {
            self.recovery.later.insert(id.clone());
        }
    }

    fn take(&mut self, world: &mut World, message: Stored) {
        let sequence = message.sequence;
        let mut parts = parts(world, message);
        parts.retain(|raw| !self.recovery.aside.contains(&raw.rejection_id()));
        if parts.is_empty() {
            return self.floor.pass(sequence);
        }
        if sequence <= self.catch_up {
            world.stats.reread += 1;
        }
        let receipt = |raw: &Raw| Receipt { sequence, part: raw.place.unwrap_or(0) };
        let receipts: Vec<Receipt> = parts.iter().map(receipt).collect();
        self.floor.begin(&receipts);
        // Without the watermark nothing tells a redelivery from a new event.
        let watermark = (world.sabotage != Sabotage::NoWatermark).then_some(sequence);
        for (raw, receipt) in parts.into_iter().zip(receipts) {
            match input_of(world, &raw.stored) {
                Ok((id, input)) => {
                    let arrival = Arrival { sequence: watermark, input };
                    let delivery = Delivery { arrival, receipt: Some(receipt), raw: Some(raw) };
                    self.deliver(world, &id, delivery);
                }
                Err(reason) => world.complaints.push(format!("an event cannot be read: {reason}")),
            }
        }
    }

    /// Puts something into a workflow's mailbox, and begins to work on it if nobody does.
    pub(crate) fn deliver(&mut self, world: &mut World, id: &WorkflowId, delivery: Delivery) {
        if self.stopping {
            return;
        }
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
        // Whoever may not act any more has left arrivals to a successor, and must not record later ones.
        if !self.holds(world) {
            return;
        }
        let group = world.number();
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
        if !slot.mailbox.is_empty() && !self.stopping {
            return self.begin(world, id, held, slot.mailbox);
        }
        if let Some(held) = held.filter(|held| !held.workflow.idle()) {
            let slot = Slot { mailbox: VecDeque::new(), state: SlotState::Idle(held) };
            self.slots.insert(id.clone(), slot);
            self.idle.push_back(id.clone());
        }
        self.evict(world, world.knobs.cached_runs);
    }

    pub(crate) fn evict(&mut self, world: &mut World, keep: usize) {
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

    /// A worker is there.
    pub(crate) fn worker_appeared(&mut self, world: &mut World, worker: String) {
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
            let after_ms = next_ms.saturating_sub(self.now(world));
            self.alarm(world, after_ms, EngineAlarm::Timers);
        }
    }

    fn timers_due(&mut self, world: &mut World) {
        self.timer_planned_ms = None;
        if self.stopping {
            return;
        }
        for id in self.timers.take_due(self.now(world)) {
            self.deliver(world, &id, Delivery::internal(Input::Wake));
            if !world.alive(self.pid) {
                return;
            }
        }
        self.plan_timers(world);
    }
}
