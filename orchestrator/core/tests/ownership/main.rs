//! What holds for the views of several members over one bucket, whatever is read when, and whatever gets lost.

mod bucket;
mod member;

use std::collections::BTreeMap;

use proptest::prelude::*;
use stepwell_orchestrator_core::ownership::{Ownership, Snapshot, Step, Stored};
use stepwell_shared::ids::MemberId;
use stepwell_shared::ownership::{Hold, Lease, Member};

use bucket::Bucket;
use member::{Node, Outcome};

/// How long a member counts as alive without a sign of life.
const LEASE_MS: u64 = 3_000;

/// How long members are given to come to rest when nothing goes wrong: the dead are known as such after a lease,
/// and buried after ten.
const REST_MS: u64 = 60_000;

/// How long nothing may change then.
const STABLE_MS: u64 = 20_000;

/// Something that happens.
#[derive(Debug, Clone)]
enum Move {
    Wait {
        ms: u64,
    },
    Renew {
        node: usize,
        outcome: Outcome,
    },
    /// It reads the bucket as it was so many changes ago.
    Look {
        node: usize,
        behind: usize,
    },
    /// One of the writes that it has under way gets on.
    Deliver {
        node: usize,
        which: usize,
        outcome: Outcome,
    },
    /// It dies; another one comes in its place.
    Restart {
        node: usize,
    },
    Leave {
        node: usize,
    },
    Hold,
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        8 => Just(Outcome::Done),
        1 => Just(Outcome::RequestLost),
        1 => Just(Outcome::AnswerLost),
    ]
}

fn a_move(nodes: usize) -> impl Strategy<Value = Move> {
    let node = 0..nodes;
    let behind = prop_oneof![3 => Just(0usize), 1 => 1..30usize];
    prop_oneof![
        6 => (1..900u64).prop_map(|ms| Move::Wait { ms }),
        8 => (node.clone(), outcome()).prop_map(|(node, outcome)| Move::Renew { node, outcome }),
        8 => (node.clone(), behind).prop_map(|(node, behind)| Move::Look { node, behind }),
        8 => (node.clone(), any::<usize>(), outcome())
            .prop_map(|(node, which, outcome)| Move::Deliver { node, which, outcome }),
        1 => node.clone().prop_map(|node| Move::Restart { node }),
        1 => node.prop_map(|node| Move::Leave { node }),
        1 => Just(Move::Hold),
    ]
}

/// Members over one bucket.
struct Cluster {
    now_ms: u64,
    names: u32,
    partitions: u32,
    bucket: Bucket,
    nodes: Vec<Node>,
}

impl Cluster {
    fn new(nodes: usize, partitions: u32) -> Self {
        let bucket = Bucket::default();
        let mut cluster = Self { now_ms: 0, names: 0, partitions, bucket, nodes: Vec::new() };
        for _ in 0..nodes {
            let node = cluster.joins();
            cluster.nodes.push(node);
        }
        cluster
    }

    fn joins(&mut self) -> Node {
        self.names += 1;
        let id = member_id(self.names);
        // Clocks differ by up to one in a hundred.
        let per_mille = 990 + u64::from(self.names * 7 % 21);
        Node::join(id, self.partitions, LEASE_MS, per_mille, self.now_ms, &mut self.bucket)
    }

    fn go(&mut self, happens: &Move) {
        match *happens {
            Move::Wait { ms } => self.now_ms += ms,
            Move::Renew { node, outcome } => {
                self.nodes[node].renew(self.now_ms, &mut self.bucket, outcome);
            }
            Move::Look { node, behind } => {
                let snapshot = self.bucket.before(behind);
                self.nodes[node].look(self.now_ms, &snapshot, &mut self.bucket);
            }
            Move::Deliver { node, which, outcome } => {
                self.nodes[node].deliver(self.now_ms, which, &mut self.bucket, outcome);
            }
            Move::Restart { node } => self.nodes[node] = self.joins(),
            Move::Leave { node } => self.nodes[node].leave(),
            Move::Hold => self.bucket.hold(),
        }
        self.replace_those_that_are_over();
        self.check();
    }

