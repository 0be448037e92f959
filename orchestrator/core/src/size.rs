//! How many bytes an event or a command takes in a record or a task. Never less than it is, so that what
//! is within a limit here is within it when it is written; a little more, where counting would cost.

use stepwell_shared::command::Command;
use stepwell_shared::failure::{Failure, escaped_bytes};
use stepwell_shared::history::Event;
use stepwell_shared::options::ActivityOptions;
use stepwell_shared::payload::Payload;

/// The names and numbers of an event, without texts, payloads and failures.
const EVENT_BYTES: usize = 128;

/// The names and numbers of a command, without texts and payloads.
const COMMAND_BYTES: usize = 96;

/// The names and numbers of an activity's options.
const OPTIONS_BYTES: usize = 512;

pub(crate) fn of_event(event: &Event) -> usize {
    EVENT_BYTES
        + match event {
            Event::RunStarted(started) => {
                OPTIONS_BYTES
                    + started.workflow_type.as_str().len()
                    + started.queue.as_str().len()
                    + started.input.size()
                    + started.request_id.as_deref().map_or(0, escaped_bytes)
            }
            Event::SignalReceived { name, payload, request_id } => {
                name.as_str().len() + payload.size() + request_id.as_deref().map_or(0, escaped_bytes)
            }
            Event::CancelRequested { reason }
            | Event::RunTerminated { reason }
            | Event::AttemptRefused { reason, .. }
            | Event::CompensationResolved { reason, .. } => escaped_bytes(reason),
            Event::ActivityCompleted { result, .. } => result.size(),
            Event::AttemptFailed { failure, heartbeat, .. } => {
                of_failure(failure) + heartbeat.as_ref().map_or(0, Payload::size)
            }
            Event::ActivityFailed { failure, .. }
            | Event::RunTimedOut { failure }
            | Event::CompensationFailed { failure, .. } => of_failure(failure),
            Event::AttemptStarted { .. }
            | Event::AttemptScheduled { .. }
            | Event::ActivityCancelled { .. }
            | Event::TimerFired { .. }
            | Event::CompensationStarted { .. }
            | Event::CompensationCompleted { .. }
            | Event::CompensationsFinished { .. } => 0,
        }
}

pub(crate) fn of_command(command: &Command) -> usize {
    COMMAND_BYTES
        + match command {
            Command::RunActivity(activity) => {
                let compensation = activity.compensation.as_ref().map_or(0, |compensation| {
                    compensation.activity_type.as_str().len()
                        + compensation.queue.as_str().len()
                        + of_options(&compensation.options)
                });
                activity.activity_type.as_str().len()
                    + activity.queue.as_str().len()
                    + activity.input.size()
                    + of_options(&activity.options)
                    + compensation
            }
            Command::CompleteRun { result } => result.size(),
            Command::FailRun { failure } | Command::CancelRun { failure } => of_failure(failure),
            Command::CancelActivity { .. }
            | Command::StartTimer { .. }
            | Command::CancelTimer { .. }
            | Command::RaceWon { .. }
            | Command::Pivot { .. }
            | Command::Compensate { .. } => 0,
        }
}

fn of_failure(failure: &Failure) -> usize {
    let one = |failure: &Failure| failure.own_bytes() + failure.details.as_ref().map_or(0, Payload::size);
    failure.chain().map(one).sum()
}

