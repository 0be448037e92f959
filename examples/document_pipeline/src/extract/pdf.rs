//! Text of a PDF, page by page.

use super::Unreadable;

/// The text of all pages. Lines that hang over a page break are joined by a blank line.
pub(super) fn text(bytes: &[u8]) -> Result<String, Unreadable> {
    let pages = pdf_extract::extract_text_from_mem_by_pages(bytes)
        .map_err(|error| Unreadable::Pdf { reason: error.to_string() })?;
    let pages: Vec<String> = pages.iter().map(|page| ligatures(page.trim_matches('\n'))).collect();
    Ok(pages.join("\n\n"))
}

/// Typeset ligatures as the letters that they stand for, so that words are found again.
fn ligatures(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    for character in page.chars() {
        match character {
            '\u{fb00}' => text.push_str("ff"),
            '\u{fb01}' => text.push_str("fi"),
            '\u{fb02}' => text.push_str("fl"),
            '\u{fb03}' => text.push_str("ffi"),
            '\u{fb04}' => text.push_str("ffl"),
            '\u{a0}' => text.push(' '),
            '\u{ad}' => {}
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ligatures_become_letters() {
        assert_eq!(
            ligatures("of\u{fb01}ce\u{a0}di\u{fb03}cult co\u{ad}operate"),
            "office difficult cooperate"
        );
    }
}
