//! `/metrics`, `/livez` and `/readyz` over HTTP. Read only; loopback unless another address is given.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus::{Encoder, TextEncoder};
use stepwell_connection::Connection;
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
pub(crate) async fn bind(address: &str) -> Result<TcpListener, WorkerError> {
    let failed = |reason: String| WorkerError::Metrics { address: address.to_owned(), reason };
    let port = address.strip_prefix(':').unwrap_or(address);
    let bound = match port.parse::<u16>() {
        Ok(port) => TcpListener::bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)).await,
        Err(_) => TcpListener::bind(address).await,
    };
    bound.map_err(|error| failed(error.to_string()))
}

/// Serves until `stop`.
pub(crate) async fn serve(listener: TcpListener, health: Health, stop: CancellationToken) {
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

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    let mut body = Vec::new();
    match TextEncoder::new().encode(&health.metrics.registry.gather(), &mut body) {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], body),
        Err(error) => {
            let text = [(header::CONTENT_TYPE, "text/plain")];
            (StatusCode::INTERNAL_SERVER_ERROR, text, error.to_string().into_bytes())
        }
    }
}

async fn readyz(State(health): State<Health>) -> (StatusCode, &'static str) {
    if !health.connection.connected() {
        return (StatusCode::SERVICE_UNAVAILABLE, "not connected to NATS\n");
    }
    if !health.ready.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "not taking tasks\n");
    }
    (StatusCode::OK, "ok\n")
}
