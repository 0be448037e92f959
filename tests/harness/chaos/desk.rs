//! The activities of programs in real processes: they do what a piece of work says, and write down in the ledger
//! what they did, outside of Stepwell. What an attempt does follows from the work and the attempt's number.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stepwell::prelude::*;

use crate::gates::Gates;
use crate::ledger::{Entry, Ledger, Phase};
use stepwell_simulation::program::Work;

/// The pause between two signs of life.
const BEAT: Duration = Duration::from_millis(200);

/// What an entry of the ledger says of the piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Effect {
    /// The work's number in its program.
    pub node: u32,
    /// What was booked.
    pub amount: u64,
}

/// What the activities of one worker process share.
#[derive(Debug)]
pub struct ProgramDesk {
    ledger: Ledger,
    gates: Gates,
}

#[activities]
impl ProgramDesk {
    /// Does a piece of work.
    #[activity(start_to_close = "60s")]
    pub async fn work(&self, ctx: ActivityContext, work: Work) -> Result<u64, ActivityError> {
        let attempt = ctx.info().attempt;
        self.write(&ctx, Phase::Started, &work)?;
        if work.endless || attempt <= work.overruns {
            ctx.cancelled().await;
            self.write(&ctx, Phase::Cancelled, &work)?;
            return Err(ActivityError::cancelled());
        }
        if work.silences.is_some_and(|silences| attempt <= silences) {
            ctx.heartbeat(work.node);
            ctx.cancelled().await;
            self.write(&ctx, Phase::Cancelled, &work)?;
            return Err(ActivityError::cancelled());
        }
        tokio::select! {
            () = spend(&ctx, &work) => {}
            () = ctx.cancelled() => {
                self.write(&ctx, Phase::Cancelled, &work)?;
                return Err(ActivityError::cancelled());
            }
        }
        if work.fatal {
            self.write(&ctx, Phase::Failed, &work)?;
            return Err(ActivityError::new("Declined", "the program says so").non_retryable());
        }
        if attempt <= work.transient {
            self.write(&ctx, Phase::Failed, &work)?;
            return Err(ActivityError::new("Busy", format!("attempt {attempt}")));
        }
        self.write(&ctx, Phase::Finished, &work)?;
        Ok(work.value)
    }

    /// Undoes a piece of work, whether it was done or not.
    #[activity(start_to_close = "60s")]
    pub async fn undo(&self, ctx: ActivityContext, undo: Undo<Work, u64>) -> Result<(), ActivityError> {
        let work = &undo.input;
        self.write(&ctx, Phase::Started, work)?;
        let how = work.undo.as_ref();
        if how.is_some_and(|how| ctx.info().attempt <= how.transient) {
            self.write(&ctx, Phase::Failed, work)?;
            return Err(ActivityError::new("Busy", "the counter is closed for a moment"));
        }
        let gate = gate(ctx.info().workflow_id.as_str(), work.node);
        if how.is_some_and(|how| how.fatal > 0) && !self.gates.is_open(&gate) {
            self.write(&ctx, Phase::Failed, work)?;
            return Err(ActivityError::new("Refused", "somebody must look at it").non_retryable());
        }
        self.write(&ctx, Phase::Finished, work)
    }
}

/// The gate that lets a compensation work which fails for good.
#[must_use]
pub(crate) fn gate(workflow_id: &str, node: u32) -> String {
    format!("undo-{workflow_id}-{node}")
}

async fn spend(ctx: &ActivityContext, work: &Work) {
    let end = tokio::time::Instant::now() + Duration::from_millis(work.lasts_ms);
    if work.silences.is_none() {
        return tokio::time::sleep_until(end).await;
    }
    while tokio::time::Instant::now() < end {
        ctx.heartbeat(work.node);
        tokio::time::sleep_until(end.min(tokio::time::Instant::now() + BEAT)).await;
    }
}

impl ProgramDesk {
    /// The desk of a worker process that works for the run with this folder.
    ///
    /// # Errors
    /// When the ledger cannot be opened.
    pub fn open(folder: &Path) -> std::io::Result<Self> {
        Ok(Self { ledger: Ledger::open(folder)?, gates: Gates::of(folder) })
    }

    fn write(&self, ctx: &ActivityContext, phase: Phase, work: &Work) -> Result<(), ActivityError> {
        let text = serde_json::to_string(&Effect { node: work.node, amount: work.value });
        Ok(self.ledger.write(&Entry::of(ctx, phase, text.unwrap_or_default()))?)
    }
}
