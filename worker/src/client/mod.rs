//! Starting workflows and talking to them, from anywhere.

mod api;
mod error;
mod events;
mod handle;
mod result;
mod start;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use stepwell_connection::{ConnectError, Connection, ConnectionOptions, JetStreamError};
use stepwell_encryption::{Encryption, Payloads};
use stepwell_shared::api::{ListAnswer, ListRequest, RejectedAnswer, WorkersAnswer};
use stepwell_shared::subject::Bucket;
use stepwell_worker_replay::WorkflowDefinition;
use tokio::sync::OnceCell;

pub use error::{RequestError, ResultError, StartError};
pub use handle::WorkflowHandle;
pub use start::Start;

/// Starts workflows and talks to them. Cheap to clone; all clones share a connection.
///
/// ```no_run
/// use stepwell::prelude::*;
///
/// const APPROVE: Signal<bool> = Signal::new("approve");
///
/// #[workflow]
/// async fn review(ctx: WorkflowContext, document: String) -> Result<bool, WorkflowError> {
///     Ok(ctx.receive(APPROVE).await?)
/// }
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::connect("nats://127.0.0.1:4222").await?;
/// let handle = client.start(review, "doc-7", "draft".to_owned()).await?;
/// handle.signal(APPROVE, true).await?;
/// assert!(handle.result().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    connection: Connection,
    payloads: Payloads,
    state: OnceCell<async_nats::jetstream::kv::Store>,
}

impl Client {
    /// Connects to the servers at `url`, without credentials but those in it, in the default namespace.
    ///
    /// # Errors
    /// [`ConnectError`] says what to check.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::with(&ConnectionOptions::to_url(url)).await
    }

    /// Connects as the options say; they are command-line arguments for `clap` as well.
    ///
    /// # Errors
    /// [`ConnectError`] says what to check.
    pub async fn with(options: &ConnectionOptions) -> Result<Self, ConnectError> {
        Ok(Self::on(options.connect("stepwell").await?))
    }

    /// As [`with`](Self::with), and waits for a server to come up.
    ///
    /// # Errors
    /// Only what waiting does not cure: wrong options, refused credentials, TLS.
    pub async fn with_patience(options: &ConnectionOptions) -> Result<Self, ConnectError> {
        Ok(Self::on(options.connect_patiently("stepwell").await?))
    }

    /// Uses a connection that stands.
    #[must_use]
    pub fn on(connection: Connection) -> Self {
        let payloads = Payloads::new(connection.namespace().clone(), None);
        Self(Arc::new(Inner { connection, payloads, state: OnceCell::new() }))
    }

    /// The same client, which encrypts what it sends and decrypts what it gets; workers made of it do, too.
    /// Everybody who is to read payloads of this namespace needs the keys.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use stepwell::{Client, KeyRing};
    ///
    /// let keys = KeyRing::read("/run/secrets/stepwell-keys")?;
    /// let client = Client::connect("nats://127.0.0.1:4222").await?.encrypting(keys);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn encrypting(&self, encryption: impl Into<Encryption>) -> Self {
        let connection = self.0.connection.clone();
        let payloads = Payloads::new(connection.namespace().clone(), Some(encryption.into()));
        Self(Arc::new(Inner { connection, payloads, state: OnceCell::new() }))
    }

    /// Starts a workflow under an id of your choice; at most one run of an id is open at a time.
    ///
    /// The returned value is awaited; before that it takes options. When the await returns a handle, the
    /// start is recorded.
    pub fn start<W: WorkflowDefinition>(
        &self,
        _workflow: W,
        id: impl Into<String>,
        input: W::Input,
    ) -> Start<W::Output> {
        Start::new(self.clone(), W::NAME, id.into(), &input).queue(W::QUEUE)
    }

    /// Starts a workflow that is known by name only, such as one in another language.
    pub fn start_untyped(
        &self,
        workflow: &str,
        id: impl Into<String>,
        input: impl Serialize,
    ) -> Start<Value> {
        Start::new(self.clone(), workflow, id.into(), &input)
    }

    /// A handle to a workflow id, whether or not there is a run of it. It follows the id's latest run.
    pub fn workflow<W: WorkflowDefinition>(
        &self,
        _workflow: W,
        id: impl Into<String>,
    ) -> WorkflowHandle<W::Output> {
        WorkflowHandle::new(self.clone(), id.into(), None)
    }

    /// The same for a workflow whose types are not known here.
    #[must_use]
    pub fn workflow_untyped(&self, id: impl Into<String>) -> WorkflowHandle<Value> {
        WorkflowHandle::new(self.clone(), id.into(), None)
    }

    /// Lists runs, newest first.
    ///
    /// # Errors
    /// [`RequestError`] when no orchestrator answers or the request makes no sense.
    pub async fn list(&self, request: &ListRequest) -> Result<ListAnswer, RequestError> {
        let mut answer: ListAnswer = self.ask("list", request).await?;
        answer.runs.iter_mut().for_each(|run| self.payloads().reveal_summary(run));
        Ok(answer)
    }

    /// The workers that are known now.
    ///
    /// # Errors
    /// [`RequestError`] when no orchestrator answers.
    pub async fn workers(&self) -> Result<WorkersAnswer, RequestError> {
        self.ask("workers", &serde_json::json!({})).await
    }

    /// The newest messages that were set aside because they could not be taken in.
    ///
    /// # Errors
    /// [`RequestError`] when no orchestrator answers.
    pub async fn rejected(&self) -> Result<RejectedAnswer, RequestError> {
        self.ask("rejected", &serde_json::json!({})).await
    }

    /// The connection.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.0.connection
    }

    /// How payloads are encrypted.
    pub(crate) fn payloads(&self) -> &Payloads {
        &self.0.payloads
    }

    /// The `state` bucket, opened once.
    async fn state(&self) -> Result<&async_nats::jetstream::kv::Store, JetStreamError> {
        self.0.state.get_or_try_init(|| self.0.connection.bucket(Bucket::State)).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("namespace", self.connection().namespace()).finish_non_exhaustive()
    }
}
