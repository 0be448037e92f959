//! What every part of an active orchestrator shares.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use stepwell_connection::Connection;
use stepwell_shared::ids::{Name, RunId};
use tokio::sync::mpsc;

use crate::dispatcher::Request;
use crate::floor::Floors;
use crate::metric_definitions::Metrics;
use crate::options::Options;
use crate::own::Own;
use crate::parked::Parked;
use crate::recovery::Recovery;
use crate::timers::Timers;
use crate::token::Tokens;
use crate::validity::Validity;
use crate::workers::Workers;

/// What every part of an active orchestrator shares.
pub(crate) struct Shell {
    pub(crate) connection: Connection,
    pub(crate) options: Options,
    pub(crate) partitions: u32,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tokens: Tokens,
    pub(crate) floors: Floors,
    pub(crate) timers: Timers,
    /// Held while a change of `timers` is decided and sent: changes of one entry must not overtake.
    pub(crate) timer_writes: tokio::sync::Mutex<()>,
    pub(crate) parked: Parked,
    pub(crate) recovery: Recovery,
    /// Events that are read again and that predecessors have set aside.
    pub(crate) set_aside: HashSet<u64>,
    pub(crate) own: Own,
    pub(crate) validity: Validity,
    pub(crate) workers: Arc<Workers>,
    /// Queues whose consumer is known to exist.
    pub(crate) queues: Mutex<HashSet<Name>>,
    pub(crate) requests: mpsc::Sender<Request>,
    /// Whether everything that a predecessor left has been taken in.
    pub(crate) caught_up: AtomicBool,
}

/// A new run id: a UUID of version 7, which sorts by time.
pub(crate) fn new_run_id() -> RunId {
    RunId::new(uuid::Uuid::now_v7().to_string()).expect("a UUID is a valid run id")
}
