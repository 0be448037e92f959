//! Request ids of starts, in the `idempotency` bucket: a start that is repeated long after, when its run is
//! closed and others of the same workflow id came after it, is still answered with the run that it began.
//!
//! The latest run's own request id is in its history; the bucket is asked only when that one differs.

use std::time::Duration;

use stepwell_connection::{Connection, JetStreamError};
use stepwell_orchestrator_core::{Input, Ruling, Workflow};
use stepwell_shared::ids::{RunId, WorkflowId};
use stepwell_shared::subject::{Bucket, start_request_key};

/// Ids that begin so were made up by a client for one call, to survive a lost answer; they are remembered
/// only as long as their run is the latest.
const FOR_ONE_CALL: &str = "auto-";

/// Pause before the bucket is asked again that could not be read: to take a repeat for a new request would
/// start a second run.
const PAUSE: Duration = Duration::from_millis(250);

/// The ruling on a start whose request id belongs to an earlier run; `None` when it is a new request.
pub(crate) async fn earlier_run(
    connection: &Connection,
    workflow: &Workflow,
    input: &Input,
) -> Option<Ruling> {
    let Input::Start { start, .. } = input else { return None };
    let request_id = remembered(start.request_id.as_deref())?;
    let latest = workflow.started()?;
    if latest.request_id.as_deref() == Some(request_id) {
        return None;
    }
    // Rare, and large: in a box, so that not every drive has room for it.
    let key = start_request_key(workflow.id(), request_id);
    let run_id = loop {
        match Box::pin(begun_by(connection, &key)).await {
            Ok(begun) => break begun?,
            Err(error) => tracing::warn!(%error, "request ids cannot be read; trying again"),
        }
        tokio::time::sleep(PAUSE).await;
    };
    Some(Ruling::Duplicate { run_id })
}

/// The run that is remembered under a key.
async fn begun_by(connection: &Connection, key: &str) -> Result<Option<RunId>, JetStreamError> {
    let bucket = connection.bucket(Bucket::Idempotency).await?;
    let value = bucket.get(key).await.map_err(|error| JetStreamError::Other(error.to_string()))?;
    let text = value.as_deref().and_then(|value| std::str::from_utf8(value).ok());
    Ok(text.and_then(|text| RunId::new(text).ok()))
}

/// The key under which a run's start is remembered, if it is.
pub(crate) fn key(id: &WorkflowId, request_id: Option<&str>) -> Option<String> {
    Some(start_request_key(id, remembered(request_id)?))
}

fn remembered(request_id: Option<&str>) -> Option<&str> {
    request_id.filter(|request_id| !request_id.starts_with(FOR_ONE_CALL) && !request_id.is_empty())
}
