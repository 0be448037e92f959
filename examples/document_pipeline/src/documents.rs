//! The light activities, on queue `documents`: read, embed, save.

use std::path::PathBuf;

use example_ledger::Ledger;
use serde::{Deserialize, Serialize};
use stepwell::prelude::*;

use crate::embedding::Embedding;
use crate::extract::{Extracted, Format, extract};
use crate::library::{self, LibraryError};
use crate::model::Fact;
use crate::results::{self, ResultsError};
use crate::vocabulary::Vocabulary;

/// Longest text of one document, in bytes. It is recorded in the run's history, where one value may
/// have half a mebibyte; longer documents have to be split, or stored and passed on by name.
pub const MAX_TEXT_BYTES: usize = 384 * 1024;

/// What the light activities share.
#[derive(Debug, Clone)]
pub struct Documents {
    /// Where documents are read from.
    pub folder: PathBuf,
    /// Where results are saved.
    pub results: PathBuf,
    /// Where every attempt is noted.
    pub ledger: Ledger,
}

/// A document that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Its name in the document folder.
    pub name: String,
    /// Its first heading or line.
    pub title: String,
    /// What it was.
    pub format: Format,
    /// Its text.
    pub text: String,
}

/// What is saved of a document, besides its pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saving {
    /// Its name in the document folder.
    pub document: String,
    /// Its first heading or line.
    pub title: String,
    /// What it was.
    pub format: Format,
    /// The language model that read it.
    pub model: String,
    /// What it is about.
    pub summary: String,
    /// What was found in it.
    pub facts: Vec<Fact>,
    /// How many parts its pieces were saved in.
    pub parts: usize,
}

/// Some pieces of a document, one after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The document's name in the document folder.
    pub document: String,
    /// Which part, from 0.
    pub index: usize,
    /// The pieces.
    pub pieces: Vec<Piece>,
}

/// A piece of a document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// The text.
    pub text: String,
    /// Its vector.
    pub embedding: Embedding,
}

#[activities]
impl Documents {
    /// Reads a document and extracts its text.
    #[activity(start_to_close = "60s", retry(max_attempts = 5))]
    pub async fn fetch_document(
        &self,
        ctx: ActivityContext,
        name: String,
    ) -> Result<Document, ActivityError> {
        let folder = self.folder.clone();
        // On a thread of its own: a large PDF takes seconds, and a broken one may make the reader panic.
        let reading = async {
            let read = tokio::task::spawn_blocking(move || read(&folder, name)).await;
            read.map_err(|panic| unreadable(format!("the reader panicked: {panic}")))?
        };
        self.ledger.around(&ctx, reading).await
    }

    /// The vector of a chunk.
    #[activity(start_to_close = "30s")]
    pub async fn embed_chunk(&self, ctx: ActivityContext, text: String) -> Result<Embedding, ActivityError> {
        self.ledger.around(&ctx, async { Ok(Embedding::of(&text, Vocabulary::committed())) }).await
    }

    /// Saves some pieces; doing it twice is the same as once.
    #[activity(start_to_close = "30s")]
    pub async fn save_pieces(&self, ctx: ActivityContext, part: Part) -> Result<(), ActivityError> {
        let folder = self.results.clone();
        let saving = saving(move || results::save_part(&folder, &part));
        self.ledger.around(&ctx, saving).await
    }

    /// Saves everything else, after which the document can be found; doing it twice is the same as once.
    #[activity(start_to_close = "30s")]
    pub async fn save_results(&self, ctx: ActivityContext, result: Saving) -> Result<String, ActivityError> {
        let folder = self.results.clone();
        let saving = saving(move || results::save(&folder, &result));
        self.ledger.around(&ctx, saving).await
    }
}

async fn saving<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ResultsError> + Send + 'static,
) -> Result<T, ActivityError> {
    let saved = tokio::task::spawn_blocking(work).await?;
    saved.map_err(|error| match error {
        ResultsError::Name { .. } => ActivityError::new("InvalidName", error.to_string()).non_retryable(),
        ResultsError::Io { .. } | ResultsError::Content { .. } => error.into(),
    })
}

fn read(folder: &std::path::Path, name: String) -> Result<Document, ActivityError> {
    let bytes = library::read(folder, &name).map_err(|error| match error {
        LibraryError::Io { .. } => ActivityError::new("DocumentUnavailable", error.to_string()),
        LibraryError::OutsideFolder { .. }
        | LibraryError::NotFound { .. }
        | LibraryError::TooLarge { .. } => unreadable(error.to_string()),
    })?;
    let Extracted { format, title, text } =
        extract(&name, &bytes).map_err(|error| unreadable(format!("{name}: {error}")))?;
    if text.len() > MAX_TEXT_BYTES {
        let found = text.len();
        return Err(unreadable(format!(
            "{name} has {found} bytes of text; at most {MAX_TEXT_BYTES} are processed in one run: split it"
        )));
    }
    Ok(Document { name, title, format, text })
}

/// The document itself is at fault: the next attempt would find the same.
fn unreadable(message: String) -> ActivityError {
    ActivityError::new("DocumentUnreadable", message).non_retryable()
}
