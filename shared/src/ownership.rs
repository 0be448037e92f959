//! What lies in the `owners` bucket about who works at which partition.

use serde::{Deserialize, Serialize};

use crate::ids::MemberId;

/// An orchestrator process, under a key of its own. It writes this again and again; others take it for dead
/// when they have seen no change for a lease time, by their own clocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Format version.
    pub v: u32,
    /// Where it runs, for people.
    #[serde(default)]
    pub host: String,
    /// The process's number there, for people.
    #[serde(default)]
    pub process: u32,
    /// When it began, in milliseconds since the Unix epoch, for people.
    #[serde(default)]
    pub since_ms: u64,
    /// How many times it was written.
    pub beat: u64,
    /// It is ending: partitions are to be taken over from it.
    #[serde(default)]
    pub leaving: bool,
}

/// Who works at a partition. Changed by compare-and-set only; good for as long as its holder lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Format version.
    pub v: u32,
    /// Who; nobody when it was handed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<MemberId>,
    /// Goes up with each holder.
    pub epoch: u64,
}

/// How far a partition was dealt with when its owner said so last: the streams must not end before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Format version.
    pub v: u32,
    /// Sequence of EVENTS up to which every event of the partition is dealt with.
    pub sequence: u64,
    /// The last sequence of HISTORY that the partition had written.
    #[serde(default)]
    pub history: u64,
}

/// Somebody wants that no orchestrator works for a while, to save a consistent copy. Written again and again,
/// and over when it is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Format version.
    pub v: u32,
    /// Who wants it and why, for people.
    pub reason: String,
    /// How many times it was written.
    pub beat: u64,
}
