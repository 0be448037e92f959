//! Summaries that are not what their histories say. A predecessor that was cut off or stood still may have a
//! summary on its way to NATS when it is replaced; it arrives late and hides a newer one. Histories are fenced
//! against that, summaries are not: they are put right here.
//!
//! Looked at are open runs at which this process does not work; what it works at it writes itself.

use async_nats::jetstream::kv::UpdateErrorKind;
use stepwell_connection::JetStreamError;
use stepwell_orchestrator_core::Workflow;
use stepwell_shared::encoding::encode;
use stepwell_shared::subject::{self, Bucket};
use stepwell_shared::summary::RunSummary;

use crate::ground::Ground;
use crate::state_bucket::{self, Standing};

/// Compares a summary that the bucket held with the history, and puts it right if it differs.
pub(crate) async fn compare(ground: &Ground, stored: &RunSummary, workflow: &Workflow) -> Result<(), String> {
    let (connection, id) = (&ground.connection, &stored.workflow_id);
    let Some(right) = workflow.summary().filter(|right| differs(stored, right)) else { return Ok(()) };
    let text = |error: JetStreamError| error.to_string();
    let Standing::Older { revision } = state_bucket::standing(connection, &right).await.map_err(text)? else {
        return Ok(());
    };
    let bucket = connection.bucket(Bucket::State).await.map_err(text)?;
    let body = bytes::Bytes::from(encode(&right));
    match bucket.update(subject::state_key(id), body.clone(), revision).await {
        Ok(_) => {}
        // Whoever works at the run now has written what is right.
        Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => return Ok(()),
        Err(error) => return Err(error.to_string()),
    }
    tracing::info!(workflow_id = %id, status = right.status.name(), "a summary that was out of date is put right");
    if right.status.closed() {
        let subject = subject::closed(connection.namespace(), id);
        let _ = connection.client().publish(subject, body).await;
    }
    Ok(())
}

/// Whether a summary says something else than the other, but for what changes with every record.
fn differs(stored: &RunSummary, right: &RunSummary) -> bool {
    let kind = |summary: &RunSummary| summary.stall.as_ref().map(|stall| stall.kind);
    (&stored.run_id, stored.status, kind(stored)) != (&right.run_id, right.status, kind(right))
}
