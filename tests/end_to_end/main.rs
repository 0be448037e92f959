//! The whole thing, end to end: for every test a real nats-server, and orchestrator and workers as real
//! processes. Most flows run twice: with runs kept in the worker's memory, and with every run evicted after
//! every step, so that each step replays the history.

mod activities;
mod bad_input;
mod cancelling;
mod concurrency;
mod deploys;
mod kills;
mod life;
mod limits;
mod metrics;
mod permissions;
mod processes;
mod python;
mod sagas;
mod signals;
mod stage;
mod timeouts;
mod timers_and_queries;
mod waiting_for_workers;