    fn replace_those_that_are_over(&mut self) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].is_over(self.now_ms) {
                self.nodes[node] = self.joins();
            }
        }
    }

    /// Whoever works at a partition has its lease, as it is stored now.
    fn check(&self) {
        for node in &self.nodes {
            for (partition, revision) in node.works_at(self.now_ms) {
                let stored = self.bucket.lease(partition);
                let (now, lease) = stored.expect("it was written");
                assert_eq!(lease.holder.as_ref(), Some(node.id()), "partition {partition}");
                assert_eq!(now, revision, "partition {partition}");
            }
        }
    }

    /// A while without anything going wrong. Returns what was to be done in it.
    fn rest(&mut self, for_ms: u64) -> Vec<Step> {
        const TICK_MS: u64 = 100;
        let mut steps = Vec::new();
        for tick in 0..for_ms / TICK_MS {
            self.now_ms += TICK_MS;
            for node in 0..self.nodes.len() {
                if tick % 5 == node as u64 % 5 {
                    self.nodes[node].renew(self.now_ms, &mut self.bucket, Outcome::Done);
                }
                let snapshot = self.bucket.before(0);
                steps.extend(self.nodes[node].look(self.now_ms, &snapshot, &mut self.bucket));
                while self.nodes[node].deliver(self.now_ms, 0, &mut self.bucket, Outcome::Done) {}
                if self.nodes[node].has_left() {
                    self.nodes[node] = self.joins();
                }
            }
            self.replace_those_that_are_over();
            self.check();
        }
        steps
    }

    fn loads(&self) -> BTreeMap<MemberId, u32> {
        let mut loads: BTreeMap<MemberId, u32> =
            self.nodes.iter().map(|node| (node.id().clone(), 0)).collect();
        for partition in 0..self.partitions {
            let (_, lease) = self.bucket.lease(partition).expect("somebody took it");
            let holder = lease.holder.expect("somebody has it");
            *loads.get_mut(&holder).expect("whoever has it is there") += 1;
        }
        loads
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn nobody_works_without_the_lease_and_all_share_evenly_in_the_end(
        (nodes, moves) in (1..5usize).prop_flat_map(|nodes| {
            (Just(nodes), proptest::collection::vec(a_move(nodes), 0..300))
        }),
        partitions in 1..9u32,
    ) {
        let mut cluster = Cluster::new(nodes, partitions);
        for happens in &moves {
            cluster.go(happens);
        }
        cluster.rest(REST_MS);
        let loads = cluster.loads();
        let (least, most) = (loads.values().min().unwrap(), loads.values().max().unwrap());
        prop_assert!(most - least <= 1, "{loads:?}");
        let steps = cluster.rest(STABLE_MS);
        prop_assert!(steps.is_empty(), "{steps:?}");
        prop_assert_eq!(cluster.loads(), loads);
    }

    #[test]
    fn arbitrary_snapshots_never_panic(
        partitions in 0..9u32,
        lease_ms in prop_oneof![Just(0), Just(LEASE_MS), Just(u64::MAX)],
        looks in proptest::collection::vec((a_snapshot(), any::<u64>(), any::<u8>()), 0..20),
    ) {
        let mut view = Ownership::new(member_id(0), partitions, lease_ms);
        for (snapshot, now_ms, what) in looks {
            for step in view.look(&snapshot, now_ms) {
                match step {
                    Step::Take { partition, epoch, expected, .. } if what % 3 == 0 => {
                        view.took(partition, epoch, expected.saturating_add(1));
                    }
                    Step::Take { partition, .. } => view.not_taken(partition),
                    Step::HandOver { partition, .. } | Step::Lose { partition } if what % 2 == 0 => {
                        view.handed_over(partition);
                    }
                    Step::HandOver { .. } | Step::Lose { .. } | Step::Bury { .. } => {}
                }
            }
            if what == 0 {
                view.leave();
            }
            prop_assert!(view.held().all(|partition| partition < partitions));
        }
    }
}

fn member_id(number: u32) -> MemberId {
    MemberId::new(format!("member-{number}")).expect("letters and digits")
}

fn a_number() -> impl Strategy<Value = u64> {
    prop_oneof![0..5u64, any::<u64>(), Just(u64::MAX)]
}

fn an_id() -> impl Strategy<Value = MemberId> {
    (0..4u32).prop_map(member_id)
}

fn a_snapshot() -> impl Strategy<Value = Snapshot> {
    let member =
        (a_number(), proptest::option::of((a_number(), any::<bool>()))).prop_map(|(revision, value)| {
            let member = |(beat, leaving)| Member {
                v: 1,
                host: String::new(),
                process: 0,
                since_ms: 0,
                beat,
                leaving,
            };
            Stored { revision, value: value.map(member) }
        });
    let value = proptest::option::of((proptest::option::of(an_id()), a_number()));
    let lease = (a_number(), value).prop_map(|(revision, value)| Stored {
        revision,
        value: value.map(|(holder, epoch)| Lease { v: 1, holder, epoch }),
    });
    let hold = a_number().prop_map(|revision| Stored {
        revision,
        value: Some(Hold { v: 1, reason: String::new(), beat: revision }),
    });
    let members = proptest::collection::btree_map(an_id(), member, 0..4);
    let leases = proptest::collection::btree_map(0..12u32, lease, 0..9);
    (members, leases, proptest::option::of(hold)).prop_map(|(members, leases, hold)| Snapshot {
        members,
        leases,
        hold,
    })
}
