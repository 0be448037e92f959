//! What the pipeline wants of a language model, and why it may not get it. Two models exist: one behind
//! an OpenAI-compatible HTTP interface, and one that needs no network.

pub mod http;
mod http_options;
pub mod offline;
mod rank;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stepwell::prelude::ActivityError;
use thiserror::Error;

pub use http_options::{HttpOptions, MissingOption};

/// A language model.
pub trait LanguageModel: Send + Sync {
    /// Its name, kept with what it wrote.
    fn name(&self) -> &str;

    /// The statements in a section of a document that a reader would want to look up.
    fn extract_facts<'a>(&'a self, section: &'a str) -> Answer<'a, Vec<Fact>>;

    /// A few sentences that say what a document is about.
    fn summarize<'a>(&'a self, material: &'a Material) -> Answer<'a, String>;
}

/// What a model promises to answer.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ModelError>> + Send + 'a>>;

/// A statement found in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// The statement.
    pub statement: String,
    /// What kind of statement.
    pub kind: FactKind,
}

/// Kinds of statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactKind {
    /// It says when.
    Date,
    /// It says how many or how much.
    Quantity,
    /// It says what somebody must, may or must not do.
    Rule,
    /// It says what something is.
    Definition,
    /// Anything else.
    #[serde(other)]
    Other,
}

/// What a summary is written from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Material {
    /// The document's title.
    pub title: String,
    /// How it begins.
    pub opening: String,
    /// The facts found in it.
    pub facts: Vec<Fact>,
}

/// Why a model gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ModelError {
    /// 429: too many requests.
    #[error("the model asks for fewer requests (429)")]
    RateLimited {
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// 5xx, or 408: its side is at fault.
    #[error("the model's server failed with {status}: {body}")]
    Server {
        /// The HTTP status.
        status: u16,
        /// The beginning of what it said.
        body: String,
    },
    /// 4xx: our request is at fault; the same one will be refused again.
    #[error("the model's server refused the request with {status}: {body}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The beginning of what it said.
        body: String,
    },
    /// No connection, or it broke before the answer was complete.
    #[error("the model's server cannot be reached: {0}")]
    Unreachable(String),
    /// It did not answer in time.
    #[error("the model did not answer within {0:?}")]
    TimedOut(Duration),
    /// There is an answer, but not the one that was asked for.
    #[error("the model's answer cannot be used: {0}")]
    Unusable(String),
}

impl ModelError {
    /// The failure of an activity: says for each reason whether and when to try again.
    #[must_use]
    pub fn into_activity_error(self) -> ActivityError {
        let message = self.to_string();
        match self {
            Self::RateLimited { retry_after } => {
                let error = ActivityError::new("RateLimited", message);
                retry_after.into_iter().fold(error, ActivityError::retry_after)
            }
            Self::Server { .. } => ActivityError::new("ModelServerError", message),
            Self::Refused { .. } => ActivityError::new("ModelRefused", message).non_retryable(),
            Self::Unreachable(_) => ActivityError::new("ModelUnreachable", message),
            Self::TimedOut(_) => ActivityError::new("ModelTimeout", message),
            Self::Unusable(_) => ActivityError::new("ModelAnswerUnusable", message),
        }
    }
}
