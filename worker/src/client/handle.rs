//! A handle to one workflow: what can be said to it and asked of it.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use stepwell_encryption::{Place, shown};
use stepwell_shared::api::{Description, HistoryAnswer, QueryAnswer, QueryRequest, RunRequest, Verdict};
use stepwell_shared::encoding::{VERSION, encode};
use stepwell_shared::history::Record;
use stepwell_shared::ids::{Name, RunId, Seq, WorkflowId};
use stepwell_shared::message::{CompensationAction, CompensationMessage, SignalMessage, StopMessage};
use stepwell_shared::subject::EventAddress;
use stepwell_worker_replay::{Query, Signal};
use uuid::Uuid;

use super::Client;
use super::api::payload;
use super::error::{RequestError, ResultError};
use super::events::{DEFAULT_TIMEOUT, Outgoing};

/// A workflow that returns an `O`. Cheap to clone. Dropping it does nothing to the workflow.
///
/// From [`Client::start`] its result, description and history are those of that run; from [`Client::workflow`] those of
/// the latest run of the id. Signals, cancellation, termination, queries and decisions on compensations go to the run that
/// the id has now, in both cases.
pub struct WorkflowHandle<O> {
    client: Client,
    id: String,
    run_id: Option<RunId>,
    returns: PhantomData<fn() -> O>,
}

impl<O> WorkflowHandle<O> {
    pub(crate) fn new(client: Client, id: String, run_id: Option<RunId>) -> Self {
        Self { client, id, run_id, returns: PhantomData }
    }

    /// The workflow id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The run, if the handle stands for a certain one.
    #[must_use]
    pub fn run_id(&self) -> Option<&RunId> {
        self.run_id.as_ref()
    }

    /// Sends a signal. Returns when it is recorded.
    ///
    /// # Errors
    /// [`RequestError`]; with `not_found` when there is no such workflow, with `already_closed` when its run
    /// is closed or its code has returned.
    pub async fn signal<T: Serialize>(&self, signal: Signal<T>, payload: T) -> Result<(), RequestError> {
        self.signal_untyped(signal.name(), payload).await
    }

    /// The same for a signal that is known by name only.
    ///
    /// # Errors
    /// As [`signal`](Self::signal).
    pub async fn signal_untyped(&self, name: &str, value: impl Serialize) -> Result<(), RequestError> {
        let (id, name) = (WorkflowId::new(&self.id)?, Name::new(name)?);
        let mut payload = payload("the signal", &value)?;
        self.client.payloads().seal(&id, Place::Signal(&name), &mut payload)?;
        let message = SignalMessage { v: VERSION, payload, request_id: Some(Uuid::now_v7().to_string()) };
        self.send(EventAddress::Signal { name }, &message).await
    }

    /// Asks the workflow to stop. Its code may clean up first; what it did is undone.
    ///
    /// # Errors
    /// [`RequestError`]; with `not_found` when there is no such workflow, with `already_closed` when its run
    /// is closed or its code has returned.
    pub async fn cancel(&self, reason: impl Into<String>) -> Result<(), RequestError> {
        self.send(EventAddress::Cancel, &StopMessage { v: VERSION, reason: reason.into() }).await
    }

    /// Ends the workflow without asking its code. Nothing is undone.
    ///
    /// # Errors
    /// [`RequestError`]; with `not_found` when there is no such workflow, with `already_closed` when its run
    /// is closed.
    pub async fn terminate(&self, reason: impl Into<String>) -> Result<(), RequestError> {
        self.send(EventAddress::Terminate, &StopMessage { v: VERSION, reason: reason.into() }).await
    }

    /// Runs a compensation again that failed for good and holds the workflow up.
    ///
    /// # Errors
    /// [`RequestError`]; with `not_stuck` when that compensation does not wait for a decision.
    pub async fn retry_compensation(&self, step: Seq, reason: impl Into<String>) -> Result<(), RequestError> {
        self.resolve(step, CompensationAction::Retry, reason.into()).await
    }

    /// Goes on without a compensation that failed for good, because somebody undid the step by hand.
    ///
    /// # Errors
    /// [`RequestError`]; with `not_stuck` when that compensation does not wait for a decision.
    pub async fn skip_compensation(&self, step: Seq, reason: impl Into<String>) -> Result<(), RequestError> {
        self.resolve(step, CompensationAction::Skip, reason.into()).await
    }

    /// Asks the workflow's code something. Works on closed workflows, too, while there are workers for it.
    ///
    /// # Errors
    /// [`RequestError`]; with `query_failed` when the code does not answer such a query.
    pub async fn query<A, R>(&self, query: Query<A, R>, argument: A) -> Result<R, RequestError>
    where
        A: Serialize,
        R: DeserializeOwned,
    {
        self.query_payload(query.name(), &argument).await
    }

