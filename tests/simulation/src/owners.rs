//! The `owners` bucket, change by change: what a replica that is behind answers, and what must hold of every
//! change, and of whoever publishes something, whatever the processes believe.

use std::collections::{BTreeMap, VecDeque};

use stepwell_orchestrator_core::ownership::Snapshot;
use stepwell_shared::encoding::decode;
use stepwell_shared::ids::MemberId;
use stepwell_shared::ownership::Lease;
use stepwell_shared::subject::{HOLD_KEY, OwnersKey, parse_owners_key};

use super::knobs::LEASE_MS;

/// How long changes are kept: no replica is further behind.
const KEPT_MS: u64 = 21_000;

/// By how much two clocks may differ in speed, in a million.
pub(crate) const DRIFT_PPM: u64 = 10_000;

/// A key of the bucket: its revision and its value.
type Held = BTreeMap<String, (u64, Vec<u8>)>;

/// What a key is changed to; nothing when it is removed.
type Value = Option<(u64, Vec<u8>)>;

/// The bucket, as far as it is about who owns what. Times are those of members.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    now: Held,
    read: Snapshot,
    /// As it was before the changes that are kept.
    before: Held,
    changes: VecDeque<(u64, String, Value)>,
    /// When the last renewal of each member that was stored had been asked for.
    renewed_ms: BTreeMap<MemberId, u64>,
    /// Since when a partition has no holder.
    free_since_ms: BTreeMap<u32, u64>,
    /// The longest time that a partition had none, and how often one was taken.
    pub(crate) longest_free_ms: u64,
    pub(crate) taken: u64,
    pub(crate) wrong: Vec<String>,
    /// When the hold that lasts was laid, and renewed last.
    held_ms: Option<(u64, u64)>,
}

impl Owners {
    /// A key was written or removed; the request had been sent at `sent_ms`.
    pub(crate) fn changed(&mut self, now_ms: u64, sent_ms: u64, key: &str, value: Value) {
        match parse_owners_key(key) {
            None => return,
            Some(OwnersKey::Member(member)) if value.is_some() => {
                self.renewed_ms.insert(member, sent_ms);
            }
            Some(OwnersKey::Lease(partition)) => {
                let after = value.as_ref().and_then(|(_, body)| decode(body).ok());
                self.lease_changed(now_ms, partition, after);
            }
            Some(OwnersKey::Hold) => {
                let lasts = self.held_ms.filter(|(_, renewed_ms)| now_ms < renewed_ms + LEASE_MS);
                self.held_ms = Some((lasts.map_or(now_ms, |(since_ms, _)| since_ms), now_ms));
            }
            Some(OwnersKey::Member(_)) => {}
        }
        put(&mut self.now, key.to_owned(), value.clone());
        match &value {
            Some((revision, body)) => self.read.insert(key, *revision, body),
            None => self.read = snapshot(&self.now),
        }
        self.changes.push_back((now_ms, key.to_owned(), value));
        while let Some((at_ms, ..)) = self.changes.front()
            && at_ms + KEPT_MS < now_ms
            && let Some((_, key, value)) = self.changes.pop_front()
        {
            put(&mut self.before, key, value);
        }
    }

    /// The bucket as it is.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.read
    }

    /// The bucket as it was at some time.
    pub(crate) fn as_of(&self, at_ms: u64) -> Snapshot {
        let mut held = self.before.clone();
        for (_, key, value) in self.changes.iter().take_while(|(changed_ms, ..)| *changed_ms <= at_ms) {
            put(&mut held, key.clone(), value.clone());
        }
        snapshot(&held)
    }

    pub(crate) fn revision(&self, key: &str) -> u64 {
        self.now.get(key).map_or(0, |(revision, _)| *revision)
    }

    pub(crate) fn hold_revision(&self) -> u64 {
        self.revision(HOLD_KEY)
    }

    /// Who has a partition.
    pub(crate) fn holder(&self, partition: u32) -> Option<MemberId> {
        self.lease(partition)?.holder
    }

    fn lease(&self, partition: u32) -> Option<Lease> {
        self.read.leases.get(&partition)?.value.clone()
    }

    /// From now on it counts how long partitions have no holder.
    pub(crate) fn begin_counting(&mut self) {
        self.longest_free_ms = 0;
        self.taken = 0;
    }

    /// Whether somebody holds all orchestrators, and has for so long that whoever asked before has done what it
    /// asked for.
    fn is_held(&self, now_ms: u64) -> bool {
        self.held_ms.is_some_and(|(since_ms, renewed_ms)| {
            now_ms > since_ms + 2 * LEASE_MS && now_ms < renewed_ms + LEASE_MS / 2
        })
    }

    /// Whether nobody holds the orchestrators, and everybody knows.
    pub(crate) fn is_free(&self, now_ms: u64) -> bool {
        self.held_ms.is_none_or(|(_, renewed_ms)| now_ms > renewed_ms + 2 * LEASE_MS)
    }

    fn lease_changed(&mut self, now_ms: u64, partition: u32, after: Option<Lease>) {
        let before = self.lease(partition);
        let Some(after) = after else {
            return self.wrong.push(format!("the lease of partition {partition} was removed"));
        };
        let epoch = before.as_ref().map_or(0, |lease| lease.epoch);
        let fits = if after.holder.is_some() { after.epoch > epoch } else { after.epoch == epoch };
        if !fits {
            self.wrong.push(format!("partition {partition}: after {before:?} came {after:?}"));
        }
        // Nobody was told that it is free as long as nobody may take it.
        let was_free = before.is_none_or(|lease| lease.holder.is_none());
        if was_free && after.holder.is_some() && self.is_held(now_ms) {
            self.wrong.push(format!("partition {partition} was taken while all orchestrators were held"));
        }
        if after.holder.is_none() {
            self.free_since_ms.insert(partition, now_ms);
        } else if let Some(since_ms) = self.free_since_ms.remove(&partition) {
            self.longest_free_ms = self.longest_free_ms.max(now_ms - since_ms);
            self.taken += 1;
        }
    }

    /// A member publishes something for a partition that is not fenced, at `at_ms`.
    pub(crate) fn publishes(&mut self, at_ms: u64, member: &MemberId, partition: u32, what: &str) {
        let longest_ms = LEASE_MS * 3 / 4;
        let longest_ms = longest_ms + longest_ms * DRIFT_PPM / 1_000_000 + 1;
        let renewed_ms = self.renewed_ms.get(member).copied();
        if renewed_ms.is_none_or(|renewed_ms| at_ms > renewed_ms + longest_ms) {
            self.wrong.push(format!(
                "{member} published {what}, and was renewed last at {renewed_ms:?}, now {at_ms}"
            ));
        }
        let holder = self.holder(partition);
        if holder.as_ref() != Some(member) {
            self.wrong
                .push(format!("{member} published {what} for partition {partition}, which {holder:?} has"));
        }
    }
}

fn put(held: &mut Held, key: String, value: Value) {
    match value {
        Some(value) => held.insert(key, value),
        None => held.remove(&key),
    };
}

fn snapshot(held: &Held) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (key, (revision, body)) in held {
        snapshot.insert(key, *revision, body);
    }
    snapshot
}
