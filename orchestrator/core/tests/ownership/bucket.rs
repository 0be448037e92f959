//! The `owners` bucket: keys with revisions, changed by compare-and-set, and how it was before.

use std::collections::BTreeMap;

use stepwell_orchestrator_core::ownership::Snapshot;
use stepwell_shared::encoding::{VERSION, decode, encode};
use stepwell_shared::ids::MemberId;
use stepwell_shared::ownership::{Hold, Lease};
use stepwell_shared::subject::{HOLD_KEY, lease_key, member_key};

type Keys = BTreeMap<String, (u64, Vec<u8>)>;

/// The bucket with all its earlier states.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    last: u64,
    now: Keys,
    earlier: Vec<Keys>,
}

impl Bucket {
    /// Writes a key that has the revision `expected`; its new revision.
    pub(crate) fn write(&mut self, key: &str, body: Vec<u8>, expected: u64) -> Option<u64> {
        if self.revision(key) != expected {
            return None;
        }
        self.earlier.push(self.now.clone());
        self.last += 1;
        self.now.insert(key.to_owned(), (self.last, body));
        Some(self.last)
    }

    pub(crate) fn remove_member(&mut self, id: &MemberId, revision: u64) {
        let key = member_key(id);
        if (1..=revision).contains(&self.revision(&key)) {
            self.earlier.push(self.now.clone());
            self.now.remove(&key);
        }
    }

    pub(crate) fn hold(&mut self) {
        let body = encode(&Hold { v: VERSION, reason: "a test".into(), beat: self.last });
        self.write(HOLD_KEY, body, self.revision(HOLD_KEY));
    }

    pub(crate) fn revision(&self, key: &str) -> u64 {
        self.now.get(key).map_or(0, |(revision, _)| *revision)
    }

    pub(crate) fn lease(&self, partition: u32) -> Option<(u64, Lease)> {
        let (revision, body) = self.now.get(&lease_key(partition))?;
        Some((*revision, decode(body).ok()?))
    }

    /// As it was so many changes ago.
    pub(crate) fn before(&self, changes: usize) -> Snapshot {
        let index = self.earlier.len().saturating_sub(changes);
        let keys = self.earlier.get(index).unwrap_or(&self.now);
        let mut snapshot = Snapshot::default();
        for (key, (revision, body)) in keys {
            snapshot.insert(key, *revision, body);
        }
        snapshot
    }
}
