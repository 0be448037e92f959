//! How the free slots of a worker are divided among the shards of its queue: each is asked for tasks by itself, and all
//! of them together for no more than there are slots. Arithmetic only.
//!
//! What does not divide evenly goes to one shard after the other, so that a worker with a single slot asks each in turn.

use stepwell_shared::shard::{MAX_SHARDS, Shard};

/// What each shard is asked for.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    /// How many tasks each shard was asked for and may still bring; nothing where nobody asks now.
    asked: [Option<usize>; MAX_SHARDS as usize],
    /// Whose turn it is to have what is left over.
    turn: usize,
}

impl Shares {
    /// How many of `free` slots may be asked for of a shard, those included that are.
    pub(crate) fn of(&self, shard: Shard, free: usize) -> usize {
        let (mut shards, mut before, mut asked_of_others) = (1, 0, 0);
        for (other, asked) in self.others(shard) {
            shards += 1;
            before += usize::from(self.rank(other) < self.rank(shard.index()));
            asked_of_others += asked;
        }
        let share = free / shards + usize::from(before < free % shards);
        share.min(free.saturating_sub(asked_of_others))
    }

    /// A shard was asked for so many tasks that may still come.
    pub(crate) fn set(&mut self, shard: Shard, asked: Option<usize>) {
        let before = std::mem::replace(&mut self.asked[shard.index()], asked);
        // Whoever had its turn, and asks for nothing any more, goes to the end.
        let over = before.is_some_and(|before| before > 0) && asked.is_none_or(|asked| asked == 0);
        if over && self.turn == shard.index() {
            let next = |turn: usize| (turn + 1) % self.asked.len();
            self.turn = next(self.turn);
            while self.asked[self.turn].is_none() && self.turn != shard.index() {
                self.turn = next(self.turn);
            }
        }
    }

    /// Whether other shards than this one may be asked for more.
    pub(crate) fn others_may_ask(&self, shard: Shard, free: usize) -> bool {
        self.others(shard).next().is_some() && free > self.asked.iter().flatten().sum()
    }

    /// What each other shard is asked for.
    fn others(&self, shard: Shard) -> impl Iterator<Item = (usize, usize)> {
        let all = self.asked.iter().enumerate().filter_map(|(other, asked)| Some((other, (*asked)?)));
        all.filter(move |(other, _)| *other != shard.index())
    }

    fn rank(&self, shard: usize) -> usize {
        (shard + self.asked.len() - self.turn) % self.asked.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stepwell_shared::shard::Shards;

    use super::*;

    fn two() -> [Shard; 2] {
        let all: Vec<Shard> = Shards::try_from(2).unwrap().all().collect();
        all.try_into().unwrap()
    }

    fn begun(shards: &[Shard]) -> Shares {
        let mut shares = Shares::default();
        for shard in shards {
            shares.set(*shard, Some(0));
        }
        shares
    }

    #[test]
    fn a_single_shard_has_all() {
        let mut shares = begun(&[Shard::FIRST]);
        for free in [0, 1, 1_000] {
            assert_eq!(shares.of(Shard::FIRST, free), free);
        }
        shares.set(Shard::FIRST, Some(7));
        assert_eq!(shares.of(Shard::FIRST, 9), 9, "what it was asked for is in it");
        assert!(!shares.others_may_ask(Shard::FIRST, 9), "there are none");
    }

    #[test]
    fn one_slot_goes_from_one_to_the_next() {
        let [a, b] = two();
        let mut shares = begun(&[a, b]);
        for _ in 0..3 {
            assert_eq!((shares.of(a, 1), shares.of(b, 1)), (1, 0));
            shares.set(a, Some(1));
            assert_eq!((shares.of(a, 1), shares.of(b, 1)), (1, 0));
            assert!(!shares.others_may_ask(a, 1));
            shares.set(a, Some(0));
            assert!(shares.others_may_ask(a, 1));
            assert_eq!((shares.of(a, 1), shares.of(b, 1)), (0, 1));
            shares.set(b, Some(1));
            shares.set(b, Some(0));
        }
    }

    #[test]
    fn whoever_cannot_ask_leaves_everything_to_the_others() {
        let [a, b] = two();
        let mut shares = begun(&[a, b]);
        assert_eq!((shares.of(a, 16), shares.of(b, 16)), (8, 8));
        shares.set(a, None);
        assert!(shares.others_may_ask(a, 16));
        assert_eq!(shares.of(b, 16), 16);
        shares.set(b, Some(16));
        shares.set(a, Some(0));
        assert_eq!(shares.of(a, 16), 0, "until the other's requests are over");
        shares.set(b, Some(8));
        assert_eq!(shares.of(a, 16), 8);
    }

    proptest! {
        #[test]
        fn never_is_more_asked_for_than_is_free_and_always_somebody_may_ask(
            count in 1u32..=MAX_SHARDS,
            free in 1usize..40,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), 0usize..4), 0..80),
        ) {
            let shards: Vec<Shard> = Shards::try_from(count).unwrap().all().collect();
            let mut shares = begun(&shards);
            let mut asked = vec![0; shards.len()];
            for (index, more, gone) in changes {
                let shard = *index.get(&shards);
                let now = &mut asked[shard.index()];
                *now = if more { (*now).max(shares.of(shard, free)) } else { now.saturating_sub(gone) };
                shares.set(shard, Some(*now));
                prop_assert!(asked.iter().sum::<usize>() <= free);
            }
            for shard in &shards {
                asked[shard.index()] = 0;
                shares.set(*shard, Some(0));
            }
            let all: usize = shards.iter().map(|shard| shares.of(*shard, free)).sum();
            prop_assert_eq!(all, free);
        }
    }
}
