//! Who works at which partition, decided without a clock or a network: what was read of the `owners` bucket
//! goes in, with the time on the reader's own monotonic clock; what is to be done comes out.
//!
//! Each orchestrator is a member: it renews a key of its own. A lease says who works at a partition, is
//! changed by compare-and-set only, and is good for as long as its holder is alive. So a process with
//! many partitions costs no more than one with few, and all of its leases run out together.
//!
//! A member is taken for dead when its key has not changed for a lease time on the observer's clock; wall
//! clocks are never compared. That picks who works. What keeps two from writing the same run is the
//! sequence check of the append to HISTORY.

mod assignment;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use stepwell_shared::ids::MemberId;
use stepwell_shared::ownership::Lease;

pub use assignment::assign;
pub use snapshot::{Snapshot, Stored};

/// How many lease times after its death a member's key is removed: nobody may be in doubt about it then.
const BURIED_AFTER: u64 = 10;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write the lease, expecting its revision, and begin to work when that succeeded; say so with
    /// [`Ownership::took`], or [`Ownership::not_taken`].
    Take {
        /// The partition.
        partition: u32,
        /// What to write as the epoch.
        epoch: u64,
        /// The revision that is replaced; 0 when there is none.
        expected: u64,
        /// The holder that is taken for dead, with the revision at which it was seen last: to be asked for
        /// once more where nothing is behind, and left alone when it has moved.
        from: Option<(MemberId, u64)>,
    },
    /// Finish what is under way at the partition, then give the lease back; say so with
    /// [`Ownership::handed_over`].
    HandOver {
        /// The partition.
        partition: u32,
        /// The epoch to be kept.
        epoch: u64,
        /// The revision that is replaced.
        expected: u64,
    },
    /// Stop working at the partition at once, somebody else has it; say so with [`Ownership::handed_over`].
    Lose {
        /// The partition.
        partition: u32,
    },
    /// Remove the key of a member that has been dead for long.
    Bury {
        /// The member.
        member: MemberId,
        /// The revision up to which it is removed.
        revision: u64,
    },
}

/// One orchestrator's view of who works at what.
#[derive(Debug, Clone)]
pub struct Ownership {
    me: MemberId,
    partitions: u32,
    lease_ms: u64,
    leaving: bool,
    members: BTreeMap<MemberId, Sighting>,
    hold: Option<Sighting>,
    mine: BTreeMap<u32, Mine>,
}

/// Since when something has been seen as it is.
#[derive(Debug, Clone, Copy)]
struct Sighting {
    revision: u64,
    since_ms: u64,
}

/// A partition that this member has, or is about to have or to give back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mine {
    Taking,
    Held { epoch: u64, revision: u64 },
    HandingOver { epoch: u64, revision: u64 },
    Losing,
}

impl Ownership {
    /// The view of a member that has nothing yet. `lease_ms`: after how long without a change a member is
    /// taken for dead.
    #[must_use]
    pub fn new(me: MemberId, partitions: u32, lease_ms: u64) -> Self {
        let (members, mine) = (BTreeMap::new(), BTreeMap::new());
        Self { me, partitions, lease_ms, leaving: false, members, hold: None, mine }
    }

    /// From now on this member gives back what it has, and takes only what is its own by mistake, to give it back.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// Looks at what was read. `now_ms` is the time on this process's monotonic clock **before** it was read.
    pub fn look(&mut self, snapshot: &Snapshot, now_ms: u64) -> Vec<Step> {
        self.observe(snapshot, now_ms);
        let mut steps = self.lost(snapshot);
        let wanted = self.wanted(snapshot, now_ms);
        for (partition, mine) in &mut self.mine {
            if let Mine::Held { epoch, revision } = *mine
                && !wanted.contains(partition)
            {
                *mine = Mine::HandingOver { epoch, revision };
                steps.push(Step::HandOver { partition: *partition, epoch, expected: revision });
            }
        }
        for partition in wanted.into_iter().chain(self.left_over(snapshot)) {
            if !self.mine.contains_key(&partition)
                && let Some(step) = self.take(snapshot, partition, now_ms)
            {
                self.mine.insert(partition, Mine::Taking);
                steps.push(step);
            }
        }
        steps.extend(self.bury(now_ms));
        steps
    }

    /// The lease was written at `revision`.
    pub fn took(&mut self, partition: u32, epoch: u64, revision: u64) {
        self.mine.insert(partition, Mine::Held { epoch, revision });
    }

    /// The lease was not written, or it is not known: the next look tells.
    pub fn not_taken(&mut self, partition: u32) {
        if self.mine.get(&partition) == Some(&Mine::Taking) {
            self.mine.remove(&partition);
        }
    }

    /// The lease was given back, or is somebody else's meanwhile.
    pub fn handed_over(&mut self, partition: u32) {
        self.mine.remove(&partition);
    }

