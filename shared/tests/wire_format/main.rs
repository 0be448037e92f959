//! `docs/wire-format.md` against the types: every example in it is what a value of the type looks like,
//! every field has a row in the table beside it, every variant is described.
//!
//! `STEPWELL_UPDATE_DOCS=1 cargo test -p stepwell-shared --test wire_format` writes the examples anew; the
//! prose and the tables are written by hand.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own examples is to fail")]

mod document;
mod examples;
mod layout;

use document::{Block, Document};
use examples::{Example, all};

#[test]
fn examples_are_what_the_types_say() {
    let document = Document::read();
    let examples = all();
    let shown = document.filled(&examples);
    if std::env::var_os("STEPWELL_UPDATE_DOCS").is_some() {
        document.write(&shown);
        return;
    }
    for (found, wanted) in document.text.lines().zip(shown.lines()) {
        assert_eq!(
            found, wanted,
            "docs/wire-format.md is not up to date; STEPWELL_UPDATE_DOCS=1 writes its examples anew"
        );
    }
    assert_eq!(document.text, shown);
}

#[test]
fn what_is_shown_can_be_read_and_says_the_same() {
    let document = Document::read();
    let examples = all();
    let mut checked = 0;
    for block in document.blocks() {
        let example = find(&examples, &block);
        for value in block.values() {
            let again = (example.round_trip)(&value);
            assert_eq!(again, Ok(serde_json::from_str(&value).unwrap()), "{}: {value}", block.name);
            checked += 1;
        }
    }
    assert!(checked >= examples.len(), "{checked} values for {} examples", examples.len());
}

#[test]
fn every_example_is_in_the_document_once() {
    let document = Document::read();
    let mut shown: Vec<String> = document.blocks().map(|block| block.name).collect();
    shown.sort();
    let mut wanted: Vec<String> = all().iter().map(|example| example.name.to_owned()).collect();
    wanted.sort();
    assert_eq!(shown, wanted);
}

#[test]
fn every_field_and_variant_has_a_row() {
    let document = Document::read();
    let examples = all();
    for block in document.blocks() {
        let rows = document.rows_near(&block);
        let names: Vec<String> = find(&examples, &block).keys();
        for name in &names {
            assert!(
                rows.iter().any(|row| row.starts_with(&format!("| `{name}` |"))),
                "{}: `{name}` has no row in the table of its section",
                block.name
            );
        }
    }
}

#[test]
fn every_code_and_kind_is_described() {
    let document = Document::read();
    for name in examples::names() {
        assert!(
            document.text.lines().any(|line| line.starts_with(&format!("| `{name}` |"))),
            "`{name}` has no row in docs/wire-format.md"
        );
    }
}

#[test]
fn every_error_and_stall_has_a_section() {
    let path = document::root().join("docs/errors.md");
    let text = std::fs::read_to_string(&path).unwrap();
    for name in examples::codes_and_stalls() {
        assert!(text.lines().any(|line| line == format!("### `{name}`")), "docs/errors.md has no `{name}`");
    }
}

fn find<'a>(examples: &'a [Example], block: &Block) -> &'a Example {
    let found = examples.iter().find(|example| example.name == block.name);
    found.unwrap_or_else(|| panic!("line {}: there is no example called {:?}", block.line, block.name))
}
