//! Text of others, made fit for a terminal: ids, error messages and payloads may hold anything, and a
//! terminal obeys some of it.

/// On one line, without control characters.
pub(crate) fn line(text: &str) -> String {
    text.chars()
        .filter_map(|character| match character {
            '\n' | '\t' => Some(' '),
            _ if obeyed(character) => None,
            _ => Some(character),
        })
        .collect()
}

/// With its line breaks, without other control characters.
pub(crate) fn lines(text: &str) -> String {
    text.chars()
        .filter_map(|character| match character {
            '\t' => Some(' '),
            '\n' => Some('\n'),
            _ if obeyed(character) => None,
            _ => Some(character),
        })
        .collect()
}

/// On one line, and no longer than `limit` characters.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    let text = line(text);
    match text.char_indices().nth(limit) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Control characters, and those that change the direction of what follows.
fn obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let evil = "a\u{1b}[31mred\u{7}\r\nb\tc\u{9b}2J\u{202e}d";
        assert_eq!(line(evil), "a[31mred bc2Jd".replace("bc", "b c"));
        assert_eq!(lines(evil), "a[31mred\nb c2Jd");
    }

    #[test]
    fn cuts_between_characters() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äöü…");
    }
}
