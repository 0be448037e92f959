//! The orchestrator: reads what arrives for workflows, asks their code, records what follows and has it
//! done. All processes of a namespace share its partitions, and take over from each other within seconds.
//!
//! What happens to a run is decided in `stepwell-orchestrator-core`; this crate is the shell around it:
//! NATS, clocks, ids, metrics. It keeps nothing that is not in NATS and may be killed at any moment.

mod announcements;
mod answers;
mod api;
mod ask;
mod checkpoints;
mod counting;
mod dispatcher;
mod drive;
mod effects;
mod engine;
mod error;
mod event_log;
mod events_consumer;
mod floor;
mod ground;
mod http;
mod idempotency;
mod inbox;
mod janitor;
mod keeper;
mod membership;
mod metric_definitions;
mod open_runs;
mod options;
mod own;
mod owner;
mod owners_bucket;
mod parked;
mod passed_over;
mod pulse;
mod ready;
mod recovery;
mod rejections;
mod rhythm;
mod sabotage;
mod secret;
mod service;
mod shared_reader;
mod shell;
mod slots;
mod state_bucket;
mod stream_watch;
mod summaries;
mod sweeper;
mod taken_together;
mod takeover;
mod timers;
mod token;
mod trimming;
mod validity;
mod workers;

pub use error::OrchestratorError;
pub use options::Options;
pub use service::run;
