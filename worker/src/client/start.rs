//! The start of a workflow, with its options.

use std::future::IntoFuture;
use std::marker::PhantomData;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use stepwell_encryption::Place;
use stepwell_shared::api::{ApiError, Verdict};
use stepwell_shared::encoding::{VERSION, encode};
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::ids::{Name, WorkflowId};
use stepwell_shared::limits::MAX_DURATION_MS;
use stepwell_shared::message::StartMessage;
use stepwell_shared::payload::Payload;
use stepwell_shared::subject::EventAddress;
use uuid::Uuid;

use super::Client;
use super::api::payload;
use super::error::{RequestError, StartError};
use super::events::{DEFAULT_TIMEOUT, Outgoing};
use super::handle::WorkflowHandle;

/// A workflow about to be started; made by [`Client::start`]. Await it to start the workflow.
///
/// Awaiting returns when the start is recorded. If the connection or the orchestrator fails meanwhile, the
/// start is repeated under its request id, so that there is one run whatever happens.
#[must_use = "a workflow starts when this is awaited"]
#[derive(Debug)]
pub struct Start<O> {
    client: Client,
    workflow_type: String,
    id: String,
    input: Result<Payload, RequestError>,
    queue: String,
    request_id: Option<String>,
    run_timeout: Option<Duration>,
    execution_timeout: Option<Duration>,
    timeout: Duration,
    returns: PhantomData<fn() -> O>,
}

impl<O> Start<O> {
    pub(crate) fn new(client: Client, workflow_type: &str, id: String, input: &impl Serialize) -> Self {
        Self {
            client,
            workflow_type: workflow_type.to_owned(),
            id,
            input: payload("the input", input),
            queue: "default".to_owned(),
            request_id: None,
            run_timeout: None,
            execution_timeout: None,
            timeout: DEFAULT_TIMEOUT,
            returns: PhantomData,
        }
    }

    /// The queue whose workers run it, instead of the one that the workflow names.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = queue.into();
        self
    }

    /// Your own id for this request: a start with the id of one that was carried out returns a handle to its
    /// run, open or closed. Without this every start is a request of its own.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    /// Longest time for this run; then its code is asked to clean up.
    pub fn run_timeout(mut self, longest: Duration) -> Self {
        self.run_timeout = Some(longest);
        self
    }

    /// Longest time for the execution over all its runs. Today an execution is one run, so the shorter of this and
    /// [`Start::run_timeout`] counts.
    pub fn execution_timeout(mut self, longest: Duration) -> Self {
        self.execution_timeout = Some(longest);
        self
    }

    /// Waits so long for the confirmation; 30 s when nothing is said.
    pub fn timeout(mut self, longest: Duration) -> Self {
        self.timeout = longest;
        self
    }

    async fn send(self) -> Result<WorkflowHandle<O>, StartError> {
        let id = WorkflowId::new(&self.id).map_err(RequestError::Invalid)?;
        let workflow_type = Name::new(&self.workflow_type).map_err(RequestError::Invalid)?;
        let mut input = self.input?;
        let place = Place::WorkflowInput(&workflow_type);
        self.client.payloads().seal(&id, place, &mut input).map_err(RequestError::from)?;
        let message = StartMessage {
            v: VERSION,
            queue: Name::new(&self.queue).map_err(RequestError::Invalid)?,
            input,
            request_id: Some(self.request_id.unwrap_or_else(for_this_call)),
            run_timeout_ms: self.run_timeout.map(ms),
            execution_timeout_ms: self.execution_timeout.map(ms),
        };
        let event = Outgoing {
            id: &id,
            address: EventAddress::Start { workflow_type },
            body: encode(&message).into(),
            timeout: self.timeout,
        };
        match self.client.send(event).await? {
            Verdict::Accepted { run_id } | Verdict::Duplicate { run_id } => {
                Ok(WorkflowHandle::new(self.client, self.id, Some(run_id)))
            }
            Verdict::Rejected(ApiError { code: ErrorCode::AlreadyOpen, run_id: Some(run_id), .. }) => {
                Err(StartError::AlreadyOpen { id: self.id, run_id })
            }
            Verdict::Rejected(error) => Err(RequestError::from(error).into()),
        }
    }
}

impl<O: 'static> IntoFuture for Start<O> {
    type Output = Result<WorkflowHandle<O>, StartError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        self.send().boxed()
    }
}

/// A request id for repeats of this call alone; orchestrators do not remember those that begin so for longer
/// than their run is the latest one.
fn for_this_call() -> String {
    format!("auto-{}", Uuid::now_v7())
}

fn ms(duration: Duration) -> u64 {
    // Rounded up: nothing is early.
    let ms = duration.as_nanos().div_ceil(1_000_000);
    u64::try_from(ms).unwrap_or(u64::MAX).min(MAX_DURATION_MS)
}
