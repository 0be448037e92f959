//! A member with its view: what it has under way, and how long it may act.

use std::collections::BTreeMap;

use stepwell_orchestrator_core::ownership::{Ownership, Snapshot, Step};
use stepwell_shared::encoding::{VERSION, encode};
use stepwell_shared::ids::MemberId;
use stepwell_shared::ownership::{Lease, Member};
use stepwell_shared::subject::{lease_key, member_key};

use crate::bucket::Bucket;

/// What becomes of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    RequestLost,
    AnswerLost,
}

/// What is under way.
#[derive(Debug, Clone)]
enum UnderWay {
    Confirm {
        partition: u32,
        epoch: u64,
        expected: u64,
        from: (MemberId, u64),
    },
    Take {
        partition: u32,
        epoch: u64,
        expected: u64,
    },
    /// It does not work at it any more.
    Release {
        partition: u32,
        epoch: u64,
        revision: u64,
    },
}

/// A member.
pub(crate) struct Node {
    id: MemberId,
    view: Ownership,
    lease_ms: u64,
    /// How fast its clock is, in thousandths.
    per_mille: u64,
    beat: u64,
    revision: u64,
    /// On its own clock.
    renewed_ms: u64,
    leaving: bool,
    over: bool,
    /// The partitions at which it works, with epoch and revision.
    works: BTreeMap<u32, (u64, u64)>,
    under_way: Vec<UnderWay>,
}

impl Node {
    pub(crate) fn join(
        id: MemberId,
        partitions: u32,
        lease_ms: u64,
        per_mille: u64,
        now_ms: u64,
        bucket: &mut Bucket,
    ) -> Self {
        let view = Ownership::new(id.clone(), partitions, lease_ms);
        let mut node = Self {
            id,
            view,
            lease_ms,
            per_mille,
            beat: 0,
            revision: 0,
            renewed_ms: now_ms * per_mille / 1_000,
            leaving: false,
            over: false,
            works: BTreeMap::new(),
            under_way: Vec::new(),
        };
        node.renew(now_ms, bucket, Outcome::Done);
        node
    }

    pub(crate) fn id(&self) -> &MemberId {
        &self.id
    }

    fn clock(&self, now_ms: u64) -> u64 {
        now_ms * self.per_mille / 1_000
    }

    /// Whether it was not renewed in time; it never acts again then.
    pub(crate) fn is_over(&mut self, now_ms: u64) -> bool {
        self.over |= self.clock(now_ms) >= self.renewed_ms + self.lease_ms * 3 / 4;
        self.over
    }

    /// The partitions at which it works, with the revisions of their leases.
    pub(crate) fn works_at(&self, now_ms: u64) -> impl Iterator<Item = (u32, u64)> + '_ {
        let valid = !self.over && self.clock(now_ms) < self.renewed_ms + self.lease_ms * 3 / 4;
        self.works.iter().filter(move |_| valid).map(|(partition, (_, revision))| (*partition, *revision))
    }

    pub(crate) fn renew(&mut self, now_ms: u64, bucket: &mut Bucket, outcome: Outcome) {
        self.beat += 1;
        let value = Member {
            v: VERSION,
            host: String::new(),
            process: 0,
            since_ms: 0,
            beat: self.beat,
            leaving: self.leaving,
        };
        let key = member_key(&self.id);
        if outcome == Outcome::RequestLost {
            return;
        }
        let written = bucket.write(&key, encode(&value), self.revision);
        match (written, outcome) {
            (Some(revision), Outcome::Done) => {
                self.revision = revision;
                self.renewed_ms = self.clock(now_ms);
            }
            // The next one is refused.
            (Some(_), Outcome::AnswerLost | Outcome::RequestLost) => {}
            (None, _) => match bucket.revision(&key) {
                revision if revision > self.revision => self.revision = revision,
                _ => self.over = true,
            },
        }
    }

    pub(crate) fn leave(&mut self) {
        self.leaving = true;
        self.view.leave();
    }

    /// Whether it has given everything back and may go.
    pub(crate) fn has_left(&self) -> bool {
        self.leaving && self.view.is_idle()
    }

    pub(crate) fn look(&mut self, now_ms: u64, snapshot: &Snapshot, bucket: &mut Bucket) -> Vec<Step> {
        if self.is_over(now_ms) {
            return Vec::new();
        }
        let steps = self.view.look(snapshot, self.clock(now_ms));
        for step in &steps {
            match step.clone() {
                Step::Take { partition, epoch, expected, from: Some(from) } => {
                    self.under_way.push(UnderWay::Confirm { partition, epoch, expected, from });
                }
                Step::Take { partition, epoch, expected, from: None } => {
                    self.under_way.push(UnderWay::Take { partition, epoch, expected });
                }
                Step::HandOver { partition, .. } | Step::Lose { partition } => {
                    // One that is handed over may be lost before it is given back.
                    if let Some((epoch, revision)) = self.works.remove(&partition) {
                        self.under_way.push(UnderWay::Release { partition, epoch, revision });
                    }
                }
                Step::Bury { member, revision } => bucket.remove_member(&member, revision),
            }
        }
        steps
    }

    /// Something that is under way gets on. False when nothing is.
    pub(crate) fn deliver(
        &mut self,
        now_ms: u64,
        which: usize,
        bucket: &mut Bucket,
        outcome: Outcome,
    ) -> bool {
        if self.under_way.is_empty() || self.is_over(now_ms) {
            return false;
        }
        match self.under_way.remove(which % self.under_way.len()) {
            UnderWay::Confirm { partition, epoch, expected, from: (holder, seen) } => {
                let gone = outcome == Outcome::Done && bucket.revision(&member_key(&holder)) <= seen;
                if gone {
                    self.under_way.push(UnderWay::Take { partition, epoch, expected });
                } else {
                    self.view.not_taken(partition);
                }
            }
            UnderWay::Take { partition, epoch, expected } => {
                let holder = Some(self.id.clone());
                let written = write_lease(bucket, partition, holder, epoch, expected, outcome);
                match written.filter(|_| outcome == Outcome::Done) {
                    Some(revision) => {
                        self.works.insert(partition, (epoch, revision));
                        self.view.took(partition, epoch, revision);
                    }
                    None => self.view.not_taken(partition),
                }
            }
            UnderWay::Release { partition, epoch, revision } => {
                write_lease(bucket, partition, None, epoch, revision, outcome);
                self.view.handed_over(partition);
            }
        }
        true
    }
}

fn write_lease(
    bucket: &mut Bucket,
    partition: u32,
    holder: Option<MemberId>,
    epoch: u64,
    expected: u64,
    outcome: Outcome,
) -> Option<u64> {
    if outcome == Outcome::RequestLost {
        return None;
    }
    bucket.write(&lease_key(partition), encode(&Lease { v: VERSION, holder, epoch }), expected)
}
