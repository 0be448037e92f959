//! The documents beside this package: every one can be read, and the committed vocabulary is theirs.

#![allow(clippy::unwrap_used, reason = "a test may fail where it finds something it did not expect")]

use std::path::Path;

use document_pipeline::chunk::{CHUNK_CHARS, split};
use document_pipeline::extract::{Extracted, Format, extract};
use document_pipeline::library::documents;
use document_pipeline::vocabulary::Vocabulary;

fn read_all() -> Vec<(String, Extracted)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("documents");
    let names = documents(&folder).unwrap();
    let read = |name: String| {
        let bytes = std::fs::read(folder.join(&name)).unwrap();
        let extracted = extract(&name, &bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, extracted)
    };
    names.into_iter().map(read).collect()
}

#[test]
fn every_document_has_a_title_and_text() {
    let documents = read_all();
    assert!(documents.len() >= 12, "only {}", documents.len());
    let of = |format| documents.iter().filter(|(_, document)| document.format == format).count();
    assert!(of(Format::Pdf) >= 2 && of(Format::Markdown) >= 2 && of(Format::Plain) >= 2);
    for (name, document) in &documents {
        assert!(document.text.len() > 1_000, "{name} has only {} bytes of text", document.text.len());
        assert!(!document.title.is_empty(), "{name}");
    }
}

#[test]
fn the_words_of_the_pdfs_are_found_again() {
    let wanted = [
        ("us-constitution.pdf", "We the People of the United States, in Order to form a more perfect"),
        ("apache-license-2.0.pdf", "Unless required by applicable law or agreed to in writing"),
        ("paradise-lost-book-1.pdf", "And justify the ways of God to men."),
    ];
    let documents = read_all();
    for (name, phrase) in wanted {
        let (_, document) = documents.iter().find(|(found, _)| found == name).expect(name);
        let line = document.text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(line.contains(phrase), "{name} begins: {}", line.chars().take(500).collect::<String>());
    }
}

#[test]
fn the_committed_vocabulary_is_that_of_the_documents() {
    let documents = read_all();
    let pieces: Vec<String> =
        documents.iter().flat_map(|(_, document)| split(&document.text, CHUNK_CHARS)).collect();
    let counted = Vocabulary::count(pieces.iter().map(String::as_str));
    assert!(
        counted == *Vocabulary::committed(),
        "run `cargo run -p document-pipeline -- vocabulary > examples/document_pipeline/vocabulary.tsv`"
    );
}
