//! Copies of a namespace in a directory: what lies there, and how orchestrators are held while it is made.

pub(crate) mod files;
pub(crate) mod hold;
pub(crate) mod manifest;
pub(crate) mod quiet;
