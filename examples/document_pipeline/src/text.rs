//! What the offline parts know of language: words and sentences of English text. Pure functions.

mod sentences;
mod words;

pub use sentences::sentences;
pub use words::{hash, terms, words};
