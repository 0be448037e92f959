//! The life of an orchestrator process: connect, provision, share the partitions with others, stop.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stepwell_connection::provision::{ProvisionOptions, provision};
use stepwell_connection::{ConnectionOptions, clock};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::announcements::listen_to_workers;
use crate::dispatcher::MAX_ROOMS;
use crate::error::OrchestratorError;
use crate::ground::{Ground, Owned};
use crate::http::{self, Health};
use crate::metric_definitions::Metrics;
use crate::options::Options;
use crate::pulse::Pulse;
use crate::secret::secret;
use crate::shared_reader::SharedReader;
use crate::token::Tokens;
use crate::workers::Workers;
use crate::{api, janitor, owner, passed_over, stream_watch};

/// How long the end may take when NATS is not there.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Runs an orchestrator until `shutdown` is cancelled, then hands over in good order.
///
/// All processes with the same namespace share its partitions, and each answers the API.
///
/// # Errors
/// [`OrchestratorError`] when it cannot start: NATS refuses, the namespace is not what it must be, or the
/// HTTP address is taken; and when a stream has lost what was already seen in it. A connection that is lost
/// later is waited for.
pub async fn run(
    connection: &ConnectionOptions,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), OrchestratorError> {
    let access = options.http.access(options.listen);
    let access = if options.no_http { None } else { Some(access) }
        .transpose()
        .map_err(|reason| OrchestratorError::HttpAccess { address: options.listen, reason })?;
    let process = uuid::Uuid::now_v7();
    let name = format!("stepwell orchestrator {process}");
    let pulse = Pulse::start(connection, &name).await?;
    let connection = connection.connect(&name).await?;
    let wanted = ProvisionOptions {
        replicas: options.replicas,
        partitions: options.partitions,
        shards: options.shards,
        ..ProvisionOptions::default()
    };
    let settings = provision(&connection, &wanted).await?;
    if let Err(error) = clock::compare(&connection).await {
        tracing::warn!(%error, "the server could not be asked for the time; trying again later");
    }
    let metrics = Arc::new(Metrics::new().expect("the metrics are well-formed and distinct"));
    let starting = |doing| move |source| OrchestratorError::Start { doing, source };
    let (reader, reading) = SharedReader::new(connection.clone(), settings.partitions);
    let ground = Ground {
        reader,
        tokens: Tokens::new(&secret(&connection).await.map_err(starting("reading the secret"))?),
        connection: connection.clone(),
        pulse,
        workers: Arc::new(Workers::default()),
        options: Arc::new(options),
        settings,
        metrics: Arc::clone(&metrics),
        queues: Arc::new(Mutex::new(HashSet::new())),
        owned: Owned::default(),
        rooms: Arc::new(Semaphore::new(MAX_ROOMS)),
    };
    metrics.partitions.set(i64::from(settings.partitions));
    let draining = Arc::new(AtomicBool::new(false));
    if let Some(access) = access {
        let draining = Arc::clone(&draining);
        let pulse = ground.pulse.connection().clone();
        let health = Health { connection: connection.clone(), pulse, metrics, draining, access };
        http::serve(ground.options.listen, health).await?;
    }
    let mut helpers = tokio::task::JoinSet::new();
    helpers.spawn(reading);
    helpers.spawn(clock::keep(connection.clone()));
    helpers.spawn(listen_to_workers(ground.clone()));
    helpers.spawn(janitor::keep_tidy(ground.clone()));
    helpers.spawn(stream_watch::watch(ground.clone()));
    helpers.spawn(passed_over::watch(ground.clone()));
    let api = api::serve(&ground).await.map_err(starting("starting the API"))?;
    let outcome = owner::own(&ground, &shutdown).await;
    draining.store(true, Ordering::Relaxed);
    api.stop().await;
    helpers.shutdown().await;
    // What is still to be sent is sent, and a server that goes away after this is not looked for.
    let last_words = async {
        let _ = connection.client().flush().await;
        let _ = connection.client().drain().await;
    };
    if tokio::time::timeout(LAST_WORDS, last_words).await.is_err() {
        tracing::warn!("ended without NATS; others take over when the lease is over");
    }
    outcome
}
