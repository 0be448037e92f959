//! Requests to the API of the orchestrators, for what is answered and not recorded.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stepwell_connection::chunked;
use stepwell_shared::api::ApiAnswer;
use stepwell_shared::encoding::encode;
use stepwell_shared::limits::MAX_PAYLOAD_BYTES;
use stepwell_shared::payload::Payload;
use stepwell_shared::subject;

use super::Client;
use super::error::RequestError;

/// Longest wait for an answer. A query may have to replay a long history first.
const TIMEOUT: Duration = Duration::from_secs(30);

impl Client {
    /// Asks `api.<verb>`.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        verb: &str,
        request: &impl Serialize,
    ) -> Result<T, RequestError> {
        let subject = subject::api(self.connection().namespace(), verb);
        let answer = chunked::request(self.connection(), subject, encode(request), TIMEOUT).await?;
        match serde_json::from_slice::<ApiAnswer<T>>(&answer) {
            Ok(ApiAnswer::Ok(answer)) => Ok(answer),
            Ok(ApiAnswer::Error(error)) => Err(error.into()),
            Err(error) => Err(RequestError::Answer(error.to_string())),
        }
    }
}

/// A value for a message; `what` begins the sentence if it cannot be sent.
pub(crate) fn payload<T: Serialize + ?Sized>(what: &str, value: &T) -> Result<Payload, RequestError> {
    let payload = Payload::encode(value)
        .map_err(|error| RequestError::Payload(format!("{what} has no JSON form: {error}")))?;
    if payload.size() > MAX_PAYLOAD_BYTES {
        return Err(RequestError::Payload(format!(
            "{what} has {} bytes of JSON; at most {MAX_PAYLOAD_BYTES} are allowed. Keep large data in an object \
             store and send its key",
            payload.size()
        )));
    }
    Ok(payload)
}
