//! The API on core NATS, as a NATS micro service: what plain NATS clients, the CLI and the SDK ask.
//!
//! Every orchestrator answers, whatever it owns. Requests that change something become events like everybody
//! else's; reads come from the streams and buckets.

mod events;
mod reads;
mod worker_reads;

use std::sync::Arc;
use std::time::Duration;

use async_nats::service::{Request, Service, ServiceExt as _};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Serialize;
use stepwell_connection::chunked;
use stepwell_connection::{Connection, JetStreamError};
use stepwell_shared::api::{ApiAnswer, ApiError};
use stepwell_shared::encoding::encode;
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::subject;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::answers::may_answer;
use crate::ground::{Ground, Owned};
use crate::token::Tokens;
use crate::workers::Workers;

/// Most requests that are worked on at the same time, of workers and of all others each; further ones wait.
const MAX_REQUESTS: usize = 1_024;

/// Most requests that wait for a run to close, beside those. Each looks at its run once a second. Further ones
/// are refused: the place of one that waits may not be free for a minute.
const MAX_WAITS: usize = 1_024;

/// How long a request that became an event is waited for.
pub(crate) const VERDICT_TIMEOUT: Duration = Duration::from_secs(8);

/// The service's version, which NATS wants as a semantic version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) connection: Connection,
    pub(crate) partitions: u32,
    pub(crate) query_timeout: Duration,
    pub(crate) workers: Arc<Workers>,
    pub(crate) owned: Owned,
    pub(crate) tokens: Tokens,
    /// Places for requests that wait for a run to close.
    waits: Arc<Semaphore>,
    /// Places for replays.
    replays: Arc<Semaphore>,
}

/// A running service.
pub(crate) struct ApiService {
    service: Service,
    tasks: tokio::task::JoinSet<()>,
}

#[derive(Debug, Clone, Copy)]
enum Verb {
    Start,
    Signal,
    Cancel,
    Terminate,
    Compensation,
    Query,
    Result,
    Describe,
    History,
    List,
    Rejected,
    Workers,
    Replay,
    Attempt,
}

const VERBS: [(Verb, &str); 14] = [
    (Verb::Start, "start"),
    (Verb::Signal, "signal"),
    (Verb::Cancel, "cancel"),
    (Verb::Terminate, "terminate"),
    (Verb::Compensation, "compensation"),
    (Verb::Query, "query"),
    (Verb::Result, "result"),
    (Verb::Describe, "describe"),
    (Verb::History, "history"),
    (Verb::List, "list"),
    (Verb::Rejected, "rejected"),
    (Verb::Workers, "workers"),
    (Verb::Replay, "replay"),
    (Verb::Attempt, "attempt"),
];

/// Begins to answer.
pub(crate) async fn serve(ground: &Ground) -> Result<ApiService, JetStreamError> {
    let connection = ground.connection.clone();
    let failed = |error: async_nats::Error| JetStreamError::Other(error.to_string());
    let builder = connection.client().service_builder().description("Stepwell: durable execution");
    let service = builder.start("stepwell", VERSION).await.map_err(failed)?;
    let api = Api {
        partitions: ground.settings.partitions,
        query_timeout: ground.options.workflow_task_timeout,
        workers: Arc::clone(&ground.workers),
        owned: ground.owned.clone(),
        tokens: ground.tokens.clone(),
        waits: Arc::new(Semaphore::new(MAX_WAITS)),
        replays: Arc::new(Semaphore::new(worker_reads::MAX_REPLAYS)),
        connection: connection.clone(),
    };
    let (room, room_of_workers) = (Semaphore::new(MAX_REQUESTS), Semaphore::new(MAX_REQUESTS));
    let (room, room_of_workers) = (Arc::new(room), Arc::new(room_of_workers));
    let mut tasks = tokio::task::JoinSet::new();
    for (verb, name) in VERBS {
        let subject = subject::api(connection.namespace(), name);
        let endpoint = service.endpoint_builder().name(name).add(subject).await.map_err(failed)?;
        // A query waits for a worker, which may want a history for it: they must not wait for each other.
        let of_worker = matches!(verb, Verb::Replay | Verb::Attempt);
        let room = if of_worker { &room_of_workers } else { &room };
        tasks.spawn(listen(api.clone(), verb, endpoint, Arc::clone(room)));
    }
    Ok(ApiService { service, tasks })
}

impl ApiService {
    /// Stops to answer.
    pub(crate) async fn stop(mut self) {
        if let Err(error) = self.service.stop().await {
            tracing::debug!(%error, "the API did not stop in good order");
        }
        self.tasks.abort_all();
    }
}

/// An error of the API without a run.
pub(crate) fn api_error(code: ErrorCode, message: impl Into<String>) -> ApiError {
    ApiError { code, message: message.into(), run_id: None }
}

async fn listen(
    api: Api,
    verb: Verb,
    mut endpoint: async_nats::service::endpoint::Endpoint,
    room: Arc<Semaphore>,
) {
    while let Some(request) = endpoint.next().await {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let api = api.clone();
        tokio::spawn(async move {
            answer(&api, verb, request, permit).await;
        });
    }
}

/// Answers a request that has a place among those that are worked on.
async fn answer(api: &Api, verb: Verb, request: Request, place: OwnedSemaphorePermit) {
    let Some(reply) = request.message.reply.clone().filter(|reply| may_answer(reply)) else { return };
    let body = &request.message.payload;
    let answer = match verb {
        Verb::Start => encoded(events::start(api, body).await),
        Verb::Signal => encoded(events::signal(api, body).await),
        Verb::Cancel => encoded(events::stop(api, body, events::Stop::Cancel).await),
        Verb::Terminate => encoded(events::stop(api, body, events::Stop::Terminate).await),
        Verb::Compensation => encoded(events::compensation(api, body).await),
        Verb::Query => encoded(reads::query(api, body).await),
        Verb::Result => encoded(reads::result(api, body, place).await),
        Verb::Describe => encoded(reads::describe(api, body).await),
        Verb::History => encoded(reads::history(api, body).await),
        Verb::List => encoded(reads::list(api, body).await),
        Verb::Rejected => encoded(reads::rejected(api).await),
        Verb::Workers => encoded(reads::workers(api)),
        Verb::Replay => encoded(worker_reads::replay(api, body).await),
        Verb::Attempt => encoded(worker_reads::attempt(api, body).await),
    };
    if let Err(error) = chunked::reply(api.connection.client(), reply, answer).await {
        tracing::warn!(%error, verb = ?verb, "an answer could not be sent");
    }
}

fn encoded<T: Serialize>(outcome: Result<T, ApiError>) -> Bytes {
    let answer = match outcome {
        Ok(body) => ApiAnswer::Ok(body),
        Err(error) => ApiAnswer::Error(error),
    };
    encode(&answer).into()
}
