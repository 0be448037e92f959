//! Request ids of starts, in the `idempotency` bucket: a start that is repeated long after, when its run is
//! closed and others of the same workflow id came after it, is still answered with the run that it began.
//!
//! The latest run's own request id is in its history; the bucket is asked only when that one differs.

use stepwell_connection::Connection;
use stepwell_orchestrator_core::{Input, Ruling, Workflow};
use stepwell_shared::ids::{RunId, WorkflowId};
use stepwell_shared::subject::{Bucket, start_request_key};

/// Ids that begin so were made up by a client for one call, to survive a lost answer; they are remembered
/// only as long as their run is the latest.
const FOR_ONE_CALL: &str = "auto-";

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
    let run_id = Box::pin(begun_by(connection, start_request_key(workflow.id(), request_id))).await?;
    Some(Ruling::Duplicate { run_id })
}

/// The run that is remembered under a key.
async fn begun_by(connection: &Connection, key: String) -> Option<RunId> {
    let bucket = connection.bucket(Bucket::Idempotency).await.ok()?;
    let value = bucket.get(key).await.ok()??;
    RunId::new(std::str::from_utf8(&value).ok()?).ok()
}

/// The key under which a run's start is remembered, if it is.
pub(crate) fn key(id: &WorkflowId, request_id: Option<&str>) -> Option<String> {
    Some(start_request_key(id, remembered(request_id)?))
}

fn remembered(request_id: Option<&str>) -> Option<&str> {
    request_id.filter(|request_id| !request_id.starts_with(FOR_ONE_CALL) && !request_id.is_empty())
}
