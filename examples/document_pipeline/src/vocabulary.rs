//! How common each term is: the committed table `vocabulary.tsv`, counted once over the example
//! documents with `document-pipeline vocabulary`. It is fixed so that vectors of different days can be
//! compared; its fingerprint goes with every vector.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use crate::text::{hash, terms};

/// The table that is compiled in: a line with the number of pieces, then `term<TAB>pieces that have it`.
const COMMITTED: &str = include_str!("../vocabulary.tsv");

/// Fewest pieces a term must occur in to be in the table. Rarer ones are names and typing errors.
const MIN_PIECES: u32 = 3;

/// In how many pieces of text each term occurs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    pieces: u32,
    pieces_with: HashMap<String, u32>,
    fingerprint: u64,
}

impl Vocabulary {
    /// The committed table.
    #[must_use]
    pub fn committed() -> &'static Self {
        static TABLE: LazyLock<Vocabulary> = LazyLock::new(|| Vocabulary::parse(COMMITTED));
        &TABLE
    }

    /// Counts anew.
    #[must_use]
    pub fn count<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Self {
        let mut total = 0;
        let mut counts: HashMap<String, u32> = HashMap::new();
        for piece in pieces {
            total += 1;
            for term in terms(piece).collect::<HashSet<_>>() {
                *counts.entry(term).or_default() += 1;
            }
        }
        counts.retain(|_, count| *count >= MIN_PIECES);
        Self::new(total, counts)
    }

    /// Reads a table. Lines that are none are skipped: the committed table is checked by a test.
    #[must_use]
    pub fn parse(table: &str) -> Self {
        let mut lines = table.lines();
        let pieces = lines.next().and_then(|line| line.trim().parse().ok()).unwrap_or_default();
        let pairs = lines.filter_map(|line| {
            let (term, count) = line.split_once('\t')?;
            Some((term.to_owned(), count.parse().ok()?))
        });
        Self::new(pieces, pairs.collect())
    }

    /// The table as text, most common terms first.
    #[must_use]
    pub fn table(&self) -> String {
        let mut rows: Vec<_> = self.pieces_with.iter().collect();
        rows.sort_by(|(a, m), (b, n)| n.cmp(m).then(a.cmp(b)));
        let rows = rows.into_iter().map(|(term, count)| format!("{term}\t{count}\n"));
        std::iter::once(format!("{}\n", self.pieces)).chain(rows).collect()
    }

    /// How much a term says: the logarithm of its rarity. A term that is not in the table is as rare as
    /// the rarest that is.
    #[must_use]
    pub fn weight(&self, term: &str) -> f32 {
        let with = self.pieces_with.get(term).copied().unwrap_or(MIN_PIECES - 1);
        ((1.0 + self.pieces as f32) / (1.0 + with as f32)).ln().max(0.0) + 1.0
    }

    /// Changes when the table changes.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    fn new(pieces: u32, pieces_with: HashMap<String, u32>) -> Self {
        let mut table = Self { pieces, pieces_with, fingerprint: 0 };
        table.fingerprint = hash(&table.table());
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let pieces = ["the whale and the sea", "a whale", "whale, sea", "sea"];
        let counted = Vocabulary::count(pieces);
        assert_eq!(counted.table(), "4\nsea\t3\nwhale\t3\n");
        assert_eq!(Vocabulary::parse(&counted.table()), counted);
    }

    #[test]
    fn rare_terms_weigh_more() {
        let table = Vocabulary::parse("100\ncommon\t90\nrare\t3\n");
        assert!(table.weight("common") < table.weight("rare"));
        assert!(table.weight("rare") < table.weight("unheard"));
    }
}
