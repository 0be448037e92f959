//! One partition from the writing of its lease to its giving back: take, work, stop, release.

use std::collections::BTreeSet;

use stepwell_shared::encoding::{VERSION, encode};
use stepwell_shared::ids::MemberId;
use stepwell_shared::ownership::Lease;
use stepwell_shared::subject::{Bucket, HOLD_KEY, lease_key, member_key};

use super::engine::Engine;
use super::knobs::Sabotage;
use super::membership::Term;
use super::orchestrator::{Asked, Orchestrator};
use super::wire::{Failed, MemberAlarm, Point, Request};
use super::world::World;
use crate::backend::{Acked, Message};

/// How long it is waited for what is under way when a partition is handed over.
const DRAIN_MS: u64 = 5_000;

/// What a keeper is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Work,
    /// Finish what is under way, then give the lease back.
    HandOver,
    /// Stop at once.
    Stop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Taking,
    Working,
    Draining,
    Saving,
    Releasing,
}

/// A partition that is taken, worked at, or given back.
pub(crate) struct Keeper {
    number: u64,
    partition: u32,
    epoch: u64,
    /// The revision that the lease has, or had before it is taken.
    revision: u64,
    /// The holder that is taken for dead, and the revision at which it was seen last.
    from: Option<(MemberId, u64)>,
    /// The revision of the hold that is taken for over; 0 when none was seen.
    hold: u64,
    batch: u64,
    pub(crate) order: Order,
    stage: Stage,
    pub(crate) engine: Option<Box<Engine>>,
}

/// What is on TASKS, read once for all partitions that are taken together.
#[derive(Default)]
pub(crate) struct Batch {
    asked: bool,
    tasks: Option<(BTreeSet<String>, u64)>,
}

impl Keeper {
    pub(crate) fn new(number: u64, partition: u32, epoch: u64, expected: u64, batch: u64) -> Self {
        Self {
            number,
            partition,
            epoch,
            revision: expected,
            from: None,
            hold: 0,
            batch,
            order: Order::Work,
            stage: Stage::Taking,
            engine: None,
        }
    }
}

impl std::fmt::Display for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { number, partition, epoch, stage, order, .. } = self;
        write!(f, "partition {partition}, keeper {number}, epoch {epoch}: {stage:?}, {order:?}")?;
        self.engine.iter().try_for_each(|engine| write!(f, ", {engine}"))
    }
}

impl Term {
    fn keeper(&mut self, number: u64) -> Option<&mut Keeper> {
        self.keepers.values_mut().find(|keeper| keeper.number == number)
    }
}

impl Orchestrator {
    fn keeper_of(&mut self, number: u64) -> Option<&mut Keeper> {
        self.term.as_mut()?.keeper(number)
    }

    /// Takes a partition. What it rests on is asked for once more where nothing is behind: that nobody holds all
    /// orchestrators, and that a holder is gone that is taken for dead.
    pub(crate) fn take(
        &mut self,
        world: &mut World,
        mut keeper: Keeper,
        from: Option<(MemberId, u64)>,
        hold: u64,
    ) {
        let Some(term) = &mut self.term else { return };
        let number = keeper.number;
        (keeper.from, keeper.hold) = (from, hold);
        term.keepers.insert(keeper.partition, keeper);
        if world.sabotage == Sabotage::NoHoldConfirmation {
            return self.ask_for_holder(world, number);
        }
        self.ask(world, Request::Revision(HOLD_KEY.to_owned()), Asked::NoHold(number));
    }

    pub(crate) fn not_held(&mut self, world: &mut World, number: u64, revision: Option<u64>) {
        let Some(keeper) = self.keeper_of(number) else { return };
        let over = revision.is_some_and(|revision| revision <= keeper.hold);
        if over { self.ask_for_holder(world, number) } else { self.not_taken(world, number) }
    }

