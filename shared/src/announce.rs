//! How workers make themselves known: a core NATS message on `…worker.announce` when they start, every
//! [`ANNOUNCE_INTERVAL_MS`] after that, and once more when they leave.

use serde::{Deserialize, Serialize};

use crate::ids::{Name, WorkerId};

/// Time between two announcements of a worker, in milliseconds.
pub const ANNOUNCE_INTERVAL_MS: u64 = 5_000;

/// A worker that was not heard of for this long is taken for gone: three announcements missed.
pub const ANNOUNCE_EXPIRY_MS: u64 = 16_000;

/// What a worker says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Format version.
    pub v: u32,
    /// Who.
    pub worker: WorkerId,
    /// The queue that it serves.
    pub queue: Name,
    /// The workflow types that it has code for.
    #[serde(default)]
    pub workflows: Vec<Name>,
    /// The activity types that it has code for.
    #[serde(default)]
    pub activities: Vec<Name>,
    /// How many activities it runs at once at most.
    #[serde(default)]
    pub slots: u32,
    /// How many it runs now.
    #[serde(default)]
    pub slots_used: u32,
    /// Host name and process id, for a person.
    #[serde(default)]
    pub host: String,
    /// True in the last announcement.
    #[serde(default)]
    pub leaving: bool,
}
