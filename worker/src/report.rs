//! Telling the orchestrator how an attempt ended. A report is sent until it is stored: the task is
//! acknowledged after that and not before.

use bytes::Bytes;
use stepwell_connection::Connection;
use stepwell_shared::encoding::{VERSION, encode};
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::ids::{RunId, StepId, WorkerId, WorkflowId};
use stepwell_shared::message::{Outcome, ReportMessage};
use stepwell_shared::packed_report::join;
use stepwell_shared::subject::{self, EventAddress};
use stepwell_shared::task::ActivityTask;
use uuid::Uuid;

use crate::metric_definitions::Metrics;
use crate::report_packs::{PackedReport, ReportPacks, Went};
use crate::sealing::Whose;
use crate::until_stored::{ReportToSend, Stored, send_until_stored};

/// What is to be said of an attempt, but for how it ended.
#[derive(Debug)]
pub(crate) struct Reporter {
    workflow_id: WorkflowId,
    run_id: RunId,
    step: StepId,
    attempt: u32,
    token: String,
    /// The partition, if reports may go together.
    partition: Option<u32>,
    worker: WorkerId,
    pub(crate) schedule_to_start_ms: Option<u64>,
    pub(crate) execution_ms: Option<u64>,
}

/// The report will never be stored; NATS refuses it for good.
#[derive(Debug)]
pub(crate) struct NotReported;

impl Reporter {
    pub(crate) fn new(task: &ActivityTask, worker: &WorkerId) -> Self {
        Self {
            workflow_id: task.workflow_id.clone(),
            run_id: task.run_id.clone(),
            step: task.step,
            attempt: task.attempt,
            token: task.token.clone(),
            partition: task.partition,
            worker: worker.clone(),
            schedule_to_start_ms: None,
            execution_ms: None,
        }
    }

    /// Which step it is about.
    pub(crate) fn whose(&self) -> Whose<'_> {
        Whose { id: &self.workflow_id, run_id: &self.run_id, step: self.step }
    }

    /// Reports how the attempt ended, together with others if there are any; returns when it is stored.
    pub(crate) async fn report_end(
        &self,
        connection: &Connection,
        packs: &ReportPacks,
        metrics: &Metrics,
        outcome: Outcome,
    ) -> Result<(), NotReported> {
        let Some(partition) = self.partition.filter(|_| ends(&outcome)) else {
            return self.report(connection, metrics, outcome).await.map(|_| ());
        };
        let end = subject::report_end(&self.workflow_id, &self.run_id, self.step);
        let body = self.body(outcome, connection.max_body());
        let report = PackedReport {
            partition,
            workflow_id: self.workflow_id.clone(),
            joined: join(&end, &body).into(),
        };
        match packs.send(report).await {
            Went::Stored => Ok(()),
            Went::Alone => self.send(connection, metrics, self.message_id_of_end(), body).await.map(|_| ()),
        }
    }

    /// Sends the report until it is stored.
    pub(crate) async fn report(
        &self,
        connection: &Connection,
        metrics: &Metrics,
        outcome: Outcome,
    ) -> Result<Stored, NotReported> {
        let message_id = self.message_id(&outcome);
        let body = self.body(outcome, connection.max_body());
        self.send(connection, metrics, message_id, body).await
    }

    async fn send(
        &self,
        connection: &Connection,
        metrics: &Metrics,
        message_id: String,
        body: Bytes,
    ) -> Result<Stored, NotReported> {
        let address = EventAddress::Report { run_id: self.run_id.clone(), step: self.step };
        let subject = subject::event(connection.namespace(), &self.workflow_id, &address);
        let report = ReportToSend { subject, message_id, index: None, body };
        send_until_stored(&report, connection, metrics, || true).await.map_err(|error| {
            let subject = &report.subject;
            tracing::error!(subject, %error, "an activity's report cannot be stored; its task will be given out again");
            NotReported
        })
    }

    /// The same for every try. A refusal ends nothing: each one is news, whatever was said of the attempt before,
    /// and what is said after it must not be taken for its repeat.
    fn message_id(&self, outcome: &Outcome) -> String {
        let Self { run_id, step, attempt, .. } = self;
        match outcome {
            Outcome::Started {} => format!("started-{run_id}/{step}/{attempt}"),
            Outcome::Completed { .. } | Outcome::Failed { .. } | Outcome::Cancelled {} => {
                self.message_id_of_end()
            }
            Outcome::Refused { .. } => format!("refused-{}", Uuid::now_v7()),
        }
    }

    fn message_id_of_end(&self) -> String {
        let Self { run_id, step, attempt, .. } = self;
        format!("report-{run_id}/{step}/{attempt}")
    }

    /// The report in one message; what does not fit is left out, heartbeat details first.
    fn body(&self, outcome: Outcome, limit: usize) -> Bytes {
        let mut outcome = outcome;
        loop {
            let body = encode(&ReportMessage {
                v: VERSION,
                attempt: self.attempt,
                token: self.token.clone(),
                outcome: outcome.clone(),
                worker: Some(self.worker.clone()),
                schedule_to_start_ms: self.schedule_to_start_ms,
                execution_ms: self.execution_ms,
            });
            if body.len() <= limit {
                return body.into();
            }
            let Some(smaller) = smaller(outcome, body.len(), limit) else { return body.into() };
            outcome = smaller;
        }
    }
}

