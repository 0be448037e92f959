//! Whether a task was given out before, though the server says that this is the first time.
//!
//! A server writes down a moment later what it has given out and what was acknowledged. When it is killed in
//! that moment, tasks come again as if for the first time, perhaps to another worker, and perhaps although
//! their result is recorded. That can only be tasks which were on the stream when the connection to the
//! server was made; for those, and only for those, it is looked up what was reported of them.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use stepwell_connection::page::read_page;
use stepwell_connection::{Connection, JetStreamError};
use stepwell_shared::encoding::decode;
use stepwell_shared::ids::WorkerId;
use stepwell_shared::message::{Outcome, ReportMessage};
use stepwell_shared::subject::{self, Stream};
use stepwell_shared::task::ActivityTask;

/// What is reported of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Before {
    /// Nothing: nobody is known to have begun it.
    Nothing,
    /// This worker has begun it.
    Begun(Option<WorkerId>),
    /// It has ended.
    Ended,
}

/// Knows which tasks were on the stream when the connection was made.
#[derive(Debug, Default)]
pub(crate) struct GivenBefore(Mutex<Option<Seen>>);

#[derive(Debug, Clone, Copy)]
struct Seen {
    connects: u64,
    last_sequence: u64,
}

impl GivenBefore {
    /// What was reported of a task that seems to be given out for the first time.
    pub(crate) async fn look(
        &self,
        connection: &Connection,
        task: &ActivityTask,
        sequence: u64,
    ) -> Result<Before, JetStreamError> {
        if sequence > self.last_sequence(connection).await? {
            return Ok(Before::Nothing);
        }
        reported(connection, task).await
    }

    /// The last task that was on the stream when the connection was made.
    async fn last_sequence(&self, connection: &Connection) -> Result<u64, JetStreamError> {
        let connects = connection.client().statistics().connects.load(Ordering::Relaxed);
        let seen = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = seen.filter(|seen| seen.connects == connects) {
            return Ok(seen.last_sequence);
        }
        let stream = connection.jetstream().get_stream(Stream::Tasks.name(connection.namespace())).await;
        let stream = stream.map_err(|error| JetStreamError::Other(error.to_string()))?;
        let last_sequence = stream.cached_info().state.last_sequence;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Seen { connects, last_sequence });
        Ok(last_sequence)
    }
}

/// What the EVENTS stream has of an attempt. Only who was given the task knows its token, so that nobody
/// can make an attempt appear to be over.
pub(crate) async fn reported(connection: &Connection, task: &ActivityTask) -> Result<Before, JetStreamError> {
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
                // Nobody began it; it comes again under the same number.
                Outcome::Refused { .. } => {}
            }
        }
        if !page.more {
            return Ok(before);
        }
    }
}
