//! TextRank: a sentence matters when sentences that matter resemble it. The graph's edges are the
//! likeness of the sentences' TF-IDF vectors; the ranks are found by power iteration.

use crate::embedding::Embedding;
use crate::vocabulary::Vocabulary;

/// Share of rank that follows the edges; the rest is spread evenly. The value of the original paper.
const DAMPING: f32 = 0.85;

/// Rounds of iteration; ranks of a few hundred sentences stand still after fewer.
const ROUNDS: usize = 30;

/// Most sentences that are compared with each other; the work grows with the square.
pub(super) const MAX_SENTENCES: usize = 300;

/// The rank of each sentence, in order; the mean is 1. Sentences past [`MAX_SENTENCES`] get 0.
pub(super) fn ranks(sentences: &[String], vocabulary: &Vocabulary) -> Vec<f32> {
    let compared = sentences.len().min(MAX_SENTENCES);
    let vectors: Vec<Embedding> =
        sentences[..compared].iter().map(|sentence| Embedding::of(sentence, vocabulary)).collect();
    let edges = edges(&vectors);
    let weights: Vec<f32> = edges.iter().map(|row| row.iter().sum()).collect();
    let mut ranks = vec![1.0_f32; compared];
    for _ in 0..ROUNDS {
        let given: Vec<f32> =
            ranks.iter().zip(&weights).map(|(rank, sum)| if *sum > 0.0 { rank / sum } else { 0.0 }).collect();
        ranks = edges
            .iter()
            .map(|row| {
                let taken: f32 = row.iter().zip(&given).map(|(edge, given)| edge * given).sum();
                1.0 - DAMPING + DAMPING * taken
            })
            .collect();
    }
    ranks.resize(sentences.len(), 0.0);
    ranks
}

/// Likeness of every two sentences; negative likeness is an accident of hashing and counts as none.
fn edges(vectors: &[Embedding]) -> Vec<Vec<f32>> {
    let mut edges = vec![vec![0.0; vectors.len()]; vectors.len()];
    for (i, left) in vectors.iter().enumerate() {
        for (j, right) in vectors.iter().enumerate().skip(i + 1) {
            let likeness = left.similarity(right).unwrap_or_default().max(0.0);
            edges[i][j] = likeness;
            edges[j][i] = likeness;
        }
    }
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_that_resembles_the_others_ranks_first() {
        let sentences = [
            "The licence covers copying of the program.",
            "The licence covers copying and modification of the program and its source.",
            "Modification of the source is covered too.",
            "Bananas are yellow.",
        ];
        let sentences: Vec<String> = sentences.map(str::to_owned).into();
        let ranks = ranks(&sentences, &Vocabulary::parse("10\n"));
        let best = (0..4).max_by(|a, b| ranks[*a].total_cmp(&ranks[*b]));
        assert_eq!(best, Some(1), "{ranks:?}");
        assert!(ranks[3] < ranks[0] && ranks[3] < ranks[2], "{ranks:?}");
    }

    #[test]
    fn there_is_a_rank_for_each_sentence_however_many() {
        assert!(ranks(&[], Vocabulary::committed()).is_empty());
        let many = vec!["the same words again".to_owned(); MAX_SENTENCES + 5];
        let ranks = ranks(&many, &Vocabulary::parse("10\n"));
        assert_eq!(ranks.len(), many.len());
        assert!(ranks.iter().all(|rank| rank.is_finite()));
    }
}