    fn ask_for_holder(&mut self, world: &mut World, number: u64) {
        let Some(keeper) = self.keeper_of(number) else { return };
        match keeper.from.clone() {
            Some((holder, _)) if world.sabotage != Sabotage::NoConfirmation => {
                self.ask(world, Request::Revision(member_key(&holder)), Asked::Confirm(number));
            }
            Some(_) | None => self.write_lease(world, number),
        }
    }

    pub(crate) fn confirmed(&mut self, world: &mut World, number: u64, revision: Option<u64>) {
        let Some(keeper) = self.keeper_of(number) else { return };
        let seen = keeper.from.as_ref().map_or(0, |(_, seen)| *seen);
        world.stats.found_alive += u64::from(revision.is_some_and(|revision| revision > seen));
        if revision.is_none_or(|revision| revision > seen) {
            return self.not_taken(world, number);
        }
        if !world.dies_at(self.pid, Point::Confirmed) {
            self.write_lease(world, number);
        }
    }

    fn write_lease(&mut self, world: &mut World, number: u64) {
        if !world.valid(self.pid) {
            return self.not_taken(world, number);
        }
        let Some(term) = &mut self.term else { return };
        let id = term.id.clone();
        let Some(keeper) = term.keeper(number) else { return };
        let epoch = keeper.epoch - u64::from(world.sabotage == Sabotage::SameEpoch && keeper.epoch > 1);
        let message = lease_message(world, keeper.partition, Some(id), epoch, keeper.revision);
        self.ask(world, Request::Publish(message), Asked::Lease(number));
        world.dies_at(self.pid, Point::LeaseSent);
    }

    fn not_taken(&mut self, world: &mut World, number: u64) {
        let Some(term) = &mut self.term else { return };
        let Some(partition) = term.keeper(number).map(|keeper| keeper.partition) else { return };
        term.ownership.not_taken(partition);
        term.keepers.remove(&partition);
        self.leave_if_idle(world);
    }

    pub(crate) fn taken(&mut self, world: &mut World, number: u64, result: Result<Acked, Failed>) {
        let Ok(ack) = result else { return self.not_taken(world, number) };
        if world.dies_at(self.pid, Point::LeaseTaken) {
            return;
        }
        let (pid, skew_ms) = (self.pid, self.skew_ms);
        let Some(term) = &mut self.term else { return };
        let id = term.id.clone();
        let Some(keeper) = term.keeper(number) else { return };
        keeper.revision = ack.sequence;
        world.stats.taken += 1;
        world.stats.inherited += u64::from(keeper.from.is_some());
        let (partition, epoch, batch) = (keeper.partition, keeper.epoch, keeper.batch);
        if keeper.order != Order::Work {
            term.ownership.took(partition, epoch, ack.sequence);
            return self.release(world, number);
        }
        keeper.stage = Stage::Working;
        keeper.engine = Some(Box::new(Engine::new(world, pid, skew_ms, id, partition)));
        term.ownership.took(partition, epoch, ack.sequence);
        let asked = std::mem::replace(&mut term.batches.entry(batch).or_default().asked, true);
        if !asked {
            self.ask(world, Request::TaskIds, Asked::Tasks(batch));
        }
        self.begin_work(world, batch);
    }

    pub(crate) fn tasks_read(&mut self, world: &mut World, batch: u64, ids: Vec<String>, last: u64) {
        let Some(found) = self.term.as_mut().and_then(|term| term.batches.get_mut(&batch)) else { return };
        found.tasks = Some((ids.into_iter().collect(), last));
        self.begin_work(world, batch);
    }

    /// Lets those begin that wait for the tasks of their batch.
    fn begin_work(&mut self, world: &mut World, batch: u64) {
        let Some(term) = &mut self.term else { return };
        let Some((tasks, last)) = term.batches.get(&batch).and_then(|batch| batch.tasks.clone()) else {
            return;
        };
        for keeper in term.keepers.values_mut().filter(|keeper| keeper.batch == batch) {
            if let Some(engine) = keeper.engine.as_mut().filter(|engine| !engine.has_begun()) {
                engine.start(world, tasks.clone(), last);
            }
        }
    }

