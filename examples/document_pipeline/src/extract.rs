//! From a file's bytes to its text: plain text, Markdown and PDF. Never reads files itself.

mod markdown;
mod pdf;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The kinds of documents that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `.txt`
    Plain,
    /// `.md`
    Markdown,
    /// `.pdf`
    Pdf,
}

/// Why a document cannot be read. Trying again does not help.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// Not one of the formats.
    #[error("{name:?} is neither .txt, .md nor .pdf; convert it first")]
    UnknownFormat {
        /// The file's name.
        name: String,
    },
    /// Text files must be UTF-8.
    #[error("the text is not UTF-8 (byte {offset} cannot be read); convert it first")]
    NotUtf8 {
        /// Where the first bad byte is.
        offset: usize,
    },
    /// The PDF crate could not make sense of it.
    #[error("the PDF cannot be read: {reason}")]
    Pdf {
        /// What the crate said.
        reason: String,
    },
    /// There is a file, but no text in it, as in a scan.
    #[error("there is no text in it; a scanned document needs character recognition first")]
    NoText,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extracted {
    /// The format that it was read as.
    pub format: Format,
    /// The first heading or line.
    pub title: String,
    /// The text.
    pub text: String,
}

/// Longest title, in characters; longer first lines are cut.
const MAX_TITLE_CHARS: usize = 100;

impl Format {
    /// The format that a file's name promises.
    ///
    /// # Errors
    /// [`Unreadable::UnknownFormat`] when it is none of them.
    pub fn of(name: &str) -> Result<Self, Unreadable> {
        let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
        match extension.as_deref() {
            Some("txt" | "text") => Ok(Self::Plain),
            Some("md" | "markdown") => Ok(Self::Markdown),
            Some("pdf") => Ok(Self::Pdf),
            Some(_) | None => Err(Unreadable::UnknownFormat { name: name.to_owned() }),
        }
    }
}

/// Reads the text of a document. May take seconds for a large PDF and may panic on a broken one: call
/// it on a blocking thread.
///
/// # Errors
/// [`Unreadable`] says why there is no text to be had.
pub fn extract(name: &str, bytes: &[u8]) -> Result<Extracted, Unreadable> {
    let format = Format::of(name)?;
    let raw = match format {
        Format::Plain => utf8(bytes)?.to_owned(),
        Format::Markdown => markdown::text(utf8(bytes)?),
        Format::Pdf => pdf::text(bytes)?,
    };
    let text = tidy(&raw);
    let first = text.lines().map(str::trim).find(|line| line.chars().any(char::is_alphanumeric));
    let title = first.ok_or(Unreadable::NoText)?.chars().take(MAX_TITLE_CHARS).collect();
    Ok(Extracted { format, title, text })
}

fn utf8(bytes: &[u8]) -> Result<&str, Unreadable> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| Unreadable::NotUtf8 { offset: error.valid_up_to() })
}

/// Line ends of one kind, no control characters, no white space at line ends, no runs of blank lines.
fn tidy(text: &str) -> String {
    let mut tidy = String::with_capacity(text.len());
    let mut blank_lines = 0;
    for line in text.lines() {
        let line: String = line.chars().filter(|c| !c.is_control() || *c == '\t').collect();
        let line = line.trim_end();
        blank_lines = if line.is_empty() { blank_lines + 1 } else { 0 };
        if blank_lines <= 1 {
            tidy.push_str(line);
            tidy.push('\n');
        }
    }
    tidy.trim_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_tidied() {
        let read = extract("a.TXT", b"\xef\xbb\xbf\r\n Title \r\n\r\n\r\n\r\nText\x07 here  \r\n").unwrap();
        assert_eq!(read.title, "Title");
        assert_eq!(read.text, " Title\n\nText here");
        assert_eq!(read.format, Format::Plain);
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_a_reason() {
        assert!(matches!(extract("a.docx", b"x"), Err(Unreadable::UnknownFormat { .. })));
        assert!(matches!(extract("noextension", b"x"), Err(Unreadable::UnknownFormat { .. })));
        assert_eq!(extract("a.txt", b"ab\xff"), Err(Unreadable::NotUtf8 { offset: 2 }));
        assert_eq!(extract("a.md", b"  \n--\n"), Err(Unreadable::NoText));
        assert!(matches!(extract("a.pdf", b"%PDF-1.4 broken"), Err(Unreadable::Pdf { .. })));
        assert!(matches!(extract("a.pdf", b""), Err(Unreadable::Pdf { .. })));
    }
}