    /// The partitions at which this member works.
    pub fn held(&self) -> impl Iterator<Item = u32> + '_ {
        let working = |mine: &Mine| match mine {
            Mine::Taking | Mine::Losing => false,
            Mine::Held { .. } | Mine::HandingOver { .. } => true,
        };
        self.mine.iter().filter(move |(_, mine)| working(mine)).map(|(partition, _)| *partition)
    }

    /// Whether it has, takes or gives back nothing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.mine.is_empty()
    }

    fn observe(&mut self, snapshot: &Snapshot, now_ms: u64) {
        let see = |before: Option<Sighting>, revision: u64| match before {
            // A lower one was read where somebody is behind.
            Some(before) if before.revision >= revision => before,
            Some(_) | None => Sighting { revision, since_ms: now_ms },
        };
        self.members.retain(|member, _| snapshot.members.contains_key(member));
        for (member, stored) in &snapshot.members {
            let sighting = see(self.members.get(member).copied(), stored.revision);
            self.members.insert(member.clone(), sighting);
        }
        self.hold = snapshot.hold.as_ref().map(|stored| see(self.hold, stored.revision));
    }

    /// What somebody else has taken.
    fn lost(&mut self, snapshot: &Snapshot) -> Vec<Step> {
        let mut steps = Vec::new();
        for (partition, mine) in &mut self.mine {
            let (epoch, revision) = match *mine {
                Mine::Taking | Mine::Losing => continue,
                Mine::Held { epoch, revision } | Mine::HandingOver { epoch, revision } => (epoch, revision),
            };
            let Some(stored) = snapshot.leases.get(partition) else { continue };
            let lease = stored.value.as_ref();
            let still = lease.is_some_and(|it| {
                // Nobody's, of the same epoch: this member has given it back and not said so yet.
                it.epoch == epoch && it.holder.as_ref().is_none_or(|holder| *holder == self.me)
            });
            if stored.revision > revision && !still {
                *mine = Mine::Losing;
                steps.push(Step::Lose { partition: *partition });
            }
        }
        steps
    }

    fn wanted(&self, snapshot: &Snapshot, now_ms: u64) -> BTreeSet<u32> {
        let held_up = self.hold.is_some_and(|hold| self.fresh(hold, now_ms));
        if self.leaving || held_up {
            return BTreeSet::new();
        }
        let mut there: BTreeSet<MemberId> = BTreeSet::from([self.me.clone()]);
        for (member, stored) in &snapshot.members {
            // One that cannot be read is of a newer version, and alive.
            let leaving = stored.value.as_ref().is_some_and(|value| value.leaving);
            if !leaving && self.alive(member, now_ms) {
                there.insert(member.clone());
            }
        }
        let assigned = assign(&there, self.partitions);
        assigned
            .into_iter()
            .filter(|(_, member)| *member == self.me)
            .map(|(partition, _)| partition)
            .collect()
    }

    /// Partitions whose leases name this member: it wrote that, or wanted to take it back, and was not told what
    /// became of it. Nobody else takes them while it lives. So it takes them, and gives them back properly when
    /// they are not its own.
    fn left_over(&self, snapshot: &Snapshot) -> Vec<u32> {
        let names_me = |stored: &Stored<Lease>| {
            stored.value.as_ref().is_some_and(|lease| lease.holder.as_ref() == Some(&self.me))
        };
        let leases = snapshot.leases.range(..self.partitions);
        leases.filter(|(_, stored)| names_me(stored)).map(|(partition, _)| *partition).collect()
    }

    /// How to take a partition that this member is to have, if it can be taken.
    fn take(&self, snapshot: &Snapshot, partition: u32, now_ms: u64) -> Option<Step> {
        let Some(stored) = snapshot.leases.get(&partition) else {
            return Some(Step::Take { partition, epoch: 1, expected: 0, from: None });
        };
        // One that cannot be read is of a newer version and not touched.
        let Lease { holder, epoch, .. } = stored.value.as_ref()?;
        let from = match holder {
            None => None,
            // What was written with an unknown outcome, or is left of before: as good as free.
            Some(holder) if *holder == self.me => None,
            Some(holder) if self.alive(holder, now_ms) => return None,
            Some(holder) => {
                let seen = self.members.get(holder).map_or(0, |seen| seen.revision);
                Some((holder.clone(), seen))
            }
        };
        Some(Step::Take { partition, epoch: epoch.saturating_add(1), expected: stored.revision, from })
    }

    fn bury(&self, now_ms: u64) -> Vec<Step> {
        let long_dead = self.members.iter().filter(|(member, seen)| {
            **member != self.me
                && now_ms.saturating_sub(seen.since_ms) > self.lease_ms.saturating_mul(BURIED_AFTER)
        });
        long_dead
            .map(|(member, seen)| Step::Bury { member: member.clone(), revision: seen.revision })
            .collect()
    }

    fn alive(&self, member: &MemberId, now_ms: u64) -> bool {
        self.members.get(member).is_some_and(|seen| self.fresh(*seen, now_ms))
    }

    fn fresh(&self, seen: Sighting, now_ms: u64) -> bool {
        now_ms.saturating_sub(seen.since_ms) <= self.lease_ms
    }
}
