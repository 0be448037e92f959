//! The histories of the demonstration's runs, read from the stream itself: what the orchestrator says
//! about itself would be no proof.

use anyhow::{Context, Result};
use stepwell_connection::history::read_history;
use stepwell_connection::{Connection, provision};
use stepwell_shared::history::Record;
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::subject;

use crate::proof::RunHistory;

/// The history of each of `ids`.
pub(crate) async fn read(connection: &Connection, ids: &[String]) -> Result<Vec<RunHistory>> {
    let settings = provision::settings(connection).await?;
    let mut histories = Vec::new();
    for id in ids {
        let workflow_id = WorkflowId::new(id)?;
        let subject = subject::history(connection.namespace(), &workflow_id, settings.partitions);
        let stored = read_history(connection, &subject, 0).await;
        let stored = stored.with_context(|| format!("cannot read the history of {id}"))?;
        let records: Vec<Record> = stored.records.into_iter().map(|stored| stored.record).collect();
        histories.push(RunHistory::new(id, &records));
    }
    Ok(histories)
}
