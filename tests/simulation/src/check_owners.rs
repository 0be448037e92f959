//! What must hold of who owns what when everything has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use stepwell_shared::ids::MemberId;

use super::membership::LOOK_MS;
use super::world::World;

/// Messages between the writing of a lease that is free and that of its next holder: the acknowledgement, the word
/// that something has changed, a look and its answer, the question for a hold and its answer, the lease.
const MESSAGES: u64 = 7;

/// Most looks until somebody takes what is free. Two are enough as a rule; who has just learned of somebody's end
/// counts that one in for up to a lease.
const MOST_LOOKS: u64 = 20;

/// Every partition is held by one of those that live, and they share evenly.
pub(crate) fn check_owners(world: &World, members: &BTreeSet<MemberId>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut loads: BTreeMap<&MemberId, u32> = members.iter().map(|member| (member, 0)).collect();
    for partition in 0..world.partitions {
        let holder = world.owners.holder(partition);
        match holder.as_ref().and_then(|holder| loads.get_mut(holder)) {
            Some(load) => *load += 1,
            None => wrong.push(format!("partition {partition} is held by {holder:?}; there are {members:?}")),
        }
    }
    let (least, most) = (loads.values().min(), loads.values().max());
    if let (Some(least), Some(most)) = (least, most)
        && most - least > 1
    {
        wrong.push(format!("the partitions are not shared evenly: {loads:?}"));
    }
    wrong
}

/// Partitions were handed over, `kept` at least, and none was without an owner for longer than it takes to look.
pub(crate) fn check_hand_over(world: &World, kept: usize) -> Vec<String> {
    let owners = &world.owners;
    let longest_ms = MOST_LOOKS * LOOK_MS + MESSAGES * world.knobs.latency_ms;
    let mut wrong = Vec::new();
    if owners.taken < kept as u64 {
        wrong.push(format!("of {kept} partitions only {} were handed over", owners.taken));
    }
    if owners.longest_free_ms > longest_ms {
        let free_ms = owners.longest_free_ms;
        wrong.push(format!("a partition was free for {free_ms} ms, {longest_ms} are enough"));
    }
    wrong
}
