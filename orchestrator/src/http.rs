//! `/metrics`, `/livez` and `/readyz`. Reads only; knows nothing of runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use stepwell_connection::Connection;

use crate::error::OrchestratorError;
use crate::metric_definitions::Metrics;

/// What the endpoints look at.
#[derive(Clone)]
pub(crate) struct Health {
    pub(crate) connection: Connection,
    pub(crate) metrics: Arc<Metrics>,
    /// Whether the process has stopped taking on work.
    pub(crate) draining: Arc<AtomicBool>,
}

/// Serves until the process ends; returns the address that it listens on.
pub(crate) async fn serve(address: SocketAddr, health: Health) -> Result<SocketAddr, OrchestratorError> {
    let failed = |source| OrchestratorError::Http { address, source };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let routes = Router::new()
        .route("/metrics", get(metrics))
        // That it answers at all is the answer; it does not depend on NATS.
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(health);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%error, "the HTTP server ended");
        }
    });
    tracing::info!(address = %bound, "serving /metrics, /livez and /readyz");
    Ok(bound)
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], health.metrics.text())
}

/// Ready: connected to NATS and not draining. A standby is ready: it takes over when it must.
async fn ready(State(health): State<Health>) -> impl IntoResponse {
    if health.draining.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    if !health.connection.connected() {
        return (StatusCode::SERVICE_UNAVAILABLE, "not connected to NATS\n");
    }
    (StatusCode::OK, "ok\n")
}