fn of_options(options: &ActivityOptions) -> usize {
    // With quotes and a comma.
    let listed = options.retry.non_retryable.iter().map(|text| escaped_bytes(text) + 3);
    OPTIONS_BYTES + listed.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use stepwell_shared::command::{Compensation, RunActivity};
    use stepwell_shared::failure::FailureKind;
    use stepwell_shared::history::RunStarted;
    use stepwell_shared::ids::{Name, Seq, StepId};
    use stepwell_shared::limits::{MAX_NAME_BYTES, MAX_REQUEST_ID_BYTES};
    use stepwell_shared::message::CompensationAction;
    use stepwell_shared::retry::RetryPolicy;

    use super::*;

    /// Takes six times the room in JSON.
    const CONTROL: &str = "\u{1}";

    fn name() -> Name {
        Name::new("n".repeat(MAX_NAME_BYTES)).unwrap()
    }

    fn text() -> String {
        CONTROL.repeat(MAX_REQUEST_ID_BYTES) + "\"\\\n\u{7f}ä"
    }

    fn payload() -> Payload {
        Payload::encode(&text()).unwrap()
    }

    fn failure() -> Failure {
        let one = |cause| Failure {
            non_retryable: true,
            next_retry_delay_ms: Some(u64::MAX),
            details: Some(payload()),
            cause,
            ..Failure::typed(FailureKind::ScheduleToClose, text(), text())
        };
        one(Some(Box::new(one(None))))
    }

    fn options() -> ActivityOptions {
        ActivityOptions {
            start_to_close_ms: Some(u64::MAX),
            schedule_to_start_ms: Some(u64::MAX),
            schedule_to_close_ms: Some(u64::MAX),
            heartbeat_timeout_ms: Some(u64::MAX),
            retry: RetryPolicy {
                initial_interval_ms: u64::MAX,
                backoff_coefficient: -f64::MIN_POSITIVE,
                maximum_interval_ms: Some(u64::MAX),
                maximum_attempts: Some(u32::MAX),
                non_retryable: vec![text(), text()],
                jitter: -f64::MIN_POSITIVE,
            },
        }
    }

    /// Every event with the longest that can be in it.
    fn events() -> Vec<Event> {
        let (seq, attempt, step) = (Seq::MAX, u32::MAX, StepId::Undo(Seq::MAX));
        vec![
            Event::RunStarted(Box::new(RunStarted {
                workflow_type: name(),
                queue: name(),
                input: payload(),
                request_id: Some(text()),
                run_timeout_ms: Some(u64::MAX),
                execution_timeout_ms: Some(u64::MAX),
            })),
            Event::SignalReceived { name: name(), payload: payload(), request_id: Some(text()) },
            Event::CancelRequested { reason: text() },
            Event::RunTerminated { reason: text() },
            Event::RunTimedOut { failure: failure() },
            Event::AttemptFailed {
                step,
                attempt,
                failure: failure(),
                retry_at_ms: u64::MAX,
                heartbeat: Some(payload()),
            },
            Event::AttemptStarted { step, attempt },
            Event::AttemptRefused { step, attempt, reason: text() },
            Event::AttemptScheduled { step, attempt },
            Event::ActivityCompleted { seq, attempt, result: payload() },
            Event::ActivityFailed { seq, attempt, failure: failure() },
            Event::ActivityCancelled { seq },
            Event::TimerFired { seq },
            Event::CompensationStarted { seq },
            Event::CompensationCompleted { seq },
            Event::CompensationFailed { seq, failure: failure() },
            Event::CompensationResolved { seq, action: CompensationAction::Retry, reason: text() },
            Event::CompensationsFinished { seq: Some(seq) },
        ]
    }

    fn commands() -> Vec<Command> {
        let seq = Seq::MAX;
        let compensation = Compensation { activity_type: name(), queue: name(), options: options() };
        vec![
            Command::RunActivity(RunActivity {
                seq,
                activity_type: name(),
                queue: name(),
                input: payload(),
                options: options(),
                compensation: Some(Box::new(compensation)),
            }),
            Command::CancelActivity { seq },
            Command::StartTimer { seq, delay_ms: u64::MAX },
            Command::CancelTimer { seq },
            Command::RaceWon { seq, winner: u32::MAX },
            Command::Pivot { seq },
            Command::Compensate { seq },
            Command::CompleteRun { result: payload() },
            Command::FailRun { failure: failure() },
            Command::CancelRun { failure: failure() },
        ]
    }

    /// With the comma that follows in a list. What is said may be more, and not by much.
    #[track_caller]
    fn holds<T: serde::Serialize + std::fmt::Debug>(it: &T, said: usize, slack: usize) {
        let written = serde_json::to_vec(it).unwrap().len() + 1;
        assert!((written..written + slack).contains(&said), "{said} said, {written} written: {it:?}");
    }

    #[test]
    fn nothing_takes_more_than_is_said() {
        for event in events() {
            holds(&event, of_event(&event), 700);
        }
        for command in commands() {
            holds(&command, of_command(&command), 700);
        }
    }
}
