//! Brings a run's code to where a workflow task continues from: replays the history that came with the task, or that an
//! orchestrator is asked for. Reads only.

use std::time::{Duration, Instant};

use stepwell_connection::Connection;
use stepwell_encryption::Payloads;
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::history::{Record, StallKind};
use stepwell_shared::task::WorkflowTask;
use stepwell_worker_replay::{Instance, Stalled, WorkflowCode};

use crate::log::Replaying;
use crate::metric_definitions::Metrics;
use crate::orchestrators::{self, AskError};
use crate::sealing::open_records;

/// How often the history is read when it does not reach far enough yet, and the first wait in between;
/// each further wait is twice as long. Together they stay below the time in which an answer is expected.
const READS: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(20);

/// After so many records other tasks get a chance to run on this thread.
const RECORDS_AT_A_TIME: usize = 64;

/// The code of the task's run, after record `task.after`.
pub(crate) async fn rebuild(
    connection: &Connection,
    payloads: &Payloads,
    metrics: &Metrics,
    code: &WorkflowCode,
    task: &WorkflowTask,
) -> Result<Instance, Stalled> {
    let began = Instant::now();
    let mut records = match task.all_records() {
        Some(records) => records.to_vec(),
        None => read(connection, task).await?,
    };
    let mut instance = Instance::new(code.clone(), task.workflow_id.clone(), task.run_id.clone());
    for batch in records.chunks_mut(RECORDS_AT_A_TIME) {
        open_records(payloads, task, batch)?;
        let replayed = {
            let _muted = Replaying::enter();
            batch.iter().try_for_each(|record| instance.replay(record))
        };
        replayed.inspect_err(|stalled| {
            tracing::warn!(
                workflow_id = %task.workflow_id,
                run_id = %task.run_id,
                kind = stalled.kind.name(),
                "{stalled}"
            );
        })?;
        tokio::task::yield_now().await;
    }
    metrics.replays.inc();
    metrics.replay_seconds.observe(began.elapsed().as_secs_f64());
    Ok(instance)
}

/// The run's records up to the one that the task continues from.
async fn read(connection: &Connection, task: &WorkflowTask) -> Result<Vec<Record>, Stalled> {
    let mut wait = FIRST_WAIT;
    let mut found = String::new();
    for attempt in 1..=READS {
        match orchestrators::records(connection, task).await {
            Ok(records) => {
                let ours = |record: &Record| record.run_id == task.run_id && record.index <= task.after;
                let records: Vec<Record> = records.into_iter().filter(ours).collect();
                let last = records.last().map_or(0, |record| record.index);
                if last == task.after {
                    return Ok(records);
                }
                found = format!("it has {last} records of the run");
            }
            Err(AskError::Refused { source, .. }) if source.code == ErrorCode::Internal => {
                return Err(Stalled { kind: StallKind::InvalidTurn, message: source.message });
            }
            Err(
                error @ (AskError::Refused { .. } | AskError::Unasked { .. } | AskError::Nonsense { .. }),
            ) => found = error.to_string(),
        }
        if attempt < READS {
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }
    let message = format!(
        "the run's history could not be read up to record {}, from which the task continues: {found}; it is \
         tried again",
        task.after
    );
    Err(Stalled { kind: StallKind::TaskTimeout, message })
}
