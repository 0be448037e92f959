//! The life of an orchestrator process: connect, provision, stand by, be active, stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stepwell_connection::ConnectionOptions;
use stepwell_connection::provision::{ProvisionOptions, provision};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::engine::{Engine, Ground, listen_to_workers};
use crate::error::OrchestratorError;
use crate::http::{self, Health};
use crate::lease::Lease;
use crate::metric_definitions::Metrics;
use crate::options::Options;
use crate::workers::Workers;

/// Pause before taking over is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs an orchestrator until `shutdown` is cancelled, then hands over in good order.
///
/// Of several processes with the same namespace one is active; the others stand by and answer the API.
///
/// # Errors
/// [`OrchestratorError`] when it cannot start: NATS refuses, the namespace is not what it must be, the
/// HTTP address is taken, or the EVENTS stream has lost what was already read. A connection that is lost
/// later is waited for.
pub async fn run(
    connection: &ConnectionOptions,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), OrchestratorError> {
    let holder = uuid::Uuid::now_v7().to_string();
    let connection = connection.connect(&format!("stepwell orchestrator {holder}")).await?;
    let wanted = ProvisionOptions {
        replicas: options.replicas,
        partitions: options.partitions,
        ..ProvisionOptions::default()
    };
    let settings = provision(&connection, &wanted).await?;
    let metrics = Arc::new(Metrics::new().expect("the metrics are well-formed and distinct"));
    let ground = Ground {
        connection: connection.clone(),
        workers: Arc::new(Workers::default()),
        options,
        settings,
        metrics: Arc::clone(&metrics),
    };
    let draining = Arc::new(AtomicBool::new(false));
    if !ground.options.no_http {
        let health = Health { connection: connection.clone(), metrics, draining: Arc::clone(&draining) };
        http::serve(ground.options.listen, health).await?;
    }
    let (active, watch_active) = watch::channel(None);
    let listener = listen_to_workers(connection.clone(), Arc::clone(&ground.workers), watch_active.clone());
    let listener = tokio::spawn(listener);
    let api = api::serve(&ground, watch_active)
        .await
        .map_err(|source| OrchestratorError::Start { doing: "starting the API", source })?;
    let outcome = take_turns(&ground, &holder, &active, &shutdown).await;
    draining.store(true, Ordering::Relaxed);
    api.stop().await;
    listener.abort();
    // What is still to be sent is sent, and a server that goes away after this is not looked for.
    let _ = connection.client().flush().await;
    let _ = connection.client().drain().await;
    outcome
}

/// Stands by and is active, in turn, until `shutdown`.
async fn take_turns(
    ground: &Ground,
    holder: &str,
    active: &watch::Sender<Option<Arc<crate::shell::Shell>>>,
    shutdown: &CancellationToken,
) -> Result<(), OrchestratorError> {
    loop {
        let acquired = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            acquired = Lease::acquire(&ground.connection, holder, ground.options.lease) => acquired,
        };
        let mut lease = match acquired {
            Ok(lease) => lease,
            Err(error) => {
                tracing::warn!(%error, "the lease cannot be asked for; trying again");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let engine = tokio::select! {
            engine = Engine::start(ground, lease.validity()) => engine,
            () = lease.keep() => {
                tracing::warn!("the lease was lost while taking over; standing by");
                continue;
            }
        };
        let engine = match engine {
            Ok(engine) => engine,
            Err(error @ OrchestratorError::StreamRegressed { .. }) => {
                lease.release().await;
                return Err(error);
            }
            Err(
                error @ (OrchestratorError::Connect(_)
                | OrchestratorError::Provision(_)
                | OrchestratorError::Start { .. }
                | OrchestratorError::Http { .. }),
            ) => {
                tracing::warn!(%error, "taking over failed; trying again");
                lease.release().await;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        active.send_replace(Some(Arc::clone(engine.shell())));
        engine.tell_of_workers().await;
        tokio::select! {
            () = shutdown.cancelled() => {
                active.send_replace(None);
                // The lease must not run out while the last events are finished.
                tokio::select! {
                    () = engine.stop() => {}
                    () = lease.keep() => {}
                }
                lease.release().await;
                return Ok(());
            }
            () = lease.keep() => {
                tracing::warn!("the lease was lost; standing by");
                active.send_replace(None);
                engine.abort().await;
            }
        }
    }
}
