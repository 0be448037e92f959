//! The pipeline as a workflow: ordinary async code whose steps survive every crash.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use stepwell::prelude::*;

use crate::chunk::{CHUNK_CHARS, SECTION_CHARS, split};
use crate::documents::{
    Document, Part, Piece, Saving, embed_chunk, fetch_document, save_pieces, save_results,
};
use crate::embedding::Embedding;
use crate::model::{Fact, Material};
use crate::models::{Summary, extract_facts, write_summary};

/// A person's decision: may the results be saved?
pub const APPROVE: Signal<bool> = Signal::new("approve");

/// Where a document stands.
pub const STAGE: Query<(), Stage> = Query::new("stage");

/// Chunks that are embedded at once. Local and quick: enough to keep one worker busy.
const EMBEDDINGS_AT_ONCE: usize = 8;

/// Sections that are read by the model at once. Models are slow and limit requests.
const SECTIONS_AT_ONCE: usize = 4;

/// Pieces that are saved in one step. A piece with its vector has about six KiB, so that a step stays well
/// below the largest input.
const PIECES_PER_PART: usize = 32;

/// What to process, and how long to wait for a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// The document's name in the document folder.
    pub document: String,
    /// How long to wait for a person, in seconds. Seven days when absent.
    #[serde(default = "seven_days")]
    pub approval_seconds: u64,
}

/// Where a document stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Its text is being extracted.
    Reading,
    /// Its chunks are being embedded and its sections read.
    Understanding {
        /// How many chunks it has.
        chunks: usize,
    },
    /// The summary is being written.
    Summarizing,
    /// Somebody has to decide.
    AwaitingApproval {
        /// What the decision is about.
        summary: String,
    },
    /// The results are being saved.
    Saving,
    /// Nothing more happens.
    Done,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Approved and saved.
    Saved {
        /// Name of its folder in the results folder.
        folder: String,
        /// How many chunks were embedded.
        chunks: usize,
        /// How many facts were found.
        facts: usize,
    },
    /// Not saved.
    Rejected {
        /// Whether somebody said no, or nobody said anything in time.
        timed_out: bool,
    },
}

/// Reads a document, embeds it, has a model read it, asks a person, and saves the results.
#[workflow(queue = "documents")]
pub async fn document_pipeline(
    ctx: WorkflowContext,
    submission: Submission,
) -> Result<Outcome, WorkflowError> {
    let stage = ctx.answer(STAGE, Stage::Reading);
    let document = ctx.run(fetch_document, submission.document).await?;

    let chunks = split(&document.text, CHUNK_CHARS);
    let sections = split(&document.text, SECTION_CHARS);
    stage.set(Stage::Understanding { chunks: chunks.len() });
    let embedding = ctx.map_concurrent(chunks.clone(), EMBEDDINGS_AT_ONCE, |ctx, chunk| async move {
        ctx.run(embed_chunk, chunk).await
    });
    let reading = ctx.map_concurrent(sections.clone(), SECTIONS_AT_ONCE, |ctx, section| async move {
        ctx.run(extract_facts, section).await
    });
    let (embeddings, facts) = join!(embedding, reading);
    let embeddings = embeddings.into_iter().collect::<Result<Vec<Embedding>, _>>()?;
    let facts: Vec<Fact> = facts.into_iter().collect::<Result<Vec<_>, _>>()?.concat();

    stage.set(Stage::Summarizing);
    let opening = sections.into_iter().next().unwrap_or_default();
    let material = Material { title: document.title.clone(), opening, facts: facts.clone() };
    let Summary { text: summary, model } = ctx.run(write_summary, material).await?;

    stage.set(Stage::AwaitingApproval { summary: summary.clone() });
    let patience = Duration::from_secs(submission.approval_seconds);
    let timed_out = match ctx.receive(APPROVE).timeout(patience).await {
        Ok(true) => {
            stage.set(Stage::Saving);
            let found = (chunks.len(), facts.len());
            let pieces =
                chunks.into_iter().zip(embeddings).map(|(text, embedding)| Piece { text, embedding });
            let pieces: Vec<Piece> = pieces.collect();
            let parts = pieces.len().div_ceil(PIECES_PER_PART);
            for (index, pieces) in pieces.chunks(PIECES_PER_PART).enumerate() {
                let part = Part { document: document.name.clone(), index, pieces: pieces.to_vec() };
                ctx.run(save_pieces, part).await?;
            }
            let Document { name, title, format, .. } = document;
            let saving = Saving { document: name, title, format, model, summary, facts, parts };
            let folder = ctx.run(save_results, saving).await?;
            stage.set(Stage::Done);
            return Ok(Outcome::Saved { folder, chunks: found.0, facts: found.1 });
        }
        Ok(false) => false,
        Err(WaitError::TimedOut) => true,
        Err(other @ (WaitError::Cancelled | WaitError::Malformed(_))) => return Err(other.into()),
    };
    stage.set(Stage::Done);
    Ok(Outcome::Rejected { timed_out })
}

fn seven_days() -> u64 {
    days(7).as_secs()
}
