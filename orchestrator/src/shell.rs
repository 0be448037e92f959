//! What every part of an owned partition shares.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};

use stepwell_connection::Connection;
use stepwell_shared::ids::{Name, RunId};
use tokio::sync::mpsc;

use crate::dispatcher::Request;
use crate::error::OrchestratorError;
use crate::floor::Floor;
use crate::ground::Ground;
use crate::metric_definitions::Metrics;
use crate::options::Options;
use crate::own::Own;
use crate::parked::Parked;
use crate::recovery::Recovery;
use crate::rejections;
use crate::timers::Timers;
use crate::token::Tokens;
use crate::validity::Validity;
use crate::workers::Workers;

/// What every part of an owned partition shares.
pub(crate) struct Shell {
    pub(crate) partition: u32,
    pub(crate) ground: Ground,
    pub(crate) connection: Connection,
    pub(crate) options: Arc<Options>,
    /// How many partitions the namespace has.
    pub(crate) partitions: u32,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tokens: Tokens,
    pub(crate) floor: Floor,
    pub(crate) timers: Timers,
    /// Held while a change of `timers` is decided and sent: changes of one entry must not overtake.
    pub(crate) timer_writes: tokio::sync::Mutex<()>,
    pub(crate) parked: Parked,
    pub(crate) recovery: Recovery,
    /// Events that are read again and that predecessors have set aside.
    pub(crate) set_aside: HashSet<rejections::Part>,
    pub(crate) own: Own,
    pub(crate) validity: Validity,
    pub(crate) workers: Arc<Workers>,
    /// Queues whose consumer is known to exist.
    pub(crate) queues: Arc<Mutex<HashSet<Name>>>,
    pub(crate) requests: mpsc::Sender<Request>,
    /// Whether everything that a predecessor left has been taken in.
    pub(crate) caught_up: AtomicBool,
    /// Events of the partition that are stored and not read yet.
    pub(crate) backlog: AtomicU64,
    /// Runs in memory.
    pub(crate) cached: AtomicUsize,
    /// Takes the reason why nobody may go on; see [`Shell::halt`].
    pub(crate) halts: mpsc::Sender<OrchestratorError>,
}

impl Shell {
    /// What is stored contradicts what was seen: the whole process ends, loudly. The first reason counts.
    pub(crate) fn halt(&self, reason: OrchestratorError) {
        self.validity.end();
        let _ = self.halts.try_send(reason);
    }
}

/// A new run id: a UUID of version 7, which sorts by time.
pub(crate) fn new_run_id() -> RunId {
    RunId::new(uuid::Uuid::now_v7().to_string()).expect("a UUID is a valid run id")
}
