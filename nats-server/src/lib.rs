//! Finds, starts and stops a `nats-server` child process, for `stepwell dev`, tests and benchmarks.
//!
//! Plain threads and processes: no async runtime, no NATS client. It never downloads a server, never
//! waits a fixed time for one to come up, and never signals a process that it did not start.

mod cluster;
mod find;
mod monitor;
mod ready;
mod server;
mod watchdog;

pub use cluster::{ClusterBuilder, NODES, NatsCluster, NodePorts};
pub use find::{NotFound, find, find_in};
pub use server::{Builder, NatsServer, StartError};