    /// The same for a query that is known by name only.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn query_untyped(&self, name: &str, argument: impl Serialize) -> Result<Value, RequestError> {
        self.query_payload(name, &argument).await
    }

    /// Where the workflow stands and what it waits for. What this client cannot decrypt stays as it is stored.
    ///
    /// # Errors
    /// [`RequestError`]; with `not_found` when there is no such run.
    pub async fn describe(&self) -> Result<Description, RequestError> {
        let mut description: Description = self.client.ask("describe", &self.request(0)).await?;
        self.client.payloads().reveal_description(&mut description);
        Ok(description)
    }

    /// What is recorded of the run, oldest first. What this client cannot decrypt stays as it is stored.
    ///
    /// # Errors
    /// [`RequestError`]; with `not_found` when there is no such run.
    pub async fn history(&self) -> Result<Vec<Record>, RequestError> {
        let id = WorkflowId::new(&self.id)?;
        let mut records: Vec<Record> = Vec::new();
        loop {
            let after = records.last().map_or(0, |record| record.index);
            let mut answer: HistoryAnswer = self.client.ask("history", &self.request(after)).await?;
            answer.records.iter_mut().for_each(|record| self.client.payloads().reveal_record(&id, record));
            let nothing = answer.records.is_empty();
            records.extend(answer.records);
            if nothing || !answer.more {
                return Ok(records);
            }
        }
    }

    /// Waits until the workflow has ended, however long that takes, and gives what it returned.
    ///
    /// # Errors
    /// [`ResultError`] when it ended otherwise, or there is no such run.
    pub async fn result(&self) -> Result<O, ResultError>
    where
        O: DeserializeOwned,
    {
        super::result::result(self).await
    }

    /// A handle to the same run that takes and gives any JSON.
    #[must_use]
    pub fn untyped(&self) -> WorkflowHandle<Value> {
        WorkflowHandle::new(self.client.clone(), self.id.clone(), self.run_id.clone())
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn request(&self, after: u64) -> RunRequest {
        let run_id = self.run_id.as_ref().map(ToString::to_string);
        RunRequest { id: self.id.clone(), run_id, wait_ms: 0, after, limit: 0 }
    }

    async fn query_payload<R: DeserializeOwned>(
        &self,
        name: &str,
        argument: &impl Serialize,
    ) -> Result<R, RequestError> {
        let (id, query, payloads) = (WorkflowId::new(&self.id)?, Name::new(name)?, self.client.payloads());
        let mut argument = payload("the query's argument", argument)?;
        payloads.seal(&id, Place::QueryArgument(&query), &mut argument)?;
        let request = QueryRequest { id: self.id.clone(), name: name.to_owned(), argument };
        let mut answer: QueryAnswer =
            self.client.ask("query", &request).await.map_err(|error| self.revealed(&id, &query, error))?;
        let place = Place::QueryAnswer(&query);
        let opened = payloads.open(&id, place, &mut answer.result);
        opened.map_err(|error| RequestError::Answer(error.to_string()))?;
        answer.result.decode().map_err(|error| {
            let expected = std::any::type_name::<R>();
            RequestError::Answer(format!("it is not a `{expected}`: {error}"))
        })
    }

    /// The orchestrator passes on what the code said of a query.
    fn revealed(&self, id: &WorkflowId, query: &Name, error: RequestError) -> RequestError {
        let RequestError::Rejected(mut refused) = error else { return error };
        let place = Place::QueryFailure(query);
        if self.client.payloads().open_text(id, place, &mut refused.message).is_err() {
            refused.message = shown(&refused.message).into_owned();
        }
        RequestError::Rejected(refused)
    }

    async fn resolve(
        &self,
        seq: Seq,
        action: CompensationAction,
        reason: String,
    ) -> Result<(), RequestError> {
        let message = CompensationMessage { v: VERSION, action, reason };
        self.send(EventAddress::Compensation { seq }, &message).await
    }

    async fn send(&self, address: EventAddress, message: &impl Serialize) -> Result<(), RequestError> {
        let id = WorkflowId::new(&self.id)?;
        let body = encode(message).into();
        let event = Outgoing { id: &id, address, body, timeout: DEFAULT_TIMEOUT };
        match self.client.send(event).await? {
            Verdict::Accepted { .. } | Verdict::Duplicate { .. } => Ok(()),
            Verdict::Rejected(error) => Err(error.into()),
        }
    }
}

impl<O> Clone for WorkflowHandle<O> {
    fn clone(&self) -> Self {
        Self::new(self.client.clone(), self.id.clone(), self.run_id.clone())
    }
}

impl<O> fmt::Debug for WorkflowHandle<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkflowHandle").field("id", &self.id).field("run_id", &self.run_id).finish()
    }
}
