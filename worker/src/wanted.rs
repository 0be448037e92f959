//! Whether anybody waits for an attempt whose task lay on the queue for long: its time may be over, or its
//! run closed, and then it must not be made. Answers no only when that is certain, as far as the clocks of
//! this machine and the orchestrator's agree: what is not begun here ends there by the same timeout.

use std::time::Duration;

use stepwell_connection::clock::now_ms;
use stepwell_shared::task::ActivityTask;

use crate::activity_runner::ActivitySide;
use crate::orchestrators;

/// Tasks that waited for longer are looked at: a cancellation is told again within this time, so that who
/// was there to take the task sooner has heard of it.
const LONG_MS: u64 = 5_000;

/// Longest wait for the look. Nothing is lost without it.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether the attempt may still begin, if nobody has begun it: within `schedule_to_start`.
pub(crate) fn may_begin_late(task: &ActivityTask) -> bool {
    let deadline = task.schedule_to_start_ms.map(|limit| task.scheduled_at_ms.saturating_add(limit));
    deadline.is_none_or(|deadline| now_ms() < deadline)
}

/// Whether anybody may still wait for the task's activity.
pub(crate) async fn wanted(side: &ActivitySide, task: &ActivityTask) -> bool {
    let now = now_ms();
    if task.expires_at_ms.is_some_and(|at_ms| at_ms <= now) {
        return false;
    }
    if now.saturating_sub(task.scheduled_at_ms) < LONG_MS {
        return true;
    }
    // Rare, and large: in a box, so that not every attempt has room for it.
    let asked = Box::pin(orchestrators::attempt(&side.connection, task));
    match tokio::time::timeout(LOOK_TIMEOUT, asked).await {
        Ok(Ok(known)) => !known.run_closed,
        Ok(Err(error)) => {
            tracing::debug!(%error, "it is not known whether anybody waits for an attempt");
            true
        }
        Err(_) => true,
    }
}
