//! One partition at which this process works: everything that runs for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::checkpoints::{self, Checkpoint};
use crate::dispatcher::{INBOX_ROOM, REQUEST_ROOM, Request, dispatch};
use crate::error::OrchestratorError;
use crate::floor::Floor;
use crate::ground::Ground;
use crate::inbox;
use crate::own::Own;
use crate::recovery::Recovery;
use crate::sabotage;
use crate::shell::Shell;
use crate::taken_together::TakenTogether;
use crate::takeover::{Left, Taken};
use crate::validity::Validity;

/// How long a clean end waits for what is under way; what is not done then is done by a successor.
const DRAIN: Duration = Duration::from_secs(5);

/// A partition at which this process works.
pub(crate) struct Engine {
    shell: Arc<Shell>,
    stop: CancellationToken,
    dispatcher: tokio::task::JoinHandle<()>,
    helpers: tokio::task::JoinSet<()>,
    halted: mpsc::Receiver<OrchestratorError>,
    checkpoint: Checkpoint,
}

impl Engine {
    /// Takes over a partition from whoever worked at it before, and begins to work.
    pub(crate) async fn start(
        ground: &Ground,
        partition: u32,
        together: &TakenTogether,
        validity: Validity,
    ) -> Result<Self, OrchestratorError> {
        let taken = Taken::read(&ground.connection, (partition, ground.settings.shards), together).await?;
        let Taken { left, tasks, timers, parked, set_aside } = taken;
        let Left { checkpoint, catch_up } = left;
        let next = sabotage::read_from(checkpoint.sequence) + 1;
        tracing::info!(partition, next, catch_up, timers = timers.len(), "taking over");
        let (requests, requested) = mpsc::channel(REQUEST_ROOM);
        let (halts, halted) = mpsc::channel(1);
        let shell = Arc::new(Shell {
            partition,
            ground: ground.clone(),
            connection: ground.connection.clone(),
            options: Arc::clone(&ground.options),
            partitions: ground.settings.partitions,
            metrics: Arc::clone(&ground.metrics),
            tokens: ground.tokens.clone(),
            floor: Floor::new(checkpoint.sequence),
            timers,
            timer_writes: tokio::sync::Mutex::default(),
            parked,
            recovery: Recovery::new(tasks),
            set_aside,
            own: Own::default(),
            validity,
            workers: Arc::clone(&ground.workers),
            queues: Arc::clone(&ground.queues),
            requests,
            caught_up: AtomicBool::new(false),
            backlog: AtomicU64::new(0),
            cached: AtomicUsize::new(0),
            halts,
        });
        let stop = CancellationToken::new();
        let (incoming, inbox) = mpsc::channel(INBOX_ROOM);
        let dispatcher = tokio::spawn(dispatch(Arc::clone(&shell), inbox, requested, stop.clone()));
        let mut helpers = tokio::task::JoinSet::new();
        helpers.spawn(inbox::read(Arc::clone(&shell), incoming, next, catch_up));
        helpers.spawn(wake(Arc::clone(&shell)));
        helpers.spawn(checkpoints::keep(Arc::clone(&shell), checkpoint));
        Ok(Self { shell, stop, dispatcher, helpers, halted, checkpoint })
    }

    /// Says which workers are there: those that made themselves known before this process owned the partition
    /// are not news any more, and runs may wait for them.
    pub(crate) async fn tell_of_workers(&self) {
        for announcement in self.shell.workers.list(None) {
            let _ = self.shell.requests.send(Request::WorkerAppeared(announcement)).await;
        }
    }

    /// What the API and others ask.
    pub(crate) fn shell(&self) -> &Arc<Shell> {
        &self.shell
    }

    /// Waits until it turns out that nobody may go on.
    pub(crate) async fn halted(&mut self) -> OrchestratorError {
        match self.halted.recv().await {
            Some(reason) => reason,
            // The shell has the other end.
            None => std::future::pending().await,
        }
    }

    /// Finishes what is under way, writes how far everything is done, and stops.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(DRAIN, &mut self.dispatcher).await.is_err() {
            self.dispatcher.abort();
        }
        self.end().await;
        if let Err(error) = checkpoints::write(&self.shell, &mut self.checkpoint).await {
            tracing::warn!(%error, "the last checkpoint could not be written");
        }
        self.shell.validity.end();
    }

    /// Stops at once: somebody else may be working at the partition.
    pub(crate) async fn abort(mut self) {
        self.shell.validity.end();
        self.stop.cancel();
        self.dispatcher.abort();
        self.end().await;
    }

    /// Ends what has not ended.
    async fn end(&mut self) {
        self.helpers.shutdown().await;
        if !self.dispatcher.is_finished() {
            let _ = (&mut self.dispatcher).await;
        }
    }
}

async fn wake(shell: Arc<Shell>) {
    loop {
        let due = shell.timers.due().await;
        if shell.requests.send(Request::Due(due)).await.is_err() {
            return;
        }
    }
}
