//! Looking for work that is due and was never delivered: a task that is neither on TASKS nor reported, a time of
//! which nothing reminds. Nothing of that kind is to happen; it does when a server loses what it had
//! acknowledged, when somebody removes messages by hand, or when there is a bug. It is made good and counted.
//!
//! Of many open runs a part is looked at in each pass; each costs the reading of its history.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stepwell_connection::clock::now_ms;
use stepwell_connection::{JetStreamError, leader};
use stepwell_orchestrator_core::{Dispatch, Effect, Workflow};
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::subject::{Stream, partition_events};

use crate::dispatcher::Request;
use crate::effects::attempt_id;
use crate::event_log;
use crate::ground::Ground;
use crate::recovery::TasksSeen;
use crate::shell::Shell;

/// How long is waited until all events that are stored are dealt with; what is due is not known before.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// Pause between two looks at it.
const PAUSE: Duration = Duration::from_millis(100);

/// A run that waits for tasks that should have been done by now.
struct Suspect {
    shell: Arc<Shell>,
    id: WorkflowId,
}

/// What a pass has found so far.
#[derive(Default)]
pub(crate) struct Sweep {
    suspects: Vec<Suspect>,
}

impl Sweep {
    /// Looks at a run as its history says it is.
    pub(crate) async fn look_at(&mut self, shell: &Arc<Shell>, workflow: &Workflow) {
        let id = workflow.id();
        if !overdue(shell, workflow).is_empty() {
            self.suspects.push(Suspect { shell: Arc::clone(shell), id: id.clone() });
        }
        // Before that, what was left is still being looked at.
        let settled = shell.caught_up.load(Ordering::Acquire) && shell.recovery.is_over();
        let reminded = shell.timers.reminds(id, workflow.next_recorded_wake());
        if settled && !reminded && is_still_forgotten(shell, id).await {
            tracing::warn!(workflow_id = %id, "nothing reminds of a run's next time; looking at it now");
            shell.metrics.recovered.with_label_values(&["timer"]).inc();
            let _ = shell.requests.send(Request::LookAt { id: id.clone() }).await;
        }
    }

    /// Finds out which tasks of those that were suspected are really lost, and has them published again.
    pub(crate) async fn finish(self, ground: &Ground) -> Result<(), JetStreamError> {
        if self.suspects.is_empty() {
            return Ok(());
        }
        let tasks = TasksSeen::read(&ground.connection, ground.settings.shards).await?;
        // A task that is not there has a report by now, or never will have.
        let mut dealt_with = BTreeMap::new();
        for Suspect { shell, id } in self.suspects {
            let partition = shell.partition;
            let dealt_with = match dealt_with.get(&partition) {
                Some(dealt_with) => *dealt_with,
                None => {
                    let waited = wait_until_dealt_with(&shell).await?;
                    dealt_with.insert(partition, waited);
                    waited
                }
            };
            if dealt_with {
                publish_lost(&shell, &id, &tasks).await;
            }
        }
        Ok(())
    }
}

/// Looks again, at what is stored now: the run may have changed while it was looked at.
async fn is_still_forgotten(shell: &Shell, id: &WorkflowId) -> bool {
    let loaded = event_log::load(&shell.connection, shell.partitions, id, 0).await;
    loaded.is_ok_and(|loaded| !shell.timers.reminds(id, loaded.workflow.next_recorded_wake()))
}

/// What was wanted before this can be missed.
pub(crate) fn missed_before(shell: &Shell) -> u64 {
    let limit = u64::try_from(shell.options.sweep_after.as_millis()).unwrap_or(u64::MAX);
    now_ms().saturating_sub(limit)
}

/// Tasks that were wanted so long ago that they can be missed.
fn overdue(shell: &Shell, workflow: &Workflow) -> Vec<Dispatch> {
    let since = missed_before(shell);
    let dispatch = |effect| match effect {
        Effect::Dispatch(dispatch) => Some(*dispatch),
        Effect::CancelActivity { .. } | Effect::WriteSummary(_) | Effect::Close(_) => None,
    };
    let all = workflow.outstanding().into_iter().filter_map(dispatch);
    all.filter(|dispatch| dispatch.scheduled_at_ms < since).collect()
}

/// Waits until everything that is stored for the partition now is dealt with. False when it takes too long.
async fn wait_until_dealt_with(shell: &Shell) -> Result<bool, JetStreamError> {
    let namespace = shell.connection.namespace();
    let (name, subject) = (Stream::Events.name(namespace), partition_events(namespace, shell.partition));
    let last = leader::last_sequence(&shell.connection, &name, &subject).await?;
    let dealt_with = async {
        while shell.floor.done_to() < last {
            tokio::time::sleep(PAUSE).await;
        }
    };
    Ok(tokio::time::timeout(LONGEST_WAIT, dealt_with).await.is_ok())
}

async fn publish_lost(shell: &Shell, id: &WorkflowId, tasks: &TasksSeen) {
    let Ok(loaded) = event_log::load(&shell.connection, shell.partitions, id, 0).await else { return };
    let Some(run_id) = loaded.workflow.run_id() else { return };
    let mut lost = Vec::new();
    for dispatch in overdue(shell, &loaded.workflow) {
        let attempt = attempt_id(run_id, dispatch.step, dispatch.attempt);
        if tasks.has(&attempt) {
            continue;
        }
        let (workflow_id, step) = (id, dispatch.step);
        if dispatch.maximum_attempts == Some(1) {
            tracing::error!(
                %workflow_id, %step,
                "a task is lost that may have been begun, and may be begun only once; terminate or cancel the run"
            );
            shell.metrics.recovered.with_label_values(&["task_at_most_once"]).inc();
        } else {
            tracing::warn!(%workflow_id, %step, "a task is lost; publishing it again");
            lost.push(attempt);
        }
    }
    if !lost.is_empty() {
        shell.metrics.recovered.with_label_values(&["task"]).inc_by(lost.len() as u64);
        let _ = shell.requests.send(Request::Republish { id: id.clone(), attempts: lost }).await;
    }
}