    /// What is to become of a partition. Whoever gives it back already goes on with that.
    pub(crate) fn order(&mut self, world: &mut World, partition: u32, order: Order) {
        let Some(keeper) = self.term.as_mut().and_then(|term| term.keepers.get_mut(&partition)) else {
            return;
        };
        keeper.order = order;
        let number = keeper.number;
        if keeper.stage != Stage::Working {
            return;
        }
        let engine = keeper.engine.take();
        match engine {
            Some(mut engine) if order == Order::HandOver && engine.is_active() => {
                engine.stopping = true;
                keeper.engine = Some(engine);
                keeper.stage = Stage::Draining;
                self.alarm(world, DRAIN_MS, MemberAlarm::Drain(number));
                self.save_what_is_drained(world);
            }
            Some(engine) => {
                self.haunt(*engine);
                self.release(world, number);
            }
            None => self.release(world, number),
        }
    }

    /// Goes on with partitions that are handed over and at which nothing is under way any more.
    pub(crate) fn save_what_is_drained(&mut self, world: &mut World) {
        let keepers = self.term.iter().flat_map(|term| term.keepers.values());
        let drained = keepers.filter(|keeper| {
            keeper.stage == Stage::Draining
                && keeper.engine.as_ref().is_some_and(|engine| engine.is_drained())
        });
        let numbers: Vec<u64> = drained.map(|keeper| keeper.number).collect();
        numbers.into_iter().for_each(|number| self.save(world, number));
    }

    pub(crate) fn drain_no_longer(&mut self, world: &mut World, number: u64) {
        if self.keeper_of(number).is_some_and(|keeper| keeper.stage == Stage::Draining) {
            self.save(world, number);
        }
    }

    /// Writes how far everything is done, if that may be said.
    fn save(&mut self, world: &mut World, number: u64) {
        let Some(keeper) = self.keeper_of(number) else { return };
        keeper.stage = Stage::Saving;
        let Some(mut engine) = keeper.engine.take() else { return };
        let checkpoint = engine.checkpoint(world);
        self.haunt(*engine);
        match checkpoint {
            Some((message, _)) => {
                self.ask(world, Request::Publish(message), Asked::Save(number));
                world.dies_at(self.pid, Point::CheckpointSent);
            }
            None => self.release(world, number),
        }
    }

    pub(crate) fn saved(&mut self, world: &mut World, number: u64) {
        self.release(world, number);
    }

    /// Gives the lease back, unless somebody has taken it.
    fn release(&mut self, world: &mut World, number: u64) {
        let Some(keeper) = self.keeper_of(number) else { return };
        keeper.stage = Stage::Releasing;
        let (partition, epoch, revision) = (keeper.partition, keeper.epoch, keeper.revision);
        let message = lease_message(world, partition, None, epoch, revision);
        self.ask(world, Request::Publish(message), Asked::Release(number));
    }

    pub(crate) fn released(&mut self, world: &mut World, number: u64, done: bool) {
        let Some(term) = &mut self.term else { return };
        let Some(partition) = term.keeper(number).map(|keeper| keeper.partition) else { return };
        term.ownership.handed_over(partition);
        term.keepers.remove(&partition);
        if done {
            world.stats.handed_over += 1;
            self.announce_change(world);
        }
        self.leave_if_idle(world);
    }
}

fn lease_message(
    world: &World,
    partition: u32,
    holder: Option<MemberId>,
    epoch: u64,
    expected: u64,
) -> Message {
    let subject = Bucket::Owners.subject(&world.namespace, &lease_key(partition));
    Message::new(subject, encode(&Lease { v: VERSION, holder, epoch })).after(expected)
}
