//! The results folder: a folder a document, with its pieces in parts and, written last, `document.json`;
//! and a search over all of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::documents::{Part, Saving};
use crate::embedding::Embedding;
use crate::vocabulary::Vocabulary;

/// Most documents that a search reads.
const MAX_DOCUMENTS: usize = 10_000;

/// The file that makes a document complete.
const COMPLETE: &str = "document.json";

/// Why results cannot be saved or read.
#[derive(Debug, Error)]
pub enum ResultsError {
    /// The document's name cannot become a file's.
    #[error("{name:?} cannot be the name of a result")]
    Name {
        /// As given.
        name: String,
    },
    /// The disk said no.
    #[error("cannot access {}: {source}", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that is not ours.
    #[error("{} is no result of this pipeline: {source}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

/// A piece of a document that a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The document.
    pub document: String,
    /// The piece.
    pub text: String,
    /// How like the question it is, up to 1.
    pub similarity: f32,
}

/// Saves one part of a document's pieces. The same part gives the same file, and a reader sees the old
/// or the new one, never half of it.
///
/// # Errors
/// [`ResultsError`]; only `Io` may go away by itself.
pub fn save_part(results: &Path, part: &Part) -> Result<(), ResultsError> {
    replace(&folder_of(results, &part.document)?, &part_name(part.index), part)
}

/// Saves everything else, which makes the document complete; returns its folder's name.
///
/// # Errors
/// [`ResultsError`]; only `Io` may go away by itself.
pub fn save(results: &Path, saving: &Saving) -> Result<String, ResultsError> {
    let folder = folder_of(results, &saving.document)?;
    replace(&folder, COMPLETE, saving)?;
    Ok(folder.file_name().unwrap_or_default().to_string_lossy().into_owned())
}

/// The pieces most like `question`, best first. Pieces with vectors of another vocabulary are skipped,
/// and their number is returned.
///
/// # Errors
/// When the folder or a file cannot be read.
pub fn search(results: &Path, question: &str, limit: usize) -> Result<(Vec<Hit>, usize), ResultsError> {
    let wanted = Embedding::of(question, Vocabulary::committed());
    let mut hits = Vec::new();
    let mut skipped = 0;
    let failed = |source| ResultsError::Io { path: results.to_owned(), source };
    for entry in fs::read_dir(results).map_err(failed)?.take(MAX_DOCUMENTS) {
        let folder = entry.map_err(failed)?.path();
        if !folder.join(COMPLETE).is_file() {
            continue;
        }
        let saved: Saving = load(&folder.join(COMPLETE))?;
        for index in 0..saved.parts {
            let part: Part = load(&folder.join(part_name(index)))?;
            for piece in part.pieces {
                match wanted.similarity(&piece.embedding) {
                    Ok(similarity) => {
                        hits.push(Hit { document: part.document.clone(), text: piece.text, similarity })
                    }
                    Err(_) => skipped += 1,
                }
            }
        }
    }
    hits.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
    hits.truncate(limit);
    Ok((hits, skipped))
}

fn folder_of(results: &Path, document: &str) -> Result<PathBuf, ResultsError> {
    let plain = document.replace(['/', '\\'], "_");
    if plain.is_empty() || plain.starts_with('.') {
        return Err(ResultsError::Name { name: document.to_owned() });
    }
    Ok(results.join(plain))
}

fn part_name(index: usize) -> String {
    format!("pieces-{index:04}.json")
}

fn replace<T: Serialize>(folder: &Path, name: &str, value: &T) -> Result<(), ResultsError> {
    let path = folder.join(name);
    let failed = |source| ResultsError::Io { path: path.clone(), source };
    let content =
        serde_json::to_vec(value).map_err(|source| ResultsError::Content { path: path.clone(), source })?;
    fs::create_dir_all(folder).map_err(failed)?;
    let partial = folder.join(format!(".{name}.{}.partial", std::process::id()));
    fs::write(&partial, content).map_err(failed)?;
    fs::rename(&partial, &path).map_err(failed)
}

fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ResultsError> {
    let content = fs::read(path).map_err(|source| ResultsError::Io { path: path.to_owned(), source })?;
    serde_json::from_slice(&content).map_err(|source| ResultsError::Content { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::Piece;
    use crate::extract::Format;

    fn saving(document: &str) -> Saving {
        Saving {
            document: document.into(),
            title: "T".into(),
            format: Format::Plain,
            model: "m".into(),
            summary: "S".into(),
            facts: Vec::new(),
            parts: 1,
        }
    }

    fn part(document: &str, text: &str) -> Part {
        let embedding = Embedding::of(text, Vocabulary::committed());
        Part { document: document.into(), index: 0, pieces: vec![Piece { text: text.into(), embedding }] }
    }

    #[test]
    fn what_is_saved_is_found_and_saving_again_changes_nothing() {
        let results = std::env::temp_dir().join(format!("stepwell-results-{}", std::process::id()));
        let rabbit = part("alice/rabbit.txt", "The white rabbit looked at its watch.");
        save_part(&results, &rabbit).unwrap();
        let incomplete = search(&results, "a rabbit with a watch", 1).unwrap();
        assert_eq!(save(&results, &saving("alice/rabbit.txt")).unwrap(), "alice_rabbit.txt");
        save_part(&results, &rabbit).unwrap();
        save_part(&results, &part("licence.txt", "Permission to copy the software is granted.")).unwrap();
        save(&results, &saving("licence.txt")).unwrap();
        let found = search(&results, "a rabbit with a watch", 1);
        let files = fs::read_dir(results.join("alice_rabbit.txt")).unwrap().count();
        fs::remove_dir_all(&results).unwrap();
        let (hits, skipped) = found.unwrap();
        assert_eq!((hits[0].document.as_str(), hits.len(), skipped), ("alice/rabbit.txt", 1, 0));
        assert_eq!(incomplete, (Vec::new(), 0), "a document without document.json is not found");
        assert_eq!(files, 2);
    }

    #[test]
    fn names_that_hide_a_file_are_refused() {
        for name in ["", ".", "..", ".hidden"] {
            assert!(matches!(save(Path::new("/nonexistent"), &saving(name)), Err(ResultsError::Name { .. })));
        }
    }
}
