//! Everything that Stepwell's processes have in common on the way to NATS: connecting, publishing with
//! acknowledgements, creating and checking the namespace, reading histories, and requests whose answers
//! are larger than one message.
//!
//! It knows subjects, streams and bytes. It never decides what happens to a run.

pub mod chunked;
pub mod clock;
pub mod crash;
pub mod history;
pub mod leader;
pub mod owners;
pub mod page;
pub mod provision;
pub mod snapshot;
pub mod tasks;

mod ack;
mod connection;
mod http_access;
mod login;
mod options;
mod packs;
mod placement;
mod publisher;
mod replies;

pub use ack::{Ack, PublishError};
pub use connection::{Connection, JetStreamError};
pub use http_access::{HttpAccess, HttpOptions};
pub use options::{ConnectError, ConnectionOptions, LONGEST_RECONNECT_WAIT};
pub use publisher::{PendingAck, Publisher};
pub use replies::Expected;
