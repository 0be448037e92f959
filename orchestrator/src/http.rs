//! `/metrics`, `/livez` and `/readyz`. Reads only; knows nothing of runs. Whether a process lives is no secret;
//! its metrics are for whom [`HttpAccess`] lets in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use stepwell_connection::{Connection, HttpAccess};

use crate::error::OrchestratorError;
use crate::metric_definitions::Metrics;

/// What the endpoints look at.
#[derive(Clone)]
pub(crate) struct Health {
    pub(crate) connection: Connection,
    /// On which others see that this process is there.
    pub(crate) pulse: Connection,
    pub(crate) metrics: Arc<Metrics>,
    /// Whether the process has stopped taking on work.
    pub(crate) draining: Arc<AtomicBool>,
    /// Who may read the metrics.
    pub(crate) access: HttpAccess,
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

async fn metrics(State(health): State<Health>, headers: HeaderMap) -> Response {
    if !health.access.allows(headers.get(header::AUTHORIZATION).map(|value| value.as_bytes())) {
        let ask = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (StatusCode::UNAUTHORIZED, ask, "the token is missing or wrong\n").into_response();
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], health.metrics.text()).into_response()
}

/// Ready: connected to NATS, on both connections, and not draining. A standby is ready: it takes over when it must.
async fn ready(State(health): State<Health>) -> impl IntoResponse {
    if health.draining.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned());
    }
    if let Some(trouble) = health.connection.trouble().or_else(|| health.pulse.trouble()) {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n"));
    }
    (StatusCode::OK, "ok\n".to_owned())
}
