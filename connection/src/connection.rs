//! One connection to NATS with what hangs on it. Cheap to clone; all clones are the same connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::{ContextBuilder, RequestErrorKind};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{Context, kv};
use async_nats::{Client, SubscribeError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stepwell_shared::ids::Namespace;
use stepwell_shared::limits::MAX_MESSAGE_BYTES;
use stepwell_shared::shard::{Shard, Shards};
use stepwell_shared::subject::{Bucket, Stream};
use thiserror::Error;
use tokio::sync::OnceCell;

use crate::publisher::Publisher;
use crate::replies::{Expected, Replies};

/// Longest wait for an answer of JetStream's API. A leader election takes up to nine seconds.
const API_TIMEOUT: Duration = Duration::from_secs(10);

/// What a stream of tasks says in its metadata where there is more than one.
pub(crate) const SHARDS_METADATA: &str = "stepwell_shards";

/// Room for headers within the server's `max_payload`.
const HEADER_BYTES: usize = 8 * 1024;

/// A connection to NATS, in one namespace.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    jetstream: Context,
    namespace: Namespace,
    publisher: Publisher,
    replies: Replies,
    history_replicas: OnceCell<usize>,
    shards: OnceCell<Shards>,
    heard: Heard,
}

/// Something that was said about the connection and may be asked for later.
#[derive(Clone, Debug, Default)]
pub(crate) struct Word(Arc<Mutex<Option<String>>>);

impl Word {
    pub(crate) fn set(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    pub(crate) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is heard while the connection is used and repaired.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    /// What the server complained about last.
    pub(crate) complaint: Word,
    /// Why the last try to connect again failed, until one succeeds.
    pub(crate) trouble: Word,
}

/// Why a request to JetStream's API failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JetStreamError {
    /// Nobody answers the API.
    #[error("JetStream does not answer; it is not enabled for this account, or has no leader right now")]
    Unavailable,
    /// No answer in time.
    #[error("JetStream did not answer within {} s", API_TIMEOUT.as_secs())]
    TimedOut,
    /// It answered with an error.
    #[error("JetStream refused: {description} (code {code}, error {err_code})")]
    Refused {
        /// The HTTP-like class of the error.
        code: usize,
        /// The JetStream error number.
        err_code: u64,
        /// What the server said.
        description: String,
    },
    /// The request could not be sent, or the answer not be read.
    #[error("JetStream could not be asked: {0}")]
    Other(String),
}

impl JetStreamError {
    /// Whether what was asked for does not exist.
    #[must_use]
    pub fn not_found(&self) -> bool {
        matches!(self, Self::Refused { code: 404, .. })
    }
}

impl Connection {
    pub(crate) async fn start(
        client: Client,
        namespace: Namespace,
        heard: Heard,
    ) -> Result<Self, SubscribeError> {
        let publisher = Publisher::start(&client).await?;
        let replies = Replies::start(&client).await?;
        let jetstream = ContextBuilder::new().timeout(API_TIMEOUT).build(client.clone());
        let (history_replicas, shards) = (OnceCell::new(), OnceCell::new());
        let inner =
            Inner { client, jetstream, namespace, publisher, replies, history_replicas, shards, heard };
        Ok(Self(Arc::new(inner)))
    }

    /// The NATS client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// JetStream through the NATS client.
    #[must_use]
    pub fn jetstream(&self) -> &Context {
        &self.0.jetstream
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.0.namespace
    }

    /// Publishing with acknowledgements.
    #[must_use]
    pub fn publisher(&self) -> &Publisher {
        &self.0.publisher
    }

    /// Whether the connection stands now. When it does not, it is being repaired.
    #[must_use]
    pub fn connected(&self) -> bool {
        match self.0.client.connection_state() {
            State::Connected => true,
            State::Pending | State::Disconnected => false,
        }
    }

