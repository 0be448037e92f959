//! Workflows about the life of a run.

use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepwell::prelude::*;

use crate::activities::{note, wait_at};

/// Lets [`waits`] end.
pub const GO: Signal<i64> = Signal::new("go");

/// What [`observes`] has seen so far.
pub const SEEN: Query<(), Vec<Seen>> = Query::new("seen");

/// So many notes, one after the other.
#[workflow]
pub async fn chain(ctx: WorkflowContext, steps: u32) -> Result<Vec<String>, WorkflowError> {
    let mut notes = Vec::new();
    for step in 1..=steps {
        notes.push(ctx.run(note, format!("step {step}")).await?);
    }
    Ok(notes)
}

/// Fails with an error of its own.
#[workflow]
pub async fn refuses(_ctx: WorkflowContext, details: Value) -> Result<(), WorkflowError> {
    Err(WorkflowError::new("Refused", "it does not want to").details(&details))
}

/// Returns what it was given.
#[workflow]
pub async fn echoes(_ctx: WorkflowContext, value: Value) -> Result<Value, WorkflowError> {
    Ok(value)
}

/// Waits for [`GO`] and returns what it carries.
#[workflow]
pub async fn waits(ctx: WorkflowContext) -> Result<i64, WorkflowError> {
    Ok(ctx.receive(GO).await?)
}

/// What [`cleans_up`] does when it is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Then {
    /// Cleans up and stops.
    Stop,
    /// Cleans up and returns a result all the same.
    Return,
    /// Cleans up and fails.
    Fail,
}

/// Waits at gate `work`; when told to stop, cleans up under a shield first.
#[workflow]
pub async fn cleans_up(ctx: WorkflowContext, then: Then) -> Result<String, WorkflowError> {
    match ctx.run(wait_at, "work".to_owned()).await {
        Ok(_) => return Ok("worked".to_owned()),
        Err(failure) if failure.is_cancelled() => {}
        Err(failure) => return Err(failure.into()),
    }
    // Without a shield nothing can be done any more.
    let unshielded = ctx.run(note, "never".to_owned()).await.is_err_and(|failure| failure.is_cancelled());
    let shielded = ctx.shielded();
    shielded.sleep(std::time::Duration::from_millis(1)).await?;
    let cleaned = shielded.run(note, "cleaned up".to_owned()).await?;
    match then {
        Then::Stop => Err(WorkflowError::Cancelled),
        Then::Return => {
            let reason = ctx.cancel_reason().unwrap_or_default();
            Ok(format!("{cleaned} {unshielded} {reason}"))
        }
        Then::Fail => Err(WorkflowError::new("DirtyExit", cleaned)),
    }
}

/// What a run can see of time, chance and itself at one place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// `ctx.now()` in milliseconds since 1970.
    pub now_ms: u128,
    /// `ctx.random()`.
    pub number: f64,
    /// `ctx.random_u64()`.
    pub bits: u64,
    /// `ctx.uuid()`.
    pub uuid: String,
    /// `ctx.info()`: workflow id, run id, type, queue, attempt, history length.
    pub info: (String, String, String, String, u32, u64),
}

/// Looks at time, chance and itself, several times.
#[workflow]
pub async fn observes(ctx: WorkflowContext, looks: u32) -> Result<Vec<Seen>, WorkflowError> {
    let seen = ctx.answer(SEEN, Vec::new());
    for look in 0..looks {
        let info = ctx.info();
        let new = Seen {
            now_ms: ctx.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis(),
            number: ctx.random(),
            bits: ctx.random_u64(),
            uuid: ctx.uuid(),
            info: (
                info.workflow_id.to_string(),
                info.run_id.to_string(),
                info.workflow_type.to_string(),
                info.queue.to_string(),
                info.attempt,
                info.history_length,
            ),
        };
        seen.update(|seen| seen.push(new));
        if look % 2 == 0 {
            ctx.run(note, format!("look {look}")).await?;
        } else {
            ctx.sleep(std::time::Duration::from_millis(2)).await?;
        }
    }
    Ok(seen.get())
}
