//! A document pipeline on Stepwell: read, embed, extract facts, summarise, ask a person, save.

pub mod chunk;
pub mod embedding;
pub mod extract;
pub mod library;
pub mod model;
pub mod text;
pub mod vocabulary;
