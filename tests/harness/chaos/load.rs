//! The outside: starts workflows at a steady rate, gives each what its program waits for, repeats what nobody
//! confirmed under the same request id, and decides about compensations that failed for good.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::HeaderMap;
use serde_json::Value;
use stepwell::shared::api::{
    ApiAnswer, CompensationState, ListRequest, QueryAnswer, QueryRequest, Receipt, SignalRequest,
};
use stepwell::shared::encoding::{VERSION, encode};
use stepwell::shared::error_code::ErrorCode;
use stepwell::shared::headers::MESSAGE_ID;
use stepwell::shared::ids::Name;
use stepwell::shared::message::SignalMessage;
use stepwell::shared::subject::{self, EventAddress};
use stepwell::{Client, Payload, RequestError, ResultError, StartError, Status, WorkflowHandle, WorkflowId};
use stepwell_connection::PublishError;
use stepwell_shared::command::Command;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::book::{Book, Outcome, Sent};
use super::desk::gate;
use super::effects::Done;
use super::plan::{Plan, Whim};
use crate::gates::Gates;
use stepwell_simulation::code::{STEPS_DONE, SignalBody, TYPE, signal_name};
use stepwell_simulation::program::{Work, signal_value};

/// Most workflows that are open at once, metronomes not counted: a run is about faults, not about a backlog.
const MOST_OPEN: usize = 60;

/// Longest wait for a confirmation; then its outcome is unknown.
const CONFIRMATION: Duration = Duration::from_secs(8);

/// Pause before what nobody confirmed is sent again.
const AGAIN: Duration = Duration::from_millis(400);

/// How often the ledger and the list of stuck runs are looked at.
const LOOK: Duration = Duration::from_millis(300);

