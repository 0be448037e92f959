//! A document pipeline on Stepwell: read, embed, extract facts, summarise, ask a person, save.
//!
//! [`workflow`] is the place to start. [`documents`] and [`models`] are its activities, on two queues;
//! what they do is in the other modules, which know nothing of Stepwell.

pub mod chunk;
pub mod documents;
pub mod embedding;
pub mod extract;
pub mod library;
pub mod model;
pub mod models;
pub mod results;
pub mod text;
pub mod vocabulary;
pub mod workflow;
