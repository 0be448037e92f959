//! Looking through the open runs of the partitions that this process owns, a part of them in each pass: whether
//! their summaries are right, and whether anything that is due was lost.

use std::hash::{DefaultHasher, Hash, Hasher};

use stepwell_shared::ids::WorkflowId;
use stepwell_shared::summary::RunSummary;

use crate::event_log;
use crate::ground::Ground;
use crate::shell::Shell;
use crate::summaries;
use crate::sweeper::{Sweep, missed_before};

/// How many runs are looked at in one pass; each is read from its history.
const RUNS_PER_PASS: u64 = 1_000;

/// Which runs are to be looked at in a pass.
#[derive(Debug, Default)]
pub(crate) struct OpenRuns {
    pass: u64,
    /// In how many parts the runs are taken.
    parts: u64,
    seen: u64,
    chosen: Vec<RunSummary>,
}

impl OpenRuns {
    /// Takes note of a summary that the bucket holds, of a run of this partition.
    pub(crate) fn see(&mut self, shell: &Shell, summary: &RunSummary) {
        if summary.status.closed() {
            return;
        }
        // Nothing of it can be missed yet, and its summary is written by who works at it.
        let young = summary.started_at_ms >= missed_before(shell);
        if young && shell.own.up_to(&summary.workflow_id) != 0 {
            return;
        }
        self.seen += 1;
        let room = (self.chosen.len() as u64) < 2 * RUNS_PER_PASS;
        if room && hash(&summary.workflow_id) % self.parts.max(1) == self.pass % self.parts.max(1) {
            self.chosen.push(summary.clone());
        }
    }

    /// Looks at those that were chosen.
    pub(crate) async fn look_at_chosen(&mut self, ground: &Ground) {
        let mut sweep = Sweep::default();
        for summary in std::mem::take(&mut self.chosen) {
            if let Err(error) = look_at(ground, &summary, &mut sweep).await {
                tracing::warn!(workflow_id = %summary.workflow_id, error, "an open run could not be looked at");
            }
        }
        if let Err(error) = sweep.finish(ground).await {
            tracing::warn!(%error, "lost tasks could not be looked for; trying again later");
        }
        (self.pass, self.parts, self.seen) = (self.pass.wrapping_add(1), self.seen / RUNS_PER_PASS + 1, 0);
    }
}

async fn look_at(ground: &Ground, summary: &RunSummary, sweep: &mut Sweep) -> Result<(), String> {
    let (id, partitions) = (&summary.workflow_id, ground.settings.partitions);
    let Some(shell) = ground.owned.of(id, partitions) else { return Ok(()) };
    let loaded = event_log::load(&ground.connection, partitions, id, 0).await;
    let workflow = loaded.map_err(|error| error.to_string())?.workflow;
    sweep.look_at(&shell, &workflow).await;
    // What this process works at it writes itself.
    if shell.own.up_to(id) == 0 {
        summaries::compare(ground, summary, &workflow).await?;
    }
    Ok(())
}

fn hash(id: &WorkflowId) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}
