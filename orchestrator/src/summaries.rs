//! Summaries that are not what their histories say. A predecessor that was cut off or stood still may have a
//! summary on its way to NATS when it is replaced; it arrives late and hides a newer one. Histories are fenced
//! against that, summaries are not: they are put right here.
//!
//! Looked at are open runs at which this process does not work; what it works at it writes itself. Of many, a
//! part at a time.

use std::hash::{DefaultHasher, Hash, Hasher};

use async_nats::jetstream::kv::UpdateErrorKind;
use stepwell_connection::JetStreamError;
use stepwell_shared::encoding::encode;
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::subject::{self, Bucket};
use stepwell_shared::summary::RunSummary;

use crate::event_log;
use crate::shell::Shell;
use crate::state_bucket::{self, Standing};

/// How many runs are looked at in one pass; each is read from its history.
const RUNS_PER_PASS: u64 = 1_000;

/// Which runs are to be looked at in a pass.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pass: u64,
    /// In how many parts the runs are taken.
    parts: u64,
    seen: u64,
    chosen: Vec<RunSummary>,
}

impl Comparison {
    /// Takes note of a summary that the bucket holds.
    pub(crate) fn see(&mut self, shell: &Shell, summary: &RunSummary) {
        if summary.status.closed() || shell.own.up_to(&summary.workflow_id) != 0 {
            return;
        }
        self.seen += 1;
        let room = (self.chosen.len() as u64) < 2 * RUNS_PER_PASS;
        if room && hash(&summary.workflow_id) % self.parts.max(1) == self.pass % self.parts.max(1) {
            self.chosen.push(summary.clone());
        }
    }

    /// Compares those that were chosen with their histories, and puts right what differs.
    pub(crate) async fn put_right(&mut self, shell: &Shell) {
        for summary in std::mem::take(&mut self.chosen) {
            if let Err(error) = compare(shell, &summary).await {
                tracing::warn!(workflow_id = %summary.workflow_id, error, "a summary could not be compared");
            }
        }
        (self.pass, self.parts, self.seen) = (self.pass.wrapping_add(1), self.seen / RUNS_PER_PASS + 1, 0);
    }
}

async fn compare(shell: &Shell, stored: &RunSummary) -> Result<(), String> {
    let (connection, id) = (&shell.connection, &stored.workflow_id);
    let loaded =
        event_log::load(connection, shell.partitions, id, 0).await.map_err(|error| error.to_string())?;
    let Some(right) = loaded.workflow.summary().filter(|right| differs(stored, right)) else { return Ok(()) };
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

fn hash(id: &WorkflowId) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}
