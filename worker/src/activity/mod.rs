//! Activities as their authors see them. How tasks are fetched and run is elsewhere.

pub(crate) mod code;
pub(crate) mod context;
pub(crate) mod error;
pub(crate) mod heartbeats;
