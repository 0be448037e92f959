//! Requests to the API of the orchestrators, for what is answered and not recorded.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
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

/// After this time without an answer the same is asked once more, of whoever takes it: the orchestrator that
/// took it first may be gone. Nothing that is asked here changes anything.
const ASK_AGAIN: Duration = Duration::from_secs(5);

impl Client {
    /// Asks `api.<verb>`.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        verb: &str,
        request: &impl Serialize,
    ) -> Result<T, RequestError> {
        let subject = subject::api(self.connection().namespace(), verb);
        let answer = self.first_answer(&subject, encode(request).into()).await?;
        match serde_json::from_slice::<ApiAnswer<T>>(&answer) {
            Ok(ApiAnswer::Ok(answer)) => Ok(answer),
            Ok(ApiAnswer::Error(error)) => Err(error.into()),
            Err(error) => Err(RequestError::Answer(error.to_string())),
        }
    }

    /// The first answer of those that are asked.
    async fn first_answer(&self, subject: &str, body: Bytes) -> Result<Vec<u8>, chunked::RequestError> {
        let ask = |time| chunked::request(self.connection(), subject, body.clone(), time);
        let mut asked = FuturesUnordered::from_iter([ask(TIMEOUT)]);
        for number in 1.. {
            match tokio::time::timeout(ASK_AGAIN, asked.next()).await {
                // A later one was given less time than was waited in all.
                Ok(Some(Err(chunked::RequestError::TimedOut { .. }))) => break,
                Ok(Some(answer)) => return answer,
                Ok(None) => break,
                Err(_) => asked.push(ask(TIMEOUT.saturating_sub(ASK_AGAIN * number))),
            }
        }
        Err(chunked::RequestError::TimedOut { after: TIMEOUT })
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
