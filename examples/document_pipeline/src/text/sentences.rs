//! Sentences of a text. Line breaks inside a paragraph are joined; blank lines, headings and list items
//! end a sentence; a full stop after an abbreviation, an initial or a number of a list does not.

/// Abbreviations after which a full stop ends nothing.
const ABBREVIATIONS: &[&str] = &[
    "art", "cf", "co", "dr", "e.g", "esq", "etc", "fig", "i.e", "inc", "jr", "mr", "mrs", "no", "sec", "sr",
    "st", "vs",
];

/// What may stand between a full stop and the end of its sentence.
const CLOSING: [char; 5] = ['"', '\'', ')', '\u{201d}', '\u{2019}'];

/// Fewest letters a sentence has; shorter pieces are captions and page numbers.
const MIN_LETTERS: usize = 12;

/// Longest sentence that is kept, in characters; what is longer is a table or code.
const MAX_CHARS: usize = 600;

/// The sentences of `text`, in order, each on one line.
#[must_use]
pub fn sentences(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for paragraph in paragraphs(text) {
        let mut begin = 0;
        for (at, mark) in paragraph.char_indices().filter(|(_, c)| matches!(c, '.' | '!' | '?')) {
            let after = at + mark.len_utf8();
            let closing = paragraph[after..].len() - paragraph[after..].trim_start_matches(CLOSING).len();
            let end = after + closing;
            if ends_sentence(&paragraph, begin, at, end) {
                keep(&mut found, &paragraph[begin..end]);
                begin = end;
            }
        }
        keep(&mut found, &paragraph[begin..]);
    }
    found
}

/// Paragraphs, each joined into one line. A line that starts a list item or heading starts a paragraph.
fn paragraphs(text: &str) -> Vec<String> {
    let mut paragraphs = vec![String::new()];
    for line in text.lines() {
        let line = line.trim();
        let starts = line.is_empty() || line.starts_with(['*', '-', '#', '|', '\u{2022}']);
        if starts {
            paragraphs.push(String::new());
        }
        if let Some(paragraph) = paragraphs.last_mut() {
            if !paragraph.is_empty() {
                paragraph.push(' ');
            }
            paragraph.push_str(line.trim_start_matches(['*', '-', '#', '|', '\u{2022}', ' ']));
        }
    }
    paragraphs.retain(|paragraph| !paragraph.is_empty());
    paragraphs
}

fn ends_sentence(paragraph: &str, begin: usize, at: usize, end: usize) -> bool {
    let rest = &paragraph[end..];
    if !rest.is_empty() && !rest.starts_with(char::is_whitespace) {
        return false; // 1.2, example.org, …
    }
    let next = rest.trim_start().chars().next();
    if next.is_some_and(char::is_lowercase) {
        return false;
    }
    let word = paragraph[begin..at].rsplit(char::is_whitespace).next().unwrap_or_default();
    let word = word.trim_start_matches(['(', '"', '\'']).to_lowercase();
    let initial = word.chars().count() == 1 && word.chars().all(char::is_alphabetic) && word != "i";
    let number_of_item = paragraph[begin..at].trim() == word && word.chars().all(|c| c.is_ascii_digit());
    !(paragraph[at..].starts_with('.')
        && (initial || number_of_item || ABBREVIATIONS.contains(&word.as_str())))
}

fn keep(found: &mut Vec<String>, piece: &str) {
    let letters = piece.chars().filter(|c| c.is_alphabetic()).count();
    if letters < MIN_LETTERS {
        return;
    }
    let line = piece.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MAX_CHARS {
        found.push(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_joined_and_split_at_full_stops() {
        let text = "Alice was beginning to get\nvery tired. Mr. Rabbit ran by!\n\nCHAPTER\n\n12\n";
        assert_eq!(sentences(text), ["Alice was beginning to get very tired.", "Mr. Rabbit ran by!"]);
    }

    #[test]
    fn versions_initials_and_addresses_do_not_end_a_sentence() {
        let text = "Use version 1.2 from example.org today. Ask J. Raben about it.";
        assert_eq!(sentences(text), ["Use version 1.2 from example.org today.", "Ask J. Raben about it."]);
    }

    #[test]
    fn closing_quotes_belong_to_their_sentence() {
        let text = "`I shall think nothing of it!' And so she fell. \"Do cats eat bats?\" she said.";
        assert_eq!(
            sentences(text),
            ["`I shall think nothing of it!'", "And so she fell.", "\"Do cats eat bats?\" she said."]
        );
    }

    #[test]
    fn list_items_are_sentences_of_their_own() {
        assert_eq!(
            sentences("* first of the items\n* second of the items"),
            ["first of the items", "second of the items"]
        );
    }

    #[test]
    fn text_without_sentences_has_none() {
        assert!(sentences("").is_empty());
        assert!(sentences(". ! ? 1.").is_empty());
        assert!(sentences(&"x".repeat(5_000)).is_empty());
    }
}
