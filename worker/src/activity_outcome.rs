//! From how an attempt ended to what is reported of it.

use std::any::Any;

use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::message::Outcome;
use stepwell_shared::payload::Payload;
use tokio::task::JoinError;

use crate::activity::code::too_large;
use crate::activity::error::ActivityError;
use crate::activity::heartbeats::Heartbeats;
use crate::metric_definitions::ActivityMetrics;
use crate::registry::Registered;
use crate::running::Stop;

/// How an attempt ended, as the worker saw it.
pub(crate) enum Ended {
    Returned(Result<Payload, ActivityError>),
    Panicked(String),
    TimedOut(Failure),
    WorkerGone,
}

/// How the code ended, as its tokio task tells it.
pub(crate) fn returned(joined: Result<Result<Payload, ActivityError>, JoinError>) -> Ended {
    match joined {
        Ok(result) => Ended::Returned(result),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => Ended::Panicked(panic_text(&*panic)),
            // Only a runtime that ends cancels tasks that nobody aborts.
            Err(_) => Ended::WorkerGone,
        },
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a value that is not text".to_owned())
}

/// What to report, and count.
pub(crate) fn outcome(
    ended: Ended,
    registered: &Registered,
    stop: &Stop,
    heartbeats: &Heartbeats,
) -> Outcome {
    let metrics: &ActivityMetrics = &registered.metrics;
    let failure = match ended {
        Ended::Returned(Ok(result)) => match too_large(registered.code.name(), &result) {
            None => {
                metrics.completed.inc();
                return Outcome::Completed { result };
            }
            Some(failure) => {
                metrics.failed.inc();
                failure
            }
        },
        // The activity stopped because the worker ends; its run did not ask for that.
        Ended::Returned(Err(error))
            if error.is_cancelled() && stop.token.is_cancelled() && !stop.asked_by_run() =>
        {
            metrics.failed.inc();
            worker_ended()
        }
        Ended::Returned(Err(error)) if error.is_cancelled() => {
            metrics.cancelled.inc();
            return Outcome::Cancelled {};
        }
        Ended::Returned(Err(error)) => {
            metrics.failed.inc();
            error.into_failure()
        }
        Ended::Panicked(text) => {
            metrics.panicked.inc();
            Failure::new(
                FailureKind::Panic,
                format!("activity `{}` panicked: {text}", registered.code.name()),
            )
            .bounded()
        }
        Ended::TimedOut(failure) => {
            metrics.timed_out.inc();
            failure
        }
        Ended::WorkerGone => {
            metrics.failed.inc();
            worker_ended()
        }
    };
    Outcome::Failed { failure, heartbeat: heartbeats.latest() }
}

/// Another worker is to go on at once.
fn worker_ended() -> Failure {
    let message = "the worker was shut down while the attempt ran, and did not wait for its end any longer";
    let failure = Failure::typed(FailureKind::Application, "WorkerShutdown", message);
    Failure { next_retry_delay_ms: Some(0), ..failure }
}
