//! Over how many streams the histories and the tasks of a namespace are spread, and which of them something lies in.
//!
//! A stream is written by one leader, one message after the other, and with every write synced it waits for the disk
//! each time: several streams are written at the same time, by several leaders in a cluster. The first one is called as
//! if it were the only one.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::partition::partition_of_token;

/// Most shards of a namespace. Each is two streams, and one consumer for each queue; on one machine more than a few
/// gain nothing.
pub const MAX_SHARDS: u32 = 16;

/// How many shards a namespace has: at least one, at most [`MAX_SHARDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Shards(u32);

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u32);

/// Why a number is not a number of shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} shards; there must be between 1 and {MAX_SHARDS}")]
pub struct InvalidShards(pub u32);

impl Shards {
    /// What a namespace has when nothing is said.
    pub const ONE: Self = Self(1);

    /// How many.
    #[must_use]
    pub fn count(self) -> u32 {
        self.0
    }

    /// Each of them, the first one first.
    pub fn all(self) -> impl DoubleEndedIterator<Item = Shard> + ExactSizeIterator + Clone {
        (0..self.0).map(Shard)
    }

    /// The one in which the histories of a partition lie.
    #[must_use]
    pub fn of_partition(self, partition: u32) -> Shard {
        Shard(partition % self.0)
    }

    /// The one in which a task of this message id lies, always the same. Not by partition: the tasks of one workflow
    /// are spread as well.
    #[must_use]
    pub fn of_task(self, message_id: &str) -> Shard {
        Shard(partition_of_token(message_id, self.0))
    }
}

impl Default for Shards {
    fn default() -> Self {
        Self::ONE
    }
}

impl TryFrom<u32> for Shards {
    type Error = InvalidShards;

    fn try_from(count: u32) -> Result<Self, InvalidShards> {
        if (1..=MAX_SHARDS).contains(&count) { Ok(Self(count)) } else { Err(InvalidShards(count)) }
    }
}

impl FromStr for Shards {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let count: u32 =
            text.parse().map_err(|error| format!("{text:?} is not a number of shards: {error}"))?;
        Self::try_from(count).map_err(|error| error.to_string())
    }
}

impl From<Shards> for u32 {
    fn from(shards: Shards) -> Self {
        shards.0
    }
}

impl Shard {
    /// The first one, which every namespace has.
    pub const FIRST: Self = Self(0);

    /// Its place among all of them, from 0.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// The number that names and subjects have, from 2; the first one has none.
    #[must_use]
    pub fn number(self) -> Option<u32> {
        (self.0 > 0).then(|| self.0 + 1)
    }

    /// `name` with the number after `between`, if there is one.
    pub(crate) fn name(self, name: String, between: char) -> String {
        match self.number() {
            None => name,
            Some(number) => format!("{name}{between}{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_at_least_one_and_there_are_not_too_many() {
        for count in [0, MAX_SHARDS + 1, u32::MAX] {
            assert_eq!(Shards::try_from(count), Err(InvalidShards(count)));
        }
        for text in ["", "0", "-1", "17", "two"] {
            assert!(text.parse::<Shards>().is_err(), "{text}");
        }
        let most = Shards::try_from(MAX_SHARDS).unwrap();
        assert_eq!("16".parse(), Ok(most));
        assert_eq!(most.all().len(), 16);
        assert_eq!(most.all().next_back().and_then(Shard::number), Some(16));
        assert_eq!(Shards::default().all().collect::<Vec<_>>(), [Shard::FIRST]);
    }

    #[test]
    fn tasks_of_one_run_are_spread_and_each_stays_where_it_is() {
        let shards = Shards::try_from(2).unwrap();
        let of = |step| shards.of_task(&format!("0198e5f0-6c1d-7d10-8000-000000000001/{step}/1"));
        let second = (1..=1_000).filter(|step| of(*step) != Shard::FIRST).count();
        assert!((400..600).contains(&second), "{second}");
        assert!((1..=1_000).all(|step| of(step) == of(step)));
        assert_eq!([0, 1, 2, 15].map(|partition| shards.of_partition(partition).index()), [0, 1, 0, 1]);
    }
}
