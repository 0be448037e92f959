//! Brings a run's code to where a workflow task continues from: reads its history and replays it. Reads
//! only.

use std::time::{Duration, Instant};

use stepwell_connection::Connection;
use stepwell_connection::history::{ReadError, read_history};
use stepwell_shared::history::{Record, StallKind};
use stepwell_shared::task::WorkflowTask;
use stepwell_worker_replay::{Instance, Stalled, WorkflowCode};

use crate::log::Replaying;
use crate::metric_definitions::Metrics;

/// How often the history is read when it does not reach far enough yet, and the first wait in between;
/// each further wait is twice as long. Together they stay below the time in which an answer is expected.
const READS: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(20);

/// After so many records other tasks get a chance to run on this thread.
const RECORDS_AT_A_TIME: usize = 64;

/// The code of the task's run, after record `task.after`.
pub(crate) async fn rebuild(
    connection: &Connection,
    metrics: &Metrics,
    code: &WorkflowCode,
    task: &WorkflowTask,
) -> Result<Instance, Stalled> {
    let began = Instant::now();
    let records = read(connection, task).await?;
    let mut instance = Instance::new(code.clone(), task.workflow_id.clone(), task.run_id.clone());
    for batch in records.chunks(RECORDS_AT_A_TIME) {
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
        match read_history(connection, &task.history_subject, task.first_sequence).await {
            Ok(history) => {
                let ours = |record: &Record| record.run_id == task.run_id && record.index <= task.after;
                let records = history.records.into_iter().map(|stored| stored.record);
                let records: Vec<Record> = records.filter(ours).collect();
                let last = records.last().map_or(0, |record| record.index);
                if last == task.after {
                    return Ok(records);
                }
                found = format!("it has {last} records of the run");
            }
            Err(error @ ReadError::Unreadable { .. }) => {
                return Err(Stalled { kind: StallKind::InvalidTurn, message: error.to_string() });
            }
            Err(error @ ReadError::JetStream { .. }) => found = error.to_string(),
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
