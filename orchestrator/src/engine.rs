//! An active orchestrator: everything that runs while this process holds the lease.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use stepwell_connection::provision::Settings;
use stepwell_connection::{Connection, JetStreamError};
use stepwell_shared::announce::Announcement;
use stepwell_shared::encoding::{VERSION, decode, encode};
use stepwell_shared::subject::{self, Bucket, Stream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::checkpoints;
use crate::dispatcher::{INBOX_ROOM, REQUEST_ROOM, Request, dispatch};
use crate::error::OrchestratorError;
use crate::floor::Floors;
use crate::metric_definitions::Metrics;
use crate::options::Options;
use crate::own::Own;
use crate::parked::Parked;
use crate::recovery::{Recovery, last_sequence};
use crate::shell::Shell;
use crate::timers::{TimerEntry, Timers};
use crate::token::Tokens;
use crate::validity::Validity;
use crate::workers::Workers;
use crate::{inbox, janitor, rejections, state_bucket};

/// How long a shutdown waits for what is under way; what is not done then is done by a successor.
const DRAIN: Duration = Duration::from_secs(5);

/// What is known before the lease is held.
pub(crate) struct Ground {
    pub(crate) connection: Connection,
    pub(crate) options: Options,
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) workers: Arc<Workers>,
}

/// An active orchestrator.
pub(crate) struct Engine {
    shell: Arc<Shell>,
    stop: CancellationToken,
    dispatcher: tokio::task::JoinHandle<()>,
    helpers: tokio::task::JoinSet<()>,
}

impl Engine {
    /// Takes over from whoever was active before, and begins to work.
    pub(crate) async fn start(ground: &Ground, validity: Validity) -> Result<Self, OrchestratorError> {
        let connection = &ground.connection;
        let failed = |doing| move |source| OrchestratorError::Start { doing, source };
        let tokens = Tokens::new(&secret(connection).await.map_err(failed("reading the secret"))?);
        let recovery = Recovery::read(connection).await.map_err(failed("reading what was left"))?;
        let timers = Timers::default();
        let parked = Parked::default();
        restore_timers(connection, &timers, &parked).await.map_err(failed("reading the timers"))?;
        let checkpoints = checkpoints::read(connection, ground.settings.partitions)
            .await
            .map_err(failed("reading the checkpoints"))?;
        let catch_up = last_sequence(connection, Stream::Events).await.map_err(failed("reading EVENTS"))?;
        let seen = checkpoints.iter().copied().max().unwrap_or(0);
        if seen > catch_up {
            return Err(OrchestratorError::StreamRegressed { last_sequence: catch_up, seen });
        }
        let next = checkpoints.iter().copied().min().unwrap_or(0) + 1;
        let set_aside = rejections::set_aside_before(connection, next, catch_up)
            .await
            .map_err(failed("reading what was set aside"))?;
        tracing::info!(next, catch_up, timers = timers.len(), "taking over");
        let (requests, requested) = mpsc::channel(REQUEST_ROOM);
        let shell = Arc::new(Shell {
            connection: connection.clone(),
            options: ground.options.clone(),
            partitions: ground.settings.partitions,
            metrics: Arc::clone(&ground.metrics),
            tokens,
            floors: Floors::new(ground.settings.partitions, next - 1),
            timers,
            timer_writes: tokio::sync::Mutex::default(),
            parked,
            recovery,
            set_aside,
            own: Own::default(),
            validity,
            workers: Arc::clone(&ground.workers),
            queues: Mutex::new(HashSet::new()),
            requests,
            caught_up: AtomicBool::new(false),
        });
        Ok(Self::spawn(shell, requested, next, checkpoints, catch_up))
    }

    fn spawn(
        shell: Arc<Shell>,
        requested: mpsc::Receiver<Request>,
        next: u64,
        checkpoints: Vec<u64>,
        catch_up: u64,
    ) -> Self {
        let stop = CancellationToken::new();
        let (incoming, inbox) = mpsc::channel(INBOX_ROOM);
        let dispatcher = tokio::spawn(dispatch(Arc::clone(&shell), inbox, requested, stop.clone()));
        let mut helpers = tokio::task::JoinSet::new();
        helpers.spawn(inbox::read(Arc::clone(&shell), incoming, next, checkpoints.clone(), catch_up));
        helpers.spawn(wake(Arc::clone(&shell)));
        helpers.spawn(checkpoints::keep(Arc::clone(&shell), checkpoints));
        helpers.spawn(janitor::keep_tidy(Arc::clone(&shell)));
        shell.metrics.active.set(1);
        Self { shell, stop, dispatcher, helpers }
    }

