//! What workers ask: the records of a run that they are to replay, and what became of an attempt that they were
//! given. Each answer needs the token that came with the task, so that a worker reads nothing but what it was
//! given to work on.

use stepwell_connection::history::{ReadError, StoredHistory, read_part};
use stepwell_connection::page::{StoredMessage, read_page};
use stepwell_connection::{Connection, JetStreamError};
use stepwell_orchestrator_core::{PackedReport, is_pack, unpack};
use stepwell_shared::api::{
    ApiError, AttemptAnswer, AttemptRequest, ReplayAnswer, ReplayRequest, Reported, checked_workflow_id,
};
use stepwell_shared::encoding::decode;
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::headers::PACK;
use stepwell_shared::ids::{RunId, WorkflowId};
use stepwell_shared::message::{Outcome, ReportMessage};
use stepwell_shared::subject::{self, Stream};

use super::events::parse;
use super::reads::{load, unavailable};
use super::{Api, api_error};
use crate::state_bucket;

/// Most replays that are read at the same time; further ones wait. Each holds a few times [`ENOUGH`].
pub(super) const MAX_REPLAYS: usize = 16;

/// Bytes of records with which an answer is full, unless it is a single record. What follows is asked for anew.
const ENOUGH: usize = 4 * 1024 * 1024;

/// Records of one run, from a message on, as many as are enough for one answer.
pub(super) async fn replay(api: &Api, body: &[u8]) -> Result<ReplayAnswer, ApiError> {
    let request: ReplayRequest = parse(body)?;
    let id = checked_workflow_id(&request.id)?;
    let run_id = checked_run_id(&request.run_id)?;
    if !api.tokens.verify_replay(&request.token, &run_id) {
        let message = format!("the token is not the one of workflow tasks of run {run_id}");
        return Err(api_error(ErrorCode::WrongToken, message));
    }
    let Ok(_place) = api.replays.acquire().await else {
        return Err(api_error(ErrorCode::Unavailable, "the orchestrator is ending; ask again"));
    };
    let subject = subject::history(api.connection.namespace(), &id, api.partitions);
    let read = read_part(&api.connection, &subject, request.from_sequence, ENOUGH).await;
    let (history, next) = read.map_err(|error| match error {
        ReadError::JetStream { .. } => api_error(ErrorCode::Unavailable, error.to_string()),
        ReadError::Unreadable { .. } => api_error(ErrorCode::Internal, error.to_string()),
    })?;
    Ok(of_run(history, next, &run_id))
}

/// What of this belongs to the run, as much as is enough.
fn of_run(history: StoredHistory, next: Option<u64>, run_id: &RunId) -> ReplayAnswer {
    let (mut records, mut bytes) = (Vec::new(), 0);
    for stored in history.records {
        if stored.record.run_id != *run_id {
            continue;
        }
        bytes += stored.bytes;
        if bytes > ENOUGH && !records.is_empty() {
            return ReplayAnswer { records, next_sequence: Some(stored.first_sequence) };
        }
        records.push(stored.record);
    }
    ReplayAnswer { records, next_sequence: next }
}

/// What was reported of an attempt, and whether anybody may still wait for it.
pub(super) async fn attempt(api: &Api, body: &[u8]) -> Result<AttemptAnswer, ApiError> {
    let request: AttemptRequest = parse(body)?;
    let id = checked_workflow_id(&request.id)?;
    let run_id = checked_run_id(&request.run_id)?;
    if !api.tokens.verify(&request.token, &run_id, request.step, request.attempt) {
        let message = format!(
            "the token is not the one of attempt {} of step {} of run {run_id}",
            request.attempt, request.step
        );
        return Err(api_error(ErrorCode::WrongToken, message));
    }
    let reported = if request.run_only {
        Reported::Nothing {}
    } else {
        reported(&api.connection, api.partitions, &id, &run_id, &request).await.map_err(unavailable)?
    };
    Ok(AttemptAnswer { reported, run_closed: closed(api, &id, &run_id).await? })
}

/// Whether a run that was begun is over.
async fn closed(api: &Api, id: &WorkflowId, run_id: &RunId) -> Result<bool, ApiError> {
    let summary = state_bucket::get(&api.connection, id).await.map_err(unavailable)?;
    match summary {
        Some(summary) if summary.run_id == *run_id => Ok(summary.status.closed()),
        // A summary of another run may be an old one, and one that is missing may be yet to come. The history has what
        // the run recorded before anybody could ask, unless the run is forgotten, and in it a later run as well.
        Some(_) | None => Ok(load(api, id).await?.workflow.run_id() != Some(run_id)),
    }
}

/// What EVENTS has of an attempt. Only who was given the task knows its token, so that nobody can make an
/// attempt appear to be over.
async fn reported(
    connection: &Connection,
    partitions: u32,
    id: &WorkflowId,
    run_id: &RunId,
    request: &AttemptRequest,
) -> Result<Reported, JetStreamError> {
    let namespace = connection.namespace();
    let alone = subject::stored_reports(namespace, id, run_id, request.step);
    let packs = subject::stored_report_packs(namespace, subject::partition(id, partitions));
    let end = subject::report_end(id, run_id, request.step);
    let mut reported = Reported::Nothing {};
    for subject in [alone, packs] {
        let mut next = 1;
        loop {
            let page = read_page(connection, Stream::Events, &subject, next).await?;
            for message in &page.messages {
                next = message.sequence + 1;
                for body in reports_on(message, &end, partitions) {
                    match said(body, request) {
                        Some(Reported::Ended {}) => return Ok(Reported::Ended {}),
                        Some(begun @ Reported::Begun { .. }) => reported = begun,
                        Some(Reported::Nothing {}) | None => {}
                    }
                }
            }
            if !page.more {
                break;
            }
        }
    }
    Ok(reported)
}

/// The bodies of the reports in a message on the step whose subjects end like this.
fn reports_on<'a>(message: &'a StoredMessage, end: &str, partitions: u32) -> Vec<&'a [u8]> {
    if !is_pack(&message.subject) {
        return vec![&message.body];
    }
    let header = message.headers.as_ref().and_then(|headers| headers.get(PACK));
    let header = header.map(|header| header.as_str());
    let reports = unpack(&message.subject, header, &message.body, partitions).unwrap_or_default();
    let on_it = |report: &PackedReport| report.subject.as_ref().is_ok_and(|subject| ends(subject, end));
    reports.into_iter().filter(on_it).map(|report| &message.body[report.body]).collect()
}

/// Whether this is what follows the partition.
fn ends(subject: &str, end: &str) -> bool {
    subject.strip_suffix(end).is_some_and(|before| before.ends_with('.') && before.matches('.').count() == 4)
}

/// What a report says of the attempt; `None` when it is about another one.
fn said(body: &[u8], request: &AttemptRequest) -> Option<Reported> {
    let report: ReportMessage = decode(body).ok()?;
    if report.token != request.token || report.attempt != request.attempt {
        return None;
    }
    Some(match report.outcome {
        Outcome::Started {} => Reported::Begun { worker: report.worker },
        Outcome::Completed { .. } | Outcome::Failed { .. } | Outcome::Cancelled {} => Reported::Ended {},
        // Nobody began it.
        Outcome::Refused { .. } => Reported::Nothing {},
    })
}

fn checked_run_id(text: &str) -> Result<RunId, ApiError> {
    RunId::new(text).map_err(|error| api_error(ErrorCode::InvalidId, error.to_string()))
}
