//! Words of a text, and the terms that carry its meaning: lower case, no stop words, plural folded into
//! singular. The terms are what vectors and rankings are made of, so they must not change silently: the
//! committed vocabulary is checked against them by a test.

/// Words so common that they say nothing about a text.
const STOP_WORDS: &[&str] = &[
    "a", "about", "after", "again", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be",
    "because", "been", "before", "being", "but", "by", "can", "could", "did", "do", "does", "done", "down",
    "each", "for", "from", "further", "had", "has", "have", "he", "her", "here", "him", "his", "how", "if",
    "in", "into", "is", "it", "its", "just", "me", "more", "most", "my", "no", "nor", "not", "now", "of",
    "off", "on", "one", "only", "or", "other", "our", "out", "over", "own", "said", "same", "she", "should",
    "so", "some", "such", "than", "that", "the", "their", "them", "then", "there", "these", "they", "this",
    "those", "to", "too", "under", "until", "up", "upon", "very", "was", "we", "were", "what", "when",
    "where", "which", "while", "who", "whom", "why", "will", "with", "would", "you", "your",
];

/// Longest term that is kept, in bytes; longer runs are keys, hashes and base64, not language.
const MAX_TERM_BYTES: usize = 40;

/// The words of `text`: runs of letters and digits, with apostrophes and hyphens inside them.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '\'' || c == '-'))
        .map(|word| word.trim_matches(['\'', '-']))
        .filter(|word| !word.is_empty())
}

/// The terms of `text`, in order, with repeats.
pub fn terms(text: &str) -> impl Iterator<Item = String> {
    words(text).filter_map(|word| {
        let lower = word.to_lowercase();
        let base = lower.strip_suffix("'s").unwrap_or(&lower);
        let kept = base.chars().count() > 1
            && base.len() <= MAX_TERM_BYTES
            && STOP_WORDS.binary_search(&base).is_err();
        kept.then(|| singular(base))
    })
}

/// A stable 64-bit hash (FNV-1a): the same on every machine and in every version.
#[must_use]
pub fn hash(term: &str) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    term.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

fn singular(word: &str) -> String {
    if let Some(stem) = word.strip_suffix("ies").filter(|stem| stem.len() > 2) {
        return format!("{stem}y");
    }
    let doubtful = ["ss", "us", "is", "'s"].iter().any(|end| word.ends_with(end));
    match word.strip_suffix('s') {
        Some(stem) if stem.len() > 2 && !doubtful => stem.to_owned(),
        Some(_) | None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_words_can_be_searched_by_halving() {
        assert!(STOP_WORDS.is_sorted());
    }

    #[test]
    fn terms_are_folded_and_stop_words_dropped() {
        let terms: Vec<String> = terms("The rabbit's watches, and the Libraries of Congress.").collect();
        assert_eq!(terms, ["rabbit", "watche", "library", "congress"]);
    }

    #[test]
    fn words_keep_inner_apostrophes_and_hyphens() {
        let words: Vec<&str> = words("'don't' -- battle-field, x86_64").collect();
        assert_eq!(words, ["don't", "battle-field", "x86", "64"]);
    }

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c);
    }
}
