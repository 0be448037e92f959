//! What goes wrong with processes: they die, stand still, come back.

use super::wire::{Kind, Pid, Point, What};
use super::world::{SERVER, World};

impl World {
    /// Whether the process dies here; it may also be paused and go on later.
    pub(crate) fn dies_at(&mut self, pid: Pid, point: Point) -> bool {
        if !self.faulty() || !self.alive(pid) {
            return !self.alive(pid);
        }
        if self.dice.faults.chance(self.knobs.crash) {
            self.note(pid, || format!("dies at {point:?}"));
            self.kill(pid);
            return true;
        }
        if self.dice.faults.chance(self.knobs.pause) {
            self.note(pid, || format!("is paused at {point:?}"));
            self.pause(pid);
        }
        false
    }

    /// A process dies: what it sent last may or may not have left it.
    pub(crate) fn kill(&mut self, pid: Pid) {
        if !self.links[pid].alive {
            return;
        }
        self.links[pid].alive = false;
        let in_flight: Vec<(u64, u64)> = self
            .queue
            .iter()
            .filter(|(_, (_, what))| matches!(what, What::Arrives { from, .. } if *from == pid))
            .map(|(key, _)| *key)
            .collect();
        let left = self.dice.faults.index(in_flight.len() + 1);
        for key in &in_flight[left..] {
            self.queue.remove(key);
        }
        // The server may not have noticed yet: a task that it hands to the dead waits for its redelivery.
        if self.dice.faults.chance(500) {
            self.pulls.retain(|(puller, _, _)| *puller != pid);
        }
        self.forget(pid);
        let Some(kind) = self.links[pid].kind else { return };
        let outage_ms = match kind {
            Kind::Orchestrator => {
                self.stats.orchestrator_crashes += 1;
                self.outage()
            }
            Kind::Worker => {
                self.stats.worker_crashes += 1;
                self.dice.faults.between(0, 20_000)
            }
        };
        self.at(self.now_ms + outage_ms, SERVER, What::Spawn(kind));
    }

    /// A process stands still, for less than a lease or for much longer.
    pub(crate) fn pause(&mut self, pid: Pid) {
        if self.paused(pid) {
            return;
        }
        self.stats.pauses += 1;
        self.settled = false;
        let pause_ms = match self.dice.faults.below(4) {
            0 => self.dice.faults.between(1, 1_500),
            1 => self.dice.faults.between(1_500, 5_000),
            2 => self.dice.faults.between(5_000, 20_000),
            _ => self.dice.faults.between(20_000, 60_000),
        };
        self.links[pid].paused_until_ms = self.now_ms + pause_ms;
    }

    /// A process has ended; what it had sent is on its way.
    pub(crate) fn ended(&mut self, pid: Pid) {
        self.links[pid].alive = false;
        self.forget(pid);
    }

    /// An orchestrator that ended cleanly comes back, or does not while others are there.
    pub(crate) fn plan_return(&mut self) {
        self.stats.clean_ends += 1;
        let others = !self.living(Kind::Orchestrator).is_empty();
        let stays_away = others && (!self.returning || self.dice.faults.chance(300));
        if !stays_away {
            let outage_ms = self.outage();
            self.at(self.now_ms + outage_ms, SERVER, What::Spawn(Kind::Orchestrator));
        }
    }

    /// Nothing happens any more to a process that is gone.
    fn forget(&mut self, pid: Pid) {
        self.settled = false;
        self.queue.retain(|_, (to, _)| *to != pid);
        self.event_readers.retain(|(reader, ..)| *reader != pid);
    }

    fn outage(&mut self) -> u64 {
        if self.knobs.long_outages && self.dice.faults.chance(200) {
            return self.dice.faults.between(120_000, 300_000);
        }
        self.dice.faults.between(0, 8_000)
    }

    pub(super) fn core_lost(&mut self) -> bool {
        let lost = self.faulty() && self.dice.faults.chance(self.knobs.core_lost);
        self.stats.lost_core += u64::from(lost);
        lost
    }
}
