//! A model that needs no network and no weights: it quotes. Facts are sentences that say when, how
//! many, what must be or what something is; the summary is made of the sentences that TextRank finds
//! central, in their original order.

use std::collections::HashSet;

use super::rank::ranks;
use super::{Answer, Fact, FactKind, LanguageModel, Material, ModelError};
use crate::text::{sentences, words};
use crate::vocabulary::Vocabulary;

/// Most facts that are taken from one section.
const FACTS_PER_SECTION: usize = 5;

/// Sentences in a summary.
const SUMMARY_SENTENCES: usize = 3;

/// How much better a sentence counts when it states something: enough to pass a sentence that is only
/// a little more central.
const STATEMENT_BONUS: f32 = 0.5;

/// The offline model.
#[derive(Debug, Default)]
pub struct Extractive;

impl LanguageModel for Extractive {
    fn name(&self) -> &str {
        "extractive-textrank"
    }

    fn extract_facts<'a>(&'a self, section: &'a str) -> Answer<'a, Vec<Fact>> {
        let section = section.to_owned();
        off_thread(move || facts(&section))
    }

    fn summarize<'a>(&'a self, material: &'a Material) -> Answer<'a, String> {
        let material = material.clone();
        off_thread(move || summary(&material))
    }
}

/// Ranking takes tens of milliseconds: not on a thread that drives other futures.
fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Answer<'static, T> {
    Box::pin(async {
        let outcome = tokio::task::spawn_blocking(work).await;
        outcome.map_err(|error| ModelError::Unusable(format!("the extractive model panicked: {error}")))
    })
}

fn facts(section: &str) -> Vec<Fact> {
    let sentences = without_repeats(sentences(section));
    let ranks = ranks(&sentences, Vocabulary::committed());
    let mut scored: Vec<(usize, f32, FactKind)> = sentences
        .iter()
        .enumerate()
        .filter_map(|(at, sentence)| kind(sentence).map(|kind| (at, ranks[at] + STATEMENT_BONUS, kind)))
        .collect();
    if scored.is_empty() {
        scored = ranks.iter().enumerate().map(|(at, rank)| (at, *rank, FactKind::Other)).collect();
    }
    scored.sort_by(|(_, a, _), (_, b, _)| b.total_cmp(a));
    scored.truncate(FACTS_PER_SECTION);
    scored.sort_by_key(|(at, ..)| *at);
    scored.into_iter().map(|(at, _, kind)| Fact { statement: sentences[at].clone(), kind }).collect()
}

fn summary(material: &Material) -> String {
    let mut candidates = sentences(&material.opening);
    candidates.extend(material.facts.iter().map(|fact| fact.statement.clone()));
    let candidates = without_repeats(candidates);
    let ranks = ranks(&candidates, Vocabulary::committed());
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by(|a, b| ranks[*b].total_cmp(&ranks[*a]));
    order.truncate(SUMMARY_SENTENCES);
    order.sort_unstable();
    let chosen: Vec<&str> = order.iter().map(|at| candidates[*at].as_str()).collect();
    if chosen.is_empty() { material.title.clone() } else { chosen.join(" ") }
}

fn without_repeats(mut sentences: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    sentences.retain(|sentence| seen.insert(sentence.clone()));
    sentences
}

/// What kind of statement a sentence makes, if it makes one.
fn kind(sentence: &str) -> Option<FactKind> {
    let lower: Vec<String> = words(sentence).map(str::to_lowercase).collect();
    let has = |wanted: &[&str]| lower.iter().any(|word| wanted.contains(&word.as_str()));
    let number = |word: &String| word.chars().all(|c| c.is_ascii_digit());
    let year =
        |word: &String| word.len() == 4 && number(word) && (word.starts_with('1') || word.starts_with("20"));
    let in_may = sentence.contains(" May ");
    if (has(MONTHS) || in_may) && lower.iter().any(number) || lower.iter().any(year) {
        Some(FactKind::Date)
    } else if has(RULES) {
        Some(FactKind::Rule)
    } else if lower.iter().any(number) || has(NUMBERS) {
        Some(FactKind::Quantity)
    } else if has(&["means", "defined", "denotes", "consists", "refers"]) || is_a(&lower) {
        Some(FactKind::Definition)
    } else {
        None
    }
}

fn is_a(lower: &[String]) -> bool {
    lower.windows(2).any(|pair| {
        matches!(pair[0].as_str(), "is" | "are" | "was" | "were")
            && matches!(pair[1].as_str(), "a" | "an" | "the")
    })
}

const MONTHS: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const RULES: &[&str] =
    &["must", "shall", "required", "forbidden", "permitted", "prohibited", "may", "cannot"];
const NUMBERS: &[&str] = &[
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "hundred", "thousand", "million",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_told_apart() {
        assert_eq!(kind("It was signed on July 4, 1776."), Some(FactKind::Date));
        assert_eq!(kind("The President shall be Commander in Chief."), Some(FactKind::Rule));
        assert_eq!(kind("You may copy version 2 of it."), Some(FactKind::Rule));
        assert_eq!(kind("There are 435 members."), Some(FactKind::Quantity));
        assert_eq!(kind("Tokio is a runtime for applications."), Some(FactKind::Definition));
        assert_eq!(kind("Down, down, down."), None);
    }

    #[tokio::test]
    async fn facts_are_quotations_in_the_order_of_the_text() {
        let section = "Tokio is a runtime for writing reliable applications. Ha ha, said the Hatter to Alice. \
                       It was released in 2016. The scheduler must not block.";
        let facts = Extractive.extract_facts(section).await.unwrap();
        let statements: Vec<&str> = facts.iter().map(|fact| fact.statement.as_str()).collect();
        assert_eq!(
            statements,
            [
                "Tokio is a runtime for writing reliable applications.",
                "It was released in 2016.",
                "The scheduler must not block."
            ]
        );
    }

    #[tokio::test]
    async fn a_summary_quotes_at_most_three_sentences() {
        let opening = "The rabbit ran. The white rabbit had a watch. The white rabbit with the watch was late. \
                       A caterpillar sat on a mushroom. The rabbit was late again.";
        let material = Material { title: "T".into(), opening: opening.into(), facts: Vec::new() };
        let summary = Extractive.summarize(&material).await.unwrap();
        assert!(summary.contains("The white rabbit with the watch was late."), "{summary}");
        assert_eq!(summary.matches('.').count(), 3, "{summary}");
    }

    #[tokio::test]
    async fn a_document_without_sentences_is_summed_up_by_its_title() {
        let material = Material { title: "Table 1".into(), opening: "1 2 3".into(), facts: Vec::new() };
        assert_eq!(Extractive.summarize(&material).await.unwrap(), "Table 1");
    }
}
