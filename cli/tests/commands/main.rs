//! Every command, as a process, against `stepwell dev` as a process and a worker that speaks plain NATS.
//! The server's binary is the one that `STEPWELL_NATS_SERVER` names, or that is on `PATH`.

#![allow(clippy::unwrap_used)] // A failed step is a failed test.

mod backup;
mod cluster;
mod dev;
mod doctor;
mod encryption;
mod exit_codes;
mod failover;
mod http;
mod logins;
mod runs;
mod sagas;
mod secrets;
mod support;
mod tokens_of_operators;
mod worker;
