//! The namespace's secret, from which all tokens are made.

use stepwell_connection::{Connection, JetStreamError};
use stepwell_shared::encoding::{VERSION, decode, encode};
use stepwell_shared::subject::Bucket;

/// The namespace's secret for task tokens, made by the first orchestrator that wants it.
pub(crate) async fn secret(connection: &Connection) -> Result<Vec<u8>, JetStreamError> {
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