    /// What the server complained about last, such as a missing permission. It never says which request
    /// it means: that one just gets no answer.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        self.0.heard.complaint.get()
    }

    /// Why the connection does not stand, if it does not: not more than "not connected" before the first
    /// try to connect again has failed.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        if self.connected() {
            return None;
        }
        let why = self.0.heard.trouble.get();
        Some(
            why.map_or_else(|| "not connected to NATS".into(), |why| format!("not connected to NATS: {why}")),
        )
    }

    /// The largest body that one message may have: larger ones must be sent in chunks.
    #[must_use]
    pub fn max_body(&self) -> usize {
        max_body(&self.0.client)
    }

    /// A bucket of the namespace.
    ///
    /// # Errors
    /// When the namespace is not provisioned, or JetStream does not answer.
    pub async fn bucket(&self, bucket: Bucket) -> Result<kv::Store, JetStreamError> {
        let store = self.0.jetstream.get_key_value(bucket.name(&self.0.namespace)).await;
        store.map_err(|error| JetStreamError::Other(error.to_string()))
    }

    /// Makes a subject on which one answer is expected, of any number of chunks.
    #[must_use]
    pub fn expect_answer(&self) -> Expected {
        self.0.replies.expect()
    }

    /// Asks JetStream's API, `$JS.API.<verb>`.
    ///
    /// # Errors
    /// [`JetStreamError`].
    pub async fn api<T: DeserializeOwned>(
        &self,
        verb: String,
        body: &impl Serialize,
    ) -> Result<T, JetStreamError> {
        let answer: Result<Response<T>, _> = self.0.jetstream.request(verb, body).await;
        match answer {
            Ok(Response::Ok(answer)) => Ok(answer),
            Ok(Response::Err { error }) => Err(JetStreamError::Refused {
                code: error.code(),
                err_code: error.error_code().0,
                description: error.to_string(),
            }),
            Err(error) => Err(match error.kind() {
                RequestErrorKind::NoResponders => JetStreamError::Unavailable,
                RequestErrorKind::TimedOut => JetStreamError::TimedOut,
                RequestErrorKind::InvalidSubject | RequestErrorKind::Other => {
                    JetStreamError::Other(error.to_string())
                }
            }),
        }
    }

    /// Over how many streams tasks and histories are spread in the namespace. Asked once: it never changes. The first
    /// stream of tasks says it, which every process that needs to know may look at.
    ///
    /// # Errors
    /// [`JetStreamError`]; [`JetStreamError::not_found`] when the namespace does not exist yet.
    pub async fn shards(&self) -> Result<Shards, JetStreamError> {
        let ask = async || {
            let name = Stream::Tasks(Shard::FIRST).name(&self.0.namespace);
            let info: async_nats::jetstream::stream::Info =
                self.api(format!("STREAM.INFO.{name}"), &()).await?;
            let Some(text) = info.config.metadata.get(SHARDS_METADATA) else { return Ok(Shards::ONE) };
            text.parse().map_err(|error| {
                JetStreamError::Other(format!("{SHARDS_METADATA} in the metadata of {name}: {error}"))
            })
        };
        self.0.shards.get_or_try_init(ask).await.copied()
    }

    pub(crate) fn replies(&self) -> &Replies {
        &self.0.replies
    }

    /// How many replicas the history has, asked once: it decides whether a read from the nearest one
    /// may be behind.
    pub(crate) async fn history_replicas(&self) -> Result<usize, JetStreamError> {
        let ask = async || {
            let name = Stream::History(Shard::FIRST).name(&self.0.namespace);
            let info: async_nats::jetstream::stream::Info =
                self.api(format!("STREAM.INFO.{name}"), &()).await?;
            Ok(info.config.num_replicas)
        };
        self.0.history_replicas.get_or_try_init(ask).await.copied()
    }
}

pub(crate) fn max_body(client: &Client) -> usize {
    let of_server = client.try_server_info().map_or(usize::MAX, |info| info.max_payload);
    MAX_MESSAGE_BYTES.min(of_server.saturating_sub(HEADER_BYTES))
}