/// What all that is outside shares.
#[derive(Clone)]
pub(crate) struct Outside {
    pub(crate) client: Client,
    pub(crate) book: Arc<Book>,
    pub(crate) gates: Gates,
    pub(crate) done: Arc<Mutex<Done>>,
    /// No new workflows from then on.
    pub(crate) enough: CancellationToken,
    /// Everything has come to rest, or is given up.
    pub(crate) over: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Outside {
    /// Begins: so many workflows a second, a metronome for each partition, somebody who looks after stuck runs.
    pub(crate) fn begin(&self, seed: u64, per_second: f64, partitions: u32) {
        self.spawn(self.clone().look());
        self.spawn(self.clone().operate());
        self.spawn(self.clone().start_all(seed, per_second));
        for partition in 0..partitions {
            self.spawn(self.clone().metronome(partition, partitions));
        }
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let over = self.over.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = work => {}
                () = over.cancelled() => {}
            }
        });
    }

    async fn start_all(self, seed: u64, per_second: f64) {
        let open = Arc::new(Semaphore::new(MOST_OPEN));
        let mut beat = tokio::time::interval(Duration::from_secs_f64(1.0 / per_second));
        // After a time without room the rate stays what it is.
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for number in 0.. {
            tokio::select! {
                _ = beat.tick() => {}
                () = self.enough.cancelled() => return,
            }
            let Ok(room) = Arc::clone(&open).acquire_owned().await else { return };
            if self.enough.is_cancelled() {
                return;
            }
            let this = self.clone();
            self.spawn(async move {
                this.live(Plan::nth(seed, number)).await;
                drop(room);
            });
        }
    }

    async fn metronome(self, partition: u32, partitions: u32) {
        for generation in 0.. {
            if self.enough.is_cancelled() {
                return;
            }
            self.live(Plan::metronome(partition, partitions, generation)).await;
        }
    }

    /// The whole life of one workflow.
    async fn live(&self, plan: Plan) {
        self.book.ask(&plan);
        let Some(handle) = self.start(&plan).await else { return };
        self.spawn(self.clone().accompany(plan.clone()));
        let closed = self.result(&handle).await;
        self.book.change(&plan.id, |asked| asked.closed = Some(closed));
    }

    async fn start(&self, plan: &Plan) -> Option<WorkflowHandle<Value>> {
        loop {
            let start = self.client.start_untyped(TYPE, plan.id.clone(), &plan.program);
            let start = start.request_id(format!("start {}", plan.id)).timeout(CONFIRMATION);
            match start.await {
                Ok(handle) => {
                    self.book.operation("start", Outcome::Ok);
                    let run_id = handle.run_id().map(ToString::to_string);
                    self.book.change(&plan.id, |asked| asked.run_id = run_id);
                    return Some(handle);
                }
                Err(StartError::Request(error)) if unknown(&error) => {
                    self.book.operation("start", Outcome::Unknown);
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => {
                    // Nobody else starts this id: there is no reason to refuse it.
                    self.book.refused("start", format!("{}: {error}", plan.id));
                    self.book.finding(format!("the start of {} was refused: {error}", plan.id));
                    return None;
                }
            }
        }
    }

    async fn result(&self, handle: &WorkflowHandle<Value>) -> (Status, Option<Value>) {
        loop {
            match handle.result().await {
                Ok(value) => return (Status::Completed, Some(value)),
                Err(ResultError::Failed { status, .. }) => return (status, None),
                Err(error @ (ResultError::NotFound { .. } | ResultError::Type { .. })) => {
                    self.book.finding(format!("{} was confirmed, and now: {error}", handle.id()));
                    return std::future::pending().await;
                }
                Err(ResultError::Request(_)) => {
                    self.book.operation("result", Outcome::Unknown);
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Gives a run what its program waits for, and what it does not.
    async fn accompany(self, mut plan: Plan) {
        for number in plan.answer.signals.clone() {
            let (pause, blind) = (plan.dice.between(0, 2_500), plan.dice.chance(500));
            let uid = plan.dice.below(1 << 50);
            let (this, id) = (self.clone(), plan.id.clone());
            self.spawn(async move {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                this.signal(id, number, uid, blind).await;
            });
        }
        if plan.dice.chance(300) {
            self.spawn(self.clone().query(plan.clone(), plan.dice.between(0, 3_000)));
        }
        let handle = self.client.workflow_untyped(plan.id.clone());
        match plan.whim {
            Whim::Nothing => {}
            Whim::Cancel(after_ms) | Whim::Terminate(after_ms) => {
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
                self.book.change(&plan.id, |asked| asked.disturbed = true);
                return self.stop(&handle, plan.whim).await;
            }
        }
        let Some(node) = plan.program.last_work().map(|work| work.node) else { return };
        while !self.done.lock().unwrap_or_else(PoisonError::into_inner).is_done(&plan.id, node) {
            tokio::time::sleep(LOOK).await;
        }
        self.stop(&handle, Whim::Cancel(0)).await;
    }

    async fn stop(&self, handle: &WorkflowHandle<Value>, whim: Whim) {
        loop {
            let stopped = match whim {
                Whim::Terminate(_) => handle.terminate("on a whim").await,
                Whim::Nothing | Whim::Cancel(_) => handle.cancel("told to").await,
            };
            match stopped {
                Ok(()) => return self.book.operation("stop", Outcome::Ok),
                Err(error) if unknown(&error) => {
                    self.book.operation("stop", Outcome::Unknown);
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => return self.book.refused("stop", format!("{}: {error}", handle.id())),
            }
        }
    }

    /// Sends a signal until its outcome is known: over the API with a request id, or as a message whose id the
    /// stream recognises.
    async fn signal(&self, id: String, number: u32, uid: u64, blind: bool) {
        let index = {
            let mut pages = self.book.open();
            pages.signals.push(Sent { workflow_id: id.clone(), uid, settled: false, accepted: None });
            pages.signals.len() - 1
        };
        let body = SignalBody { number, value: signal_value(number), uid };
        let name = signal_name(number);
        let payload = Payload::encode(&body).unwrap_or_default();
        let accepted = loop {
            let sent = if blind {
                self.publish_signal(&id, name, payload.clone(), uid).await
            } else {
                let request = SignalRequest {
                    id: id.clone(),
                    name: name.to_owned(),
                    payload: payload.clone(),
                    request_id: Some(format!("signal {number}")),
                };
                let sent: Result<Receipt, _> = self.ask("signal", &request).await;
                sent.map(|_| Outcome::Ok)
            };
            match sent {
                // Stored, which is all that a plain message says.
                Ok(outcome) => {
                    self.book.operation("signal", outcome);
                    break (!blind).then_some(true);
                }
                Err(None) => {
                    self.book.operation("signal", Outcome::Unknown);
                    tokio::time::sleep(AGAIN).await;
                }
                Err(Some(why)) => {
                    self.book.refused("signal", format!("{id}: {why}"));
                    break Some(false);
                }
            }
        };
        if let Some(sent) = self.book.open().signals.get_mut(index) {
            sent.accepted = accepted;
            sent.settled = true;
        }
    }

    /// Publishes; `Err(None)`: not known whether it is stored, and to be repeated.
    async fn publish_signal(
        &self,
        id: &str,
        name: &str,
        payload: Payload,
        uid: u64,
    ) -> Result<Outcome, Option<String>> {
        let invalid = |error: &dyn std::fmt::Display| Some(error.to_string());
        let id = WorkflowId::new(id).map_err(|error| invalid(&error))?;
        let address = EventAddress::Signal { name: Name::new(name).map_err(|error| invalid(&error))? };
        let connection = self.client.connection();
        let subject = subject::event(connection.namespace(), &id, &address);
        let body = encode(&SignalMessage { v: VERSION, payload, request_id: None });
        let mut headers = HeaderMap::new();
        headers.insert(MESSAGE_ID, format!("chaos-{uid}"));
        let published = match connection.publisher().publish(subject, Some(headers), body.into()).await {
            Ok(pending) => pending.await,
            Err(error) => Err(error),
        };
        match published {
            Ok(_) => Ok(Outcome::Ok),
            Err(PublishError::UnknownOutcome | PublishError::NoResponders) => Err(None),
            // A cluster that has no leader says so in many ways; the message's id makes repeats harmless.
            Err(PublishError::Refused { code: 503, .. }) => Err(None),
            Err(
                error @ (PublishError::Closed
                | PublishError::WrongLastSequence
                | PublishError::StorageFull { .. }
                | PublishError::Refused { .. }),
            ) => Err(Some(error.to_string())),
        }
    }

    /// Asks how far a run is: it goes forward only, and not past the end.
    async fn query(self, plan: Plan, after_ms: u64) {
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        let steps = plan.program.ops.len() as u64;
        let mut before = 0;
        for _ in 0..3 {
            let argument = Payload::null();
            let request = QueryRequest { id: plan.id.clone(), name: STEPS_DONE.name().to_owned(), argument };
            match self.ask::<_, QueryAnswer>("query", &request).await {
                Ok(answer) => {
                    self.book.operation("query", Outcome::Ok);
                    let now = answer.result.decode::<u64>().unwrap_or(u64::MAX);
                    if now < before || now > steps {
                        let text = format!("{}: {now} of {steps} steps done, {before} before", plan.id);
                        self.book.finding(text);
                    }
                    before = now;
                }
                Err(None) => self.book.operation("query", Outcome::Unknown),
                Err(Some(why)) => self.book.refused("query", format!("{}: {why}", plan.id)),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// One request to the API. `Err(None)`: no answer, or that nobody can give one now.
    async fn ask<B: serde::Serialize, T: serde::de::DeserializeOwned>(
        &self,
        verb: &str,
        body: &B,
    ) -> Result<T, Option<String>> {
        let connection = self.client.connection();
        let subject = subject::api(connection.namespace(), verb);
        let request = connection.client().request(subject, encode(body).into());
        let answer = tokio::time::timeout(CONFIRMATION, request).await;
        let Ok(Ok(message)) = answer else { return Err(None) };
        match serde_json::from_slice::<ApiAnswer<T>>(&message.payload) {
            Ok(ApiAnswer::Ok(answer)) => Ok(answer),
            Ok(ApiAnswer::Error(error)) if error.code == ErrorCode::Unavailable => Err(None),
            Ok(ApiAnswer::Error(error)) => Err(Some(error.to_string())),
            Err(error) => Err(Some(format!("the answer cannot be read: {error}"))),
        }
    }

    async fn look(self) {
        loop {
            // It is not there before the first worker is.
            let _ = self.done.lock().unwrap_or_else(PoisonError::into_inner).look();
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Looks after runs whose compensation failed for good.
    async fn operate(self) {
        loop {
            tokio::time::sleep(LOOK * 3).await;
            let request = ListRequest { stuck: true, limit: 1_000, ..ListRequest::default() };
            let Ok(list) = self.client.list(&request).await else { continue };
            for run in list.runs.into_iter().filter(|run| run.status == Status::Stuck) {
                self.resolve(run.workflow_id.as_str()).await;
            }
        }
    }

    async fn resolve(&self, id: &str) {
        let handle = self.client.workflow_untyped(id);
        let (Ok(description), Ok(history)) = (handle.describe().await, handle.history().await) else {
            return;
        };
        let failed = description.compensations.into_iter().filter(|it| it.state == CompensationState::Failed);
        for seq in failed.map(|it| it.seq) {
            let commands = history.iter().flat_map(|record| record.turn.iter().flat_map(|it| &it.commands));
            let work = commands.filter_map(|command| match command {
                Command::RunActivity(run) if run.seq == seq => run.input.decode::<Work>().ok(),
                _ => None,
            });
            let Some(work) = work.into_iter().next() else { continue };
            let resolved = if work.undo.is_some_and(|undo| undo.skip) {
                handle.skip_compensation(seq, "done by hand").await
            } else {
                self.gates.open(&gate(id, work.node));
                handle.retry_compensation(seq, "it works now").await
            };
            match resolved {
                Ok(()) => self.book.operation("resolve", Outcome::Ok),
                Err(error) if unknown(&error) => self.book.operation("resolve", Outcome::Unknown),
                Err(error) => self.book.refused("resolve", format!("{id}: {error}")),
            }
        }
    }
}

/// Whether a request may have been carried out though nobody says so.
fn unknown(error: &RequestError) -> bool {
    match error {
        RequestError::Unavailable { .. } | RequestError::Answer(_) => true,
        RequestError::Rejected(error) => error.code == ErrorCode::Unavailable,
        RequestError::Invalid(_) | RequestError::Payload(_) => false,
    }
}
