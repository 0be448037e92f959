//! Asking the orchestrator.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stepwell_connection::chunked::{RequestError, request};
use stepwell_connection::{Connection, ConnectionOptions};
use stepwell_shared::api::ApiAnswer;
use stepwell_shared::{encoding, subject};

use crate::exit::{Exit, Failure};
use crate::refusal;

/// Longest wait for an answer. What changes something is answered after it was committed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Longest wait for an answer, beyond what the orchestrator was asked to wait. Short, because an
/// orchestrator that was killed never answers and another one may be asked instead.
const LATENESS_TOLERATED: Duration = Duration::from_secs(5);

/// How often complaints of the server are looked for while an answer is waited for.
const COMPLAINT_INTERVAL: Duration = Duration::from_millis(100);

/// The API of one namespace.
pub(crate) struct Api {
    connection: Connection,
    url: String,
}

impl Api {
    /// Connects.
    pub(crate) async fn connect(options: &ConnectionOptions) -> Result<Self, Failure> {
        let connection = options.connect("stepwell-cli").await?;
        Ok(Self { connection, url: options.display_url() })
    }

    /// The connection.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Asks `verb` and waits for the answer.
    pub(crate) async fn call<A: DeserializeOwned>(
        &self,
        verb: &str,
        body: &impl Serialize,
    ) -> Result<A, Failure> {
        self.call_within(verb, body, ANSWER_TIMEOUT).await
    }

    /// As [`Api::call`], where the orchestrator is asked to wait for `patience` before it answers.
    pub(crate) async fn call_waiting<A: DeserializeOwned>(
        &self,
        verb: &str,
        body: &impl Serialize,
        patience: Duration,
    ) -> Result<A, Failure> {
        self.call_within(verb, body, patience + LATENESS_TOLERATED).await
    }

    async fn call_within<A: DeserializeOwned>(
        &self,
        verb: &str,
        body: &impl Serialize,
        timeout: Duration,
    ) -> Result<A, Failure> {
        let subject = subject::api(self.connection.namespace(), verb);
        let body = encoding::encode(body);
        let limit = self.connection.max_body();
        if body.len() > limit {
            let text = format!("the request has {} bytes; the server takes {limit}", body.len());
            return Err(Failure::new(Exit::Usage, text));
        }
        let answer = tokio::select! {
            answer = request(&self.connection, subject, body, timeout) => answer,
            complaint = self.refusal() => {
                let text = format!("NATS does not allow the request: {complaint}");
                return Err(Failure::new(Exit::Permission, text));
            }
        };
        let answer = answer.map_err(|error| self.no_answer(&error))?;
        let answer = encoding::decode_unversioned::<ApiAnswer<A>>(&answer).map_err(|error| {
            Failure::new(Exit::Failure, format!("the orchestrator's answer is not understood here: {error}"))
        })?;
        match answer {
            ApiAnswer::Ok(answer) => Ok(answer),
            ApiAnswer::Error(error) => Err(error.into()),
        }
    }

    /// Waits for the server to complain about a missing permission.
    async fn refusal(&self) -> String {
        loop {
            tokio::time::sleep(COMPLAINT_INTERVAL).await;
            if let Some(complaint) = refusal::heard(&self.connection) {
                return complaint;
            }
        }
    }

    fn no_answer(&self, error: &RequestError) -> Failure {
        let (namespace, url) = (self.connection.namespace(), &self.url);
        match error {
            RequestError::NoResponders => Failure::new(
                Exit::Unavailable,
                format!(
                    "no orchestrator serves the namespace {namespace} at {url}; start one with `stepwell dev` \
                     or `stepwell orchestrator`, or check --namespace and --nats-url"
                ),
            ),
            RequestError::TimedOut { after } => Failure::new(
                Exit::Timeout,
                format!(
                    "the orchestrator did not answer within {} s; what was asked for may have been done or not",
                    after.as_secs()
                ),
            ),
            RequestError::NotSent { .. } => Failure::new(Exit::Unavailable, error.to_string()),
        }
    }
}
