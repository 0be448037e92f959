//! Vectors of texts: hashed TF-IDF. Each term is hashed to one of [`DIMENSIONS`] places and a sign, and
//! adds its sublinear frequency times its rarity there; the vector is then scaled to length one. Real,
//! local and deterministic: the same text has the same vector on every machine.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::text::{hash, terms};
use crate::vocabulary::Vocabulary;

/// Length of a vector. Chunks have a few hundred different terms, so places are shared rarely enough.
pub const DIMENSIONS: usize = 1_024;

/// Values are kept as whole ten-thousandths: short in JSON, and finer than what hashing blurs.
const UNIT: f32 = 10_000.0;

/// A vector, only its places that are not zero, and how it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Embedding {
    /// Method, dimensions and vocabulary. Vectors of different models must not be compared.
    pub model: String,
    /// Which places, ascending.
    pub places: Vec<u16>,
    /// What stands there, in ten-thousandths.
    pub values: Vec<i16>,
}

/// Two vectors that were made differently.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "a vector of {left} cannot be compared with one of {right}; run the pipeline again for the older one"
)]
pub struct DifferentModels {
    left: String,
    right: String,
}

impl Embedding {
    /// The vector of `text`. A text without terms has none: all zero.
    #[must_use]
    pub fn of(text: &str, vocabulary: &Vocabulary) -> Self {
        let mut counts: HashMap<String, f32> = HashMap::new();
        for term in terms(text) {
            *counts.entry(term).or_default() += 1.0;
        }
        // Sorted, because the order of additions would show in the last digit.
        let mut counts: Vec<(String, f32)> = counts.into_iter().collect();
        counts.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut dense = vec![0.0_f32; DIMENSIONS];
        for (term, count) in counts {
            let hash = hash(&term);
            let sign = if hash >> 63 == 0 { 1.0 } else { -1.0 };
            dense[(hash % DIMENSIONS as u64) as usize] +=
                sign * (1.0 + count.ln()) * vocabulary.weight(&term);
        }
        let length = dense.iter().map(|value| value * value).sum::<f32>().sqrt();
        let mut embedding = Self { model: model(vocabulary), places: Vec::new(), values: Vec::new() };
        for (place, value) in dense.into_iter().enumerate() {
            let value = (value / length.max(f32::MIN_POSITIVE) * UNIT).round() as i16;
            if value != 0 {
                embedding.places.push(place as u16);
                embedding.values.push(value);
            }
        }
        embedding
    }

    /// How alike two texts are: 1 for the same terms, 0 for none in common.
    ///
    /// # Errors
    /// When the vectors were made differently.
    pub fn similarity(&self, other: &Self) -> Result<f32, DifferentModels> {
        if self.model != other.model {
            return Err(DifferentModels { left: self.model.clone(), right: other.model.clone() });
        }
        let theirs: HashMap<u16, i16> =
            other.places.iter().copied().zip(other.values.iter().copied()).collect();
        let products = self.places.iter().zip(&self.values).map(|(place, value)| {
            f32::from(*value) * f32::from(theirs.get(place).copied().unwrap_or_default())
        });
        Ok(products.sum::<f32>() / (UNIT * UNIT))
    }
}

fn model(vocabulary: &Vocabulary) -> String {
    format!("hashed-tf-idf-{DIMENSIONS}-{:016x}", vocabulary.fingerprint())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Vocabulary {
        Vocabulary::parse("50\nlicence\t20\nrabbit\t5\nwhite\t30\n")
    }

    #[test]
    fn like_texts_are_closer_than_unlike_ones() {
        let of = |text| Embedding::of(text, &table());
        let rabbit = of("The white rabbit ran down the hole, and the rabbit looked at its watch.");
        let hole = of("Down the rabbit hole went the white rabbit with a watch.");
        let licence = of("This licence grants permission to copy, modify and distribute the software.");
        let near = rabbit.similarity(&hole).unwrap();
        let far = rabbit.similarity(&licence).unwrap();
        assert!(near > 0.6 && far < 0.2, "near {near}, far {far}");
        assert!((rabbit.similarity(&rabbit).unwrap() - 1.0).abs() < 0.01);
    }

    #[test]
    fn the_same_text_has_the_same_vector() {
        let text = "one two three four five six seven eight nine ten eleven twelve";
        assert_eq!(Embedding::of(text, &table()), Embedding::of(text, &table()));
    }

    #[test]
    fn a_text_without_terms_is_like_nothing() {
        let nothing = Embedding::of("… --- !", &table());
        assert!(nothing.places.is_empty());
        assert_eq!(nothing.similarity(&Embedding::of("rabbit", &table())), Ok(0.0));
    }

    #[test]
    fn vectors_of_different_vocabularies_are_not_compared() {
        let old = Embedding::of("rabbit", &Vocabulary::parse("10\n"));
        assert!(old.similarity(&Embedding::of("rabbit", &table())).is_err());
    }
}
