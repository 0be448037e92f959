//! A server with a connection to it.

use std::sync::Arc;

use async_nats::HeaderMap;
use bytes::Bytes;
use stepwell_connection::provision::{ProvisionOptions, Settings, provision};
use stepwell_connection::{Ack, Connection, ConnectionOptions, PublishError};
use stepwell_nats_server::{NatsServer, find};

/// A fresh server.
pub(crate) fn server() -> NatsServer {
    server_with("")
}

/// A fresh server with more configuration.
pub(crate) fn server_with(config: &str) -> NatsServer {
    let binary = find().expect("a nats-server binary; set STEPWELL_NATS_SERVER");
    NatsServer::builder(binary).config(config).start().expect("the server starts")
}

/// A connection to the default namespace.
pub(crate) async fn connect(server: &NatsServer) -> Connection {
    ConnectionOptions::to_url(&server.url()).connect("test").await.expect("the server takes connections")
}

/// A fresh server, a connection, and the default namespace.
pub(crate) async fn namespace() -> (NatsServer, Connection, Settings) {
    let server = server();
    let connection = connect(&server).await;
    let settings = provision(&connection, &ProvisionOptions::default()).await.expect("it is provisioned");
    (server, connection, settings)
}

/// Publishes and waits for the acknowledgement.
pub(crate) async fn publish(
    connection: &Connection,
    subject: &str,
    headers: &[(&str, String)],
    body: impl Into<Bytes>,
) -> Result<Ack, PublishError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, value.as_str());
    }
    let headers = (!headers.is_empty()).then_some(map);
    connection.publisher().publish(subject.to_owned(), headers, body.into()).await?.await
}

/// Any number of things at once.
pub(crate) fn shared<T>(value: T) -> Arc<T> {
    Arc::new(value)
}