/// Whether the attempt is over with it. What is said before or instead must be told apart from what others say, so it
/// goes alone, under an id of its own.
fn ends(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Completed { .. } | Outcome::Failed { .. } | Outcome::Cancelled {} => true,
        Outcome::Started {} | Outcome::Refused { .. } => false,
    }
}

/// The outcome with one thing less in it; `None` when there is nothing left to leave out.
fn smaller(outcome: Outcome, size: usize, limit: usize) -> Option<Outcome> {
    match outcome {
        Outcome::Failed { failure, heartbeat: Some(_) } => Some(Outcome::Failed { failure, heartbeat: None }),
        Outcome::Failed { failure, heartbeat: None } if failure.details.is_some() => {
            Some(Outcome::Failed { failure: Failure { details: None, ..failure }, heartbeat: None })
        }
        Outcome::Failed { failure, heartbeat: None } if failure.cause.is_some() => {
            Some(Outcome::Failed { failure: Failure { cause: None, ..failure }, heartbeat: None })
        }
        Outcome::Completed { .. } => {
            let message = format!(
                "the report of the result has {size} bytes; this NATS server takes {limit}. Keep large data in \
                 an object store and return its key, or raise the server's max_payload"
            );
            let failure = Failure::new(FailureKind::Payload, message);
            let failure = Failure { non_retryable: true, ..failure };
            Some(Outcome::Failed { failure, heartbeat: None })
        }
        Outcome::Failed { .. } | Outcome::Started {} | Outcome::Cancelled {} | Outcome::Refused { .. } => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use stepwell_shared::encoding::decode;
    use stepwell_shared::payload::Payload;

    use super::*;

    const LIMIT: usize = 10_000;

    fn reported(outcome: Outcome) -> Outcome {
        let reporter = Reporter {
            workflow_id: WorkflowId::new("w").unwrap(),
            run_id: RunId::new("r").unwrap(),
            step: StepId::Action(1),
            attempt: 1,
            token: "t".into(),
            partition: None,
            worker: WorkerId::new("x").unwrap(),
            schedule_to_start_ms: None,
            execution_ms: None,
        };
        let body = reporter.body(outcome, LIMIT);
        assert!(body.len() <= LIMIT);
        decode::<ReportMessage>(&body).unwrap().outcome
    }

    fn large() -> Payload {
        Payload::encode(&"x".repeat(LIMIT)).unwrap()
    }

    #[test]
    fn what_fits_is_left_alone() {
        let outcome = Outcome::Completed { result: Payload::encode(&7).unwrap() };
        assert_eq!(reported(outcome.clone()), outcome);
    }

    #[test]
    fn a_failure_loses_what_matters_least_first() {
        let small = Failure::new(FailureKind::Application, "m");
        let details = Some(Payload::encode(&7).unwrap());
        let failure = Failure { details, ..small.clone() };
        let left = reported(Outcome::Failed { failure: failure.clone(), heartbeat: Some(large()) });
        assert_eq!(left, Outcome::Failed { failure, heartbeat: None });
        let failure = Failure { details: Some(large()), ..small.clone() };
        let left = reported(Outcome::Failed { failure, heartbeat: Some(large()) });
        assert_eq!(left, Outcome::Failed { failure: small, heartbeat: None });
    }

    #[test]
    fn a_result_that_does_not_fit_becomes_a_failure() {
        let Outcome::Failed { failure, .. } = reported(Outcome::Completed { result: large() }) else {
            panic!("it fits");
        };
        assert_eq!(failure.kind, FailureKind::Payload);
        assert!(failure.non_retryable);
    }
}
