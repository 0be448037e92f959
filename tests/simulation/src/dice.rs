//! Randomness that is a function of the seed. Each concern draws from a stream of its own, so that one
//! more draw for a delay does not change which program runs.

use stepwell_shared::rng::{SplitMix64, seed_from};

/// A stream of random choices.
#[derive(Debug, Clone)]
pub struct Dice(SplitMix64);

/// One stream for every concern.
#[derive(Debug, Clone)]
pub(crate) struct Streams {
    pub(crate) program: Dice,
    pub(crate) network: Dice,
    pub(crate) faults: Dice,
    pub(crate) worker: Dice,
    pub(crate) client: Dice,
    pub(crate) orchestrator: Dice,
}

impl Streams {
    pub(crate) fn new(seed: u64) -> Self {
        let stream = |name: &str| Dice::of(seed, name);
        Self {
            program: stream("program"),
            network: stream("network"),
            faults: stream("faults"),
            worker: stream("worker"),
            client: stream("client"),
            orchestrator: stream("orchestrator"),
        }
    }
}

impl Dice {
    /// The stream of this name.
    pub fn of(seed: u64, name: &str) -> Self {
        let mut mixed = SplitMix64::new(seed ^ seed_from(name.as_bytes()));
        Self(SplitMix64::new(mixed.next_u64()))
    }

    /// A number below `end`; 0 when `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.0.next_u64() % end }
    }

    /// A number from `first` to `last`, both included.
    pub fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last.saturating_sub(first) + 1)
    }

    /// True so many times in a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        let index = self.below(of.len() as u64);
        of.get(usize::try_from(index).unwrap_or(0))
    }

    /// An index below `len`.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }
}
