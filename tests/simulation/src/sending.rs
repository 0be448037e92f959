//! Effects on their way: they are sent again until they are confirmed, and only then the events behind them count
//! as done. Whoever may not publish any more sends nothing.

use stepwell_shared::encoding::decode;
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::subject::{self, Bucket};
use stepwell_shared::summary::RunSummary;

use super::effects::{Outgoing, timer_message};
use super::engine::{Engine, Waiting};
use super::knobs::Sabotage;
use super::timers::Receipt;
use super::wire::{EngineAlarm, Request};
use super::world::World;
use crate::backend::Entry;

/// Pause before an effect that was not confirmed is published again.
const REPEAT_MS: u64 = 200;

/// What a drive sent, and the events that are done when all of it is confirmed.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) left: usize,
    /// The workflow, once the drive has ended.
    pub(crate) closed: Option<WorkflowId>,
    /// What predecessors wanted for the workflow was not looked at.
    pub(crate) unchecked: bool,
    /// What woke the run has been taken away.
    pub(crate) timer_ended: bool,
    pub(crate) receipts: Vec<Receipt>,
}

impl Engine {
    /// Sends something that must reach a stream; the group waits for it. Whoever may not publish any more leaves
    /// it to a successor, and what leads to it is never done.
    pub(crate) fn send(&mut self, world: &mut World, group: u64, outgoing: Outgoing) {
        if let Some(group) = self.groups.get_mut(&group) {
            group.left += 1;
        }
        self.publish(world, group, outgoing);
    }

    fn publish(&mut self, world: &mut World, group: u64, outgoing: Outgoing) {
        if !self.holds(world) {
            return;
        }
        world.publishes(self.pid, &self.member, self.partition, &outgoing.message.subject);
        let request = Request::Publish(outgoing.message.clone());
        self.ask(world, request, Waiting::Effect(group, outgoing));
    }

    pub(crate) fn plan_repeat(&mut self, world: &mut World, group: u64, outgoing: Outgoing) {
        let number = world.number();
        self.repeats.insert(number, (group, outgoing));
        self.alarm(world, REPEAT_MS, EngineAlarm::Repeat(number));
    }

    pub(crate) fn repeat(&mut self, world: &mut World, number: u64) {
        let Some((group, outgoing)) = self.repeats.remove(&number) else { return };
        if !self.holds(world) {
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
                self.publish(world, group, outgoing);
            }
        }
    }

    pub(crate) fn repeat_unless_newer(
        &mut self,
        world: &mut World,
        group: u64,
        outgoing: Outgoing,
        entry: Option<&Entry>,
    ) {
        let stored = entry.and_then(|it| decode::<RunSummary>(&it.value).ok());
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
        self.publish(world, group, outgoing);
    }

    pub(crate) fn confirmed(&mut self, world: &mut World, group: u64) {
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
            if world.sabotage != Sabotage::LateNote {
                // Before the events count as done: no checkpoint may pass by what a successor has to find.
                self.recovery.later.insert(id.clone());
            }
            let receipts = self.groups.remove(&number).map(|group| group.receipts).unwrap_or_default();
            receipts.into_iter().for_each(|receipt| self.floor.done(receipt));
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
                self.floor.done(receipt);
            }
            self.plan_checkpoint(world);
        }
    }
}
