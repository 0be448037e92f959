//! What an orchestrator has read of the `owners` bucket.

use std::collections::BTreeMap;

use stepwell_shared::encoding::decode;
use stepwell_shared::ids::MemberId;
use stepwell_shared::ownership::{Hold, Lease, Member};
use stepwell_shared::subject::{OwnersKey, parse_owners_key};

/// A value of the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<T> {
    /// Its revision: what a change of it must expect.
    pub revision: u64,
    /// The value; `None` when it cannot be read.
    pub value: Option<T>,
}

/// The bucket as it was read, at one moment. It may be old: a replica that is behind may have answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// The orchestrators.
    pub members: BTreeMap<MemberId, Stored<Member>>,
    /// The leases, by partition.
    pub leases: BTreeMap<u32, Stored<Lease>>,
    /// Whether somebody wants that nobody works.
    pub hold: Option<Stored<Hold>>,
}

impl Snapshot {
    /// Takes in one entry of the bucket. What has nothing to do with ownership is passed over.
    pub fn insert(&mut self, key: &str, revision: u64, body: &[u8]) {
        match parse_owners_key(key) {
            Some(OwnersKey::Member(id)) => {
                self.members.insert(id, Stored { revision, value: decode(body).ok() });
            }
            Some(OwnersKey::Lease(partition)) => {
                self.leases.insert(partition, Stored { revision, value: decode(body).ok() });
            }
            Some(OwnersKey::Hold) => self.hold = Some(Stored { revision, value: decode(body).ok() }),
            None => {}
        }
    }
}
