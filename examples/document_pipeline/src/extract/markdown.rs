//! Text of a Markdown document: the words that a reader sees, without the marks. Headings stay lines of
//! their own, code blocks are left out (they are not prose), links keep their text, images their
//! description.

/// The text that a reader sees.
pub(super) fn text(markdown: &str) -> String {
    let mut text = String::with_capacity(markdown.len());
    let mut fence: Option<&str> = None;
    for line in markdown.lines() {
        let bare = line.trim_start();
        if let Some(mark) = fence {
            if bare.starts_with(mark) {
                fence = None;
            }
            continue;
        }
        if let Some(mark) = ["```", "~~~"].into_iter().find(|mark| bare.starts_with(mark)) {
            fence = Some(mark);
            continue;
        }
        if let Some(line) = visible_line(bare) {
            text.push_str(&inline(line));
        }
        text.push('\n');
    }
    text
}

/// What is left of a line when the marks at its beginning are gone; `None` when it is only marks.
fn visible_line(line: &str) -> Option<&str> {
    let rule = !line.is_empty() && line.chars().all(|c| matches!(c, '-' | '=' | '*' | '_' | '|' | ':' | ' '));
    let definition = line.starts_with('[') && line.contains("]: ");
    if rule || definition {
        return None;
    }
    let line = line.trim_start_matches(['>', ' ']);
    let heading = line.trim_start_matches('#');
    if heading.len() < line.len() && (heading.is_empty() || heading.starts_with(' ')) {
        return Some(heading.trim().trim_end_matches('#').trim_end());
    }
    Some(line)
}

/// A line without emphasis, code marks, link targets and HTML tags.
fn inline(line: &str) -> String {
    let list_mark = ["* ", "- ", "+ "].into_iter().find(|mark| line.starts_with(mark));
    let mut rest = line.strip_prefix(list_mark.unwrap_or_default()).unwrap_or(line);
    let mut text = if list_mark.is_some() { "- ".to_owned() } else { String::new() };
    while let Some(character) = rest.chars().next() {
        let tail = &rest[character.len_utf8()..];
        rest = match character {
            '\\' => match tail.chars().next().filter(char::is_ascii_punctuation) {
                Some(escaped) => {
                    text.push(escaped);
                    &tail[1..]
                }
                None => {
                    text.push('\\');
                    tail
                }
            },
            '*' | '`' => tail,
            '_' if text.ends_with(' ') || text.is_empty() || !tail.starts_with(char::is_alphanumeric) => tail,
            '!' if tail.starts_with('[') => tail,
            '[' | ']' => skip_target(tail, character),
            '<' => skip_tag(tail, &mut text),
            other => {
                text.push(other);
                tail
            }
        };
    }
    text
}

/// After a `]`: what follows the link's target `(…)` or `[…]`, if there is one on this line.
fn skip_target(tail: &str, bracket: char) -> &str {
    let close = match (bracket, tail.chars().next()) {
        (']', Some('(')) => ')',
        (']', Some('[')) => ']',
        (_, Some(_) | None) => return tail,
    };
    tail.find(close).map_or(tail, |at| &tail[at + 1..])
}

/// After a `<`: what follows the tag, if it is one; an address `<https://…>` keeps its text.
fn skip_tag<'a>(tail: &'a str, text: &mut String) -> &'a str {
    let tag = tail.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!'));
    match tail.find('>') {
        Some(at) if tag => {
            if tail[..at].contains("://") && !tail[..at].contains(' ') {
                text.push_str(&tail[..at]);
            }
            &tail[at + 1..]
        }
        Some(_) | None => {
            text.push('<');
            tail
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_gone_and_words_are_left() {
        let markdown =
            "# Title #\n\nSome *very* **bold** `code` with [a link](http://x/y) and ![a picture](p.png).\n";
        assert_eq!(text(markdown), "Title\n\nSome very bold code with a link and a picture.\n");
    }

    #[test]
    fn code_blocks_rules_and_link_definitions_are_left_out() {
        let markdown = "before\n```rust\nlet x = 1;\n```\n---\n[name]: http://x\nafter [name][name] \\*\n";
        assert_eq!(text(markdown), "before\n\n\nafter name *\n");
    }

    #[test]
    fn names_with_underscores_and_signs_survive() {
        assert_eq!(
            text("- use snake_case if a < b <br> at <https://x.y>"),
            "- use snake_case if a < b  at https://x.y\n"
        );
    }

    #[test]
    fn a_fence_that_is_never_closed_ends_the_text() {
        assert_eq!(text("a\n~~~\nb"), "a\n");
    }
}
