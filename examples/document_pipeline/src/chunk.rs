//! Cuts a text into chunks to embed and into sections to read. Pure and deterministic: the workflow
//! calls it directly, without an activity, and a replay gets the same pieces.

/// Size that a chunk aims at, in characters: a page or so, small enough for one vector to mean something.
pub const CHUNK_CHARS: usize = 3_000;

/// Size that a section aims at, in characters: what is given to a language model in one call, far below
/// the context window of current models.
pub const SECTION_CHARS: usize = 12_000;

/// Cuts `text` into pieces of about `size` characters, at the end of a paragraph where there is one in
/// the last third, else at a line, a sentence, a word. Joined, the pieces are the text but for white
/// space at the cuts.
#[must_use]
pub fn split(text: &str, size: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = cut(rest, size.max(1));
        let piece = rest[..end].trim_end();
        if !piece.is_empty() {
            pieces.push(piece.to_owned());
        }
        rest = rest[end..].trim_start();
    }
    pieces
}

/// Where to cut: a byte offset above 0 on a character boundary.
fn cut(rest: &str, size: usize) -> usize {
    let Some((limit, _)) = rest.char_indices().nth(size) else { return rest.len() };
    let window = &rest[..limit];
    let earliest = limit - limit / 3;
    for separator in ["\n\n", "\n", ". ", " "] {
        match window.rfind(separator) {
            Some(at) if at + separator.len() > earliest => return at + separator.len(),
            Some(_) | None => {}
        }
    }
    limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_at_the_end_of_a_paragraph() {
        let text = format!("{}\n\n{}", "first ".repeat(10).trim(), "second ".repeat(10).trim());
        assert_eq!(
            split(&text, 70),
            ["first ".repeat(10).trim().to_owned(), "second ".repeat(10).trim().to_owned()]
        );
    }

    #[test]
    fn loses_nothing_but_white_space() {
        let text = "Größe — naïve façade. ".repeat(200);
        let pieces = split(&text, 100);
        let all: String = pieces.concat().split_whitespace().collect();
        assert_eq!(all, text.split_whitespace().collect::<String>());
        assert!(pieces.iter().all(|piece| piece.chars().count() <= 100));
    }

    #[test]
    fn a_text_without_any_place_to_cut_is_cut_all_the_same() {
        let pieces = split(&"ß".repeat(250), 100);
        assert_eq!(pieces.iter().map(|piece| piece.chars().count()).collect::<Vec<_>>(), [100, 100, 50]);
    }

    #[test]
    fn an_empty_text_has_no_pieces() {
        assert!(split(" \n\t ", 10).is_empty());
    }
}
