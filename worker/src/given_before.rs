//! Whether a task was given out before, though the server says that this is the first time.
//!
//! A server writes down a moment later what it has given out and what was acknowledged. When it is killed in
//! that moment, tasks come again as if for the first time, perhaps to another worker, and perhaps although
//! their result is recorded. That can only be tasks which were on the stream when the connection to the
//! server was made; for those, and only for those, the other workers are asked whether they hold them, and
//! it is looked up what was reported of them.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stepwell_connection::page::read_page;
use stepwell_connection::{Connection, JetStreamError};
use stepwell_shared::encoding::decode;
use stepwell_shared::ids::WorkerId;
use stepwell_shared::message::{Outcome, ReportMessage};
use stepwell_shared::subject::{self, Stream};
use stepwell_shared::task::ActivityTask;
use tokio::sync::{Mutex, OnceCell};

use crate::activity_runner::ActivitySide;
use crate::roll_call;

/// After a connection was lost, the other workers may need so long to come back before they can be asked.
/// The client tries at least every [`stepwell_connection::LONGEST_RECONNECT_WAIT`].
const COMING_BACK: Duration = stepwell_connection::LONGEST_RECONNECT_WAIT.saturating_mul(2);

/// Longest wait for one look; it is tried again after that.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);

/// What is known of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Before {
    /// Nothing: nobody is known to have begun it.
    Nothing,
    /// Another worker is at it.
    Held,
    /// This worker has begun it, as it reported.
    Begun(Option<WorkerId>),
    /// It has ended.
    Ended,
}

/// Knows which tasks were on the stream when the connection was made, and who held them.
#[derive(Debug, Default)]
pub(crate) struct GivenBefore(Mutex<Option<Seen>>);

#[derive(Debug, Clone)]
struct Seen {
    connects: u64,
    last_sequence: u64,
    /// What others hold; asked for when the first old task comes, while new ones go on.
    held: Arc<OnceCell<HashSet<u64>>>,
}

impl GivenBefore {
    /// What is known of a task that seems to be given out for the first time.
    pub(crate) async fn look(
        &self,
        side: &ActivitySide,
        task: &ActivityTask,
        sequence: u64,
    ) -> Result<Before, String> {
        let seen = self.seen(side).await?;
        if sequence > seen.last_sequence {
            return Ok(Before::Nothing);
        }
        let held = seen.held.get_or_try_init(|| ask_others(side, seen.connects)).await?;
        let reported = reported(&side.connection, task).await?;
        still_connected(side, seen.connects)?;
        match reported {
            // It may have ended since the others were asked.
            Before::Ended => Ok(Before::Ended),
            Before::Nothing | Before::Held | Before::Begun(_) if held.contains(&sequence) => Ok(Before::Held),
            before @ (Before::Nothing | Before::Held | Before::Begun(_)) => Ok(before),
        }
    }

    /// Notes which tasks are on the stream now. If it cannot be found out, the first task does it.
    pub(crate) async fn note(&self, side: &ActivitySide) {
        if let Err(error) = self.seen(side).await {
            tracing::debug!(error, "it is not known yet which tasks are old");
        }
    }

    /// What is known of the tasks that were on the stream when the connection was made.
    async fn seen(&self, side: &ActivitySide) -> Result<Seen, String> {
        let connects = connects(&side.connection);
        let mut seen = self.0.lock().await;
        if let Some(seen) = seen.as_ref().filter(|seen| seen.connects == connects) {
            return Ok(seen.clone());
        }
        let name = Stream::Tasks.name(side.connection.namespace());
        let stream = limited(async {
            side.connection.jetstream().get_stream(name).await.map_err(|error| error.to_string())
        });
        let last_sequence = stream.await?.cached_info().state.last_sequence;
        Ok(seen.insert(Seen { connects, last_sequence, held: Arc::default() }).clone())
    }
}

async fn ask_others(side: &ActivitySide, connected: u64) -> Result<HashSet<u64>, String> {
    still_connected(side, connected)?;
    if connected > 1 {
        tokio::time::sleep(COMING_BACK).await;
        still_connected(side, connected)?;
    }
    let held = roll_call::call(side).await?;
    still_connected(side, connected)?;
    Ok(held)
}

/// What was found out on another connection says nothing.
fn still_connected(side: &ActivitySide, connected: u64) -> Result<(), String> {
    if side.connection.connected() && connects(&side.connection) == connected {
        return Ok(());
    }
    Err("the connection was lost meanwhile".to_owned())
}

/// What the EVENTS stream has of an attempt. Only who was given the task knows its token, so that nobody
/// can make an attempt appear to be over.
pub(crate) async fn reported(connection: &Connection, task: &ActivityTask) -> Result<Before, String> {
    limited(async { read_reports(connection, task).await.map_err(|error| error.to_string()) }).await
}

async fn read_reports(connection: &Connection, task: &ActivityTask) -> Result<Before, JetStreamError> {
    let subject = subject::stored_reports(connection.namespace(), &task.workflow_id, &task.run_id, task.step);
    let mut before = Before::Nothing;
    let mut next = 1;
    loop {
        let page = read_page(connection, Stream::Events, &subject, next).await?;
        for message in &page.messages {
            next = message.sequence + 1;
            let Ok(report) = decode::<ReportMessage>(&message.body) else { continue };
            if report.token != task.token || report.attempt != task.attempt {
                continue;
            }
            match report.outcome {
                Outcome::Started {} => before = Before::Begun(report.worker),
                Outcome::Completed { .. } | Outcome::Failed { .. } | Outcome::Cancelled {} => {
                    return Ok(Before::Ended);
                }
                // Nobody began it.
                Outcome::Refused { .. } => {}
            }
        }
        if !page.more {
            return Ok(before);
        }
    }
}

async fn limited<T>(look: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    match tokio::time::timeout(LOOK_TIMEOUT, look).await {
        Ok(found) => found,
        Err(_) => Err(format!("NATS did not answer within {LOOK_TIMEOUT:?}")),
    }
}

fn connects(connection: &Connection) -> u64 {
    connection.client().statistics().connects.load(Ordering::Relaxed)
}
