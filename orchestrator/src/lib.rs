//! The orchestrator: reads what arrives for workflows, asks their code, records what follows and has it
//! done. One process is active per namespace; others stand by and take over within seconds.
//!
//! What happens to a run is decided in `stepwell-orchestrator-core`; this crate is the shell around it:
//! NATS, clocks, ids, metrics. It keeps nothing that is not in NATS and may be killed at any moment.

mod answers;
mod api;
mod ask;
mod checkpoints;
mod counting;
mod decode;
mod dispatcher;
mod drive;
mod effects;
mod engine;
mod error;
mod event_log;
mod floor;
mod http;
mod idempotency;
mod inbox;
mod janitor;
mod lease;
mod metric_definitions;
mod options;
mod own;
mod parked;
mod recovery;
mod rejections;
mod service;
mod shell;
mod slots;
mod state_bucket;
mod summaries;
mod timers;
mod token;
mod validity;
mod workers;

pub use error::OrchestratorError;
pub use options::Options;
pub use service::run;