    /// Says which workers are there: those that made themselves known before this process was active are not
    /// news any more, and runs may wait for them.
    pub(crate) async fn tell_of_workers(&self) {
        for announcement in self.shell.workers.list(None) {
            let _ = self.shell.requests.send(Request::WorkerAppeared(announcement)).await;
        }
    }

    /// What the API asks.
    pub(crate) fn shell(&self) -> &Arc<Shell> {
        &self.shell
    }

    /// Finishes what is under way, writes how far everything is done, and stops.
    pub(crate) async fn stop(mut self) {
        self.shell.metrics.active.set(0);
        self.stop.cancel();
        if tokio::time::timeout(DRAIN, &mut self.dispatcher).await.is_err() {
            self.dispatcher.abort();
        }
        self.stand_by().await;
        if let Err(error) = checkpoints::write(&self.shell, &mut Vec::new()).await {
            tracing::warn!(%error, "the last checkpoints could not be written");
        }
    }

    /// Stops at once: somebody else may be active.
    pub(crate) async fn abort(mut self) {
        self.stop.cancel();
        self.dispatcher.abort();
        self.stand_by().await;
    }

    /// Ends what has not ended, and then says that nothing is known here any more.
    async fn stand_by(&mut self) {
        self.helpers.shutdown().await;
        if !self.dispatcher.is_finished() {
            let _ = (&mut self.dispatcher).await;
        }
        self.shell.metrics.stand_by();
    }
}

/// Listens to workers, whether this process is active or not. Returns when the connection is closed.
pub(crate) async fn listen_to_workers(
    connection: Connection,
    workers: Arc<Workers>,
    active: tokio::sync::watch::Receiver<Option<Arc<Shell>>>,
) {
    let subject = subject::announce(connection.namespace());
    let mut announcements = match connection.client().subscribe(subject).await {
        Ok(announcements) => announcements,
        Err(error) => return tracing::error!(%error, "announcements of workers cannot be heard"),
    };
    while let Some(message) = announcements.next().await {
        let announcement: Announcement = match decode(&message.payload) {
            Ok(announcement) => announcement,
            Err(error) => {
                tracing::debug!(%error, "an announcement cannot be read");
                continue;
            }
        };
        if !workers.announced(announcement.clone()) {
            continue;
        }
        let shell = active.borrow().clone();
        if let Some(shell) = shell {
            let _ = shell.requests.send(Request::WorkerAppeared(announcement)).await;
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

async fn restore_timers(
    connection: &Connection,
    timers: &Timers,
    parked: &Parked,
) -> Result<(), JetStreamError> {
    let none = std::collections::BTreeSet::new();
    state_bucket::for_each(connection, Bucket::Timers, |key, value| {
        let Some(id) = subject::parse_timer_key(key) else { return };
        match decode::<TimerEntry>(value) {
            Ok(entry) => {
                parked.set(&id, &none, &entry.waits_on);
                timers.restore(&id, entry);
            }
            Err(error) => tracing::error!(key, %error, "a timer cannot be read"),
        }
    })
    .await
}

/// The namespace's secret for task tokens, made by the first orchestrator that wants it.
async fn secret(connection: &Connection) -> Result<Vec<u8>, JetStreamError> {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Secret {
        v: u32,
        secret: String,
    }
    let other = |error: String| JetStreamError::Other(error);
    let bucket = connection.bucket(Bucket::Owners).await?;
    loop {
        if let Some(value) = bucket.get("secret").await.map_err(|error| other(error.to_string()))? {
            let found: Secret = decode(&value).map_err(|error| other(error.to_string()))?;
            return Ok(found.secret.into_bytes());
        }
        // Two version 4 UUIDs: 244 bits from the system's generator.
        let secret = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        let made = Secret { v: VERSION, secret };
        // Whoever creates the key first wins; everybody reads it then.
        if let Err(error) = bucket.create("secret", encode(&made).into()).await
            && error.kind() != async_nats::jetstream::kv::CreateErrorKind::AlreadyExists
        {
            return Err(other(error.to_string()));
        }
    }
}
