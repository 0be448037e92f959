//! Text of others, made fit for a terminal: ids, error messages and payloads may hold anything, and a
//! terminal obeys some of it. What is encrypted in it is shown as such, with the id of its key.

use stepwell_encryption::shown;

/// On one line, without control characters.
pub(crate) fn line(text: &str) -> String {
    shown(text)
        .chars()
        .filter_map(|character| match character {
            '\n' | '\t' => Some(' '),
            _ if obeyed(character) => None,
            _ => Some(character),
        })
        .collect()
}

/// With its line breaks, without other control characters.
pub(crate) fn lines(text: &str) -> String {
    shown(text)
        .chars()
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

/// `1 record`, `2 records`.
pub(crate) fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Broken between words into lines of at most `width` characters, further ones after `indent`.
pub(crate) fn wrap(text: &str, width: usize, indent: &str) -> String {
    let mut wrapped = String::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            wrapped.push('\n');
            wrapped.push_str(indent);
            used = 0;
        } else if used > 0 {
            wrapped.push(' ');
            used += 1;
        }
        wrapped.push_str(word);
        used += length;
    }
    wrapped
}

/// Control characters, and those that change the direction of what follows.
fn obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A size for people.
pub(crate) fn bytes(size: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if size < 1024 {
        return format!("{size} B");
    }
    let mut tenths = size.saturating_mul(10) / 1024;
    let mut unit = 0;
    while tenths >= 10 * 1024 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
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
    fn wraps_between_words() {
        assert_eq!(wrap("one two  three", 7, "  "), "one two\n  three");
        assert_eq!(wrap("extraordinary", 7, "  "), "extraordinary");
        assert_eq!(wrap("", 7, "  "), "");
    }

    #[test]
    fn cuts_between_characters() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äöü…");
    }

    #[test]
    fn sizes_for_people() {
        let cases = [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_536, "1.5 KiB"),
            (10 << 30, "10.0 GiB"),
            (5 << 50, "5120.0 TiB"),
        ];
        for (size, text) in cases {
            assert_eq!(bytes(size), text);
        }
    }
}
