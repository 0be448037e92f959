//! Which orchestrator is to work at which partition. A function of who is there, so that all come to the same
//! answer without asking each other.

use std::collections::{BTreeMap, BTreeSet};

use stepwell_shared::ids::MemberId;
use stepwell_shared::rng::{SplitMix64, seed_from};

/// Who is to work at each partition; nothing when nobody is there.
///
/// Rendezvous hashing (Thaler, Ravishankar 1996) with a bound on the load: each partition goes to the member
/// that scores highest for it and has room. No two members differ by more than one partition, and few
/// partitions move when somebody comes or goes.
#[must_use]
pub fn assign(members: &BTreeSet<MemberId>, partitions: u32) -> BTreeMap<u32, MemberId> {
    let count = u32::try_from(members.len()).unwrap_or(u32::MAX);
    if count == 0 {
        return BTreeMap::new();
    }
    let share = partitions / count;
    // So many members have one more than the others.
    let mut extra = partitions % count;
    let mut load: BTreeMap<&MemberId, u32> = members.iter().map(|member| (member, 0)).collect();
    let mut assigned = BTreeMap::new();
    for partition in 0..partitions {
        let room = |member: &MemberId| {
            let load = load.get(member).copied().unwrap_or(0);
            load < share || (load == share && extra > 0)
        };
        let best = members.iter().filter(|member| room(member));
        let Some(best) = best.max_by_key(|member| (score(member, partition), *member)) else { break };
        if let Some(load) = load.get_mut(best) {
            extra -= u32::from(*load == share);
            *load += 1;
        }
        assigned.insert(partition, best.clone());
    }
    assigned
}

fn score(member: &MemberId, partition: u32) -> u64 {
    SplitMix64::new(seed_from(member.as_str().as_bytes()) ^ u64::from(partition)).next_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(names: &[&str]) -> BTreeSet<MemberId> {
        names.iter().map(|name| MemberId::new(name).unwrap()).collect()
    }

    fn loads(members: &BTreeSet<MemberId>, partitions: u32) -> Vec<usize> {
        let assigned = assign(members, partitions);
        members.iter().map(|member| assigned.values().filter(|owner| *owner == member).count()).collect()
    }

    #[test]
    fn every_partition_has_one_owner_and_loads_are_even() {
        assert!(assign(&members(&[]), 16).is_empty());
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        for count in 1..=names.len() {
            for partitions in [1, 2, 3, 15, 16, 256] {
                let loads = loads(&members(&names[..count]), partitions);
                assert_eq!(loads.iter().sum::<usize>(), partitions as usize);
                let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
                assert!(most - least <= 1, "{count} members, {partitions} partitions: {loads:?}");
            }
        }
    }

    #[test]
    fn who_comes_takes_a_share_and_leaves_most_of_the_rest_alone() {
        let (two, three) = (members(&["a", "b"]), members(&["a", "b", "c"]));
        let (before, after) = (assign(&two, 64), assign(&three, 64));
        let newcomer = MemberId::new("c").unwrap();
        let between_old = (0..64).filter(|it| after[it] != newcomer && after[it] != before[it]).count();
        assert!(between_old <= 16, "{between_old} partitions moved between those that stayed");
        assert_ne!(before, after);
    }
}
