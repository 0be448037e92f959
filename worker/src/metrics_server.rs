//! `/metrics`, `/livez` and `/readyz` over HTTP. Read only; loopback unless another address is given, and then
//! only with a word on who may read the metrics.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Encoder, TextEncoder};
use stepwell_connection::{Connection, HttpAccess, HttpOptions};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::error::WorkerError;
use crate::metric_definitions::Metrics;

/// What the endpoints look at.
#[derive(Clone)]
pub(crate) struct Health {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) connection: Connection,
    /// Tasks can reach the worker.
    pub(crate) ready: Arc<AtomicBool>,
}

/// Binds `address`, which is `host:port`, `:port` or `port`; without a host it is the loopback.
pub(crate) async fn bind(
    address: &str,
    options: Option<HttpOptions>,
) -> Result<(TcpListener, HttpAccess), WorkerError> {
    let failed = |reason: String| WorkerError::Metrics { address: address.to_owned(), reason };
    let port = address.strip_prefix(':').unwrap_or(address);
    let bound = match port.parse::<u16>() {
        Ok(port) => TcpListener::bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)).await,
        Err(_) => TcpListener::bind(address).await,
    };
    let listener = bound.map_err(|error| failed(error.to_string()))?;
    let bound = listener.local_addr().map_err(|error| failed(error.to_string()))?;
    let access = options.unwrap_or_else(HttpOptions::from_env).access(bound).map_err(failed)?;
    Ok((listener, access))
}

/// Serves until `stop`.
pub(crate) async fn serve(
    (listener, access): (TcpListener, HttpAccess),
    health: Health,
    stop: CancellationToken,
) {
    let metrics = async move |State(health): State<Health>, headers: HeaderMap| {
        if access.allows(headers.get(header::AUTHORIZATION).map(|value| value.as_bytes())) {
            return metrics(&health).into_response();
        }
        let ask = [(header::WWW_AUTHENTICATE, "Bearer")];
        (StatusCode::UNAUTHORIZED, ask, "the token is missing or wrong\n").into_response()
    };
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(health);
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the metrics endpoint ended");
    }
}

fn metrics(health: &Health) -> Response {
    let mut body = Vec::new();
    match TextEncoder::new().encode(&health.metrics.registry.gather(), &mut body) {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], body).into_response(),
        Err(error) => {
            let text = [(header::CONTENT_TYPE, "text/plain")];
            (StatusCode::INTERNAL_SERVER_ERROR, text, error.to_string().into_bytes()).into_response()
        }
    }
}

async fn readyz(State(health): State<Health>) -> (StatusCode, String) {
    if let Some(trouble) = health.connection.trouble() {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n"));
    }
    if !health.ready.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "not taking tasks\n".to_owned());
    }
    (StatusCode::OK, "ok\n".to_owned())
}
