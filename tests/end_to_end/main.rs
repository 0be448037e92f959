//! The whole thing, end to end: for every test a real nats-server, and orchestrator and workers as real
//! processes. Most flows run twice: with runs kept in the worker's memory, and with every run evicted after
//! every step, so that each step replays the history.

mod activities;
mod backlog;
mod backup;
mod bad_input;
mod cancelling;
mod clocks;
mod concurrency;
mod crash_points;
mod deploys;
mod fleet;
mod full_disk;
mod guard;
mod half_open;
mod herds;
mod hostile;
mod kills;
mod life;
mod limits;
mod lost_work;
mod metrics;
mod operators;
mod permissions;
mod processes;
mod python;
mod revoked;
mod roles;
mod sagas;
mod shards;
mod signals;
mod sleepers;
mod stage;
mod storage;
mod timeouts;
mod timers_and_queries;
mod waiting_for_workers;
