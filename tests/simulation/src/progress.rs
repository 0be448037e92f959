//! How far an engine has got: checkpoints, trimming of EVENTS, what need not be known any more, and putting right
//! what lists say.

use serde::{Deserialize, Serialize};
use stepwell_shared::encoding::{VERSION, decode, encode};
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::{self, Bucket, Stream};
use stepwell_shared::summary::RunSummary;

use super::engine::{Engine, Waiting};
use super::history::load;
use super::wire::{EngineAlarm, Point, Request};
use super::world::World;
use crate::backend::{KeyValue, Log, Message};

/// How often checkpoints are written.
const CHECKPOINT_MS: u64 = 500;

/// How often it is looked whether nothing came for the partition while the stream went on.
const PASS_EVERY_MS: u64 = 10_000;

/// How often summaries are compared with their histories, and how many times after taking over: a message is not
/// on its way for longer.
pub(crate) const COMPARE_MS: u64 = 60_000;
const COMPARISONS: u32 = 3;

/// How many events that are done stay readable.
const KEEP: u64 = 5;

/// How far everything of a partition is done.
#[derive(Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    v: u32,
    pub(crate) sequence: u64,
}

impl Engine {
    pub(crate) fn plan_checkpoint(&mut self, world: &mut World) {
        if !self.checkpoint_planned {
            self.checkpoint_planned = true;
            self.alarm(world, CHECKPOINT_MS, EngineAlarm::Checkpoint);
        }
    }

    pub(crate) fn checkpoint_due(&mut self, world: &mut World) {
        self.checkpoint_planned = false;
        if self.stopping {
            return;
        }
        if let Some((message, sequence)) = self.checkpoint(world) {
            self.ask(world, Request::Publish(message), Waiting::Checkpoint(sequence));
            world.dies_at(self.pid, Point::CheckpointSent);
        }
    }

    /// The checkpoint, if it may be written and is another one than before. Until everything that predecessors
    /// left has been looked at, a successor must find it too.
    pub(crate) fn checkpoint(&mut self, world: &mut World) -> Option<(Message, u64)> {
        if !self.caught_up || !self.recovery.is_over() || !self.holds(world) {
            return None;
        }
        self.forget_tasks(world);
        let sequence = self.floor.done_to();
        if self.written == sequence {
            return None;
        }
        let key = format!("checkpoint.{}", self.partition);
        let body = encode(&Checkpoint { v: VERSION, sequence });
        world.publishes(self.pid, &self.member, self.partition, &key);
        Some((Message::new(Bucket::Owners.subject(&world.namespace, &key), body), sequence))
    }

    /// Lets the floor of a partition for which nothing comes go on with the stream.
    pub(crate) fn pass_what_is_not_ours(&mut self, world: &mut World) {
        if self.passed_ms + PASS_EVERY_MS > world.members_ms() || !self.is_active() || self.stopping {
            return;
        }
        self.passed_ms = world.members_ms();
        if world.last_event(self.partition) <= self.floor.read_to() {
            self.floor.pass(world.server.last_sequence(Stream::Events));
            self.plan_checkpoint(world);
        }
    }

    /// Puts right what a predecessor's summary hides that was on its way for long.
    pub(crate) fn compare_summaries(&mut self, world: &mut World) {
        if self.stopping || !self.holds(world) {
            return;
        }
        for (key, value) in world.server.entries(Bucket::State) {
            let Ok(stored) = decode::<RunSummary>(&value) else { continue };
            let ours = subject::partition(&stored.workflow_id, world.partitions) == self.partition;
            if !ours || stored.status.closed() || self.own.contains_key(&stored.workflow_id) {
                continue;
            }
            let subject = subject::history(&world.namespace, &stored.workflow_id, world.partitions);
            let messages = world.server.read(Stream::History(Shard::FIRST), &subject, 0, usize::MAX);
            let Ok(loaded) = load(&stored.workflow_id, &messages, 0, 0) else { continue };
            let Some(right) = loaded.workflow.summary() else { continue };
            let newer = stored.run_id != right.run_id || stored.history_length < right.history_length;
            if newer && (&stored.run_id, stored.status) != (&right.run_id, right.status) {
                let revision = world.server.get(Bucket::State, &key).map_or(0, |entry| entry.revision);
                world.publishes(self.pid, &self.member, self.partition, "a summary");
                let message = Message::new(Bucket::State.subject(&world.namespace, &key), encode(&right));
                let request = Request::Publish(message.after(revision));
                self.ask(world, request, Waiting::Compared);
            }
        }
        self.comparisons += 1;
        if self.comparisons < COMPARISONS {
            self.alarm(world, COMPARE_MS, EngineAlarm::Compare);
        }
    }

    /// Forgets which tasks there were when all of them are gone and every report on them is taken in.
    fn forget_tasks(&mut self, world: &mut World) {
        let all = subject::all_tasks(&world.namespace, Shard::FIRST);
        let first = world
            .server
            .read(Stream::Tasks(Shard::FIRST), &all, 0, 1)
            .first()
            .map_or(u64::MAX, |it| it.sequence);
        let last_event = world.server.last_sequence(Stream::Events);
        self.recovery.forget_tasks_if_gone(first, last_event, self.floor.done_to());
    }

    pub(crate) fn checkpointed(&mut self, world: &mut World, sequence: u64) {
        self.written = sequence;
        if world.dice.orchestrator.chance(900) {
            return;
        }
        // Events are trimmed up to the lowest checkpoint of all partitions.
        let read = |world: &mut World, partition: u32| {
            let entry = world.server.get(Bucket::Owners, &format!("checkpoint.{partition}"))?;
            decode::<Checkpoint>(&entry.value).ok()
        };
        let all = (0..world.partitions).map(|partition| read(world, partition).map_or(0, |it| it.sequence));
        let lowest = all.min().unwrap_or(0);
        if lowest > KEEP {
            let request = Request::PurgeBelow { stream: Stream::Events, sequence: lowest - KEEP };
            world.ask(self.pid, request);
        }
    }

    /// Whether everything that was begun is done, for the end of a run.
    pub(crate) fn behind(&self, world: &mut World) -> Option<String> {
        let (last, done_to) = (world.last_event(self.partition), self.floor.done_to());
        (done_to < last).then(|| {
            let name = world.name_of(self.pid);
            format!("{name}: partition {} is done to {done_to}, not to {last}", self.partition)
        })
    }
}
