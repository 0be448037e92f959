//! From a stored message to an input of the core, or to the reason why it is none. Never fails in any
//! other way, whatever the bytes.

use stepwell_shared::encoding::{DecodeError, decode};
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::history::RunStarted;
use stepwell_shared::ids::{RunId, StepId, WorkflowId};
use stepwell_shared::message::{
    CompensationMessage, ReportMessage, SignalMessage, StartMessage, StopMessage,
};
use stepwell_shared::subject::{EventAddress, parse_stored_event};

use crate::input::Input;

/// A message that could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The workflow that it is for.
    pub workflow_id: WorkflowId,
    /// What it says.
    pub input: Input,
    /// Times that the worker measured, if it is a report.
    pub timings: Option<Timings>,
}

/// What a worker measured of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// From the task's publication to the start of the attempt, in milliseconds.
    pub schedule_to_start_ms: Option<u64>,
    /// How long the attempt ran, in milliseconds.
    pub execution_ms: Option<u64>,
}

/// Why a message cannot be taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code.
    pub code: ErrorCode,
    /// What was found and what to do.
    pub message: String,
}

/// Reads a message of the EVENTS stream. `genuine` says whether a token is the one of an attempt;
/// `new_run_id` is the id of the run that the message may start.
///
/// # Errors
/// [`Refusal`] with the code under which the message is set aside.
pub fn decode_event(
    subject: &str,
    body: &[u8],
    genuine: impl FnOnce(&str, &RunId, StepId, u32) -> bool,
    new_run_id: impl FnOnce() -> RunId,
) -> Result<Decoded, Refusal> {
    let (workflow_id, address) = parse_stored_event(subject)
        .map_err(|error| Refusal { code: error.code, message: error.to_string() })?;
    let mut timings = None;
    let input = match address {
        EventAddress::Start { workflow_type } => {
            let message: StartMessage = decode(body)?;
            Input::Start {
                start: Box::new(RunStarted {
                    workflow_type,
                    queue: message.queue,
                    input: message.input,
                    request_id: message.request_id,
                    run_timeout_ms: message.run_timeout_ms,
                    execution_timeout_ms: message.execution_timeout_ms,
                }),
                run_id: new_run_id(),
            }
        }
        EventAddress::Signal { name } => {
            let message: SignalMessage = decode(body)?;
            Input::Signal { name, payload: message.payload, request_id: message.request_id }
        }
        EventAddress::Cancel => Input::Cancel { reason: decode::<StopMessage>(body)?.reason },
        EventAddress::Terminate => Input::Terminate { reason: decode::<StopMessage>(body)?.reason },
        EventAddress::Report { run_id, step } => {
            let message: ReportMessage = decode(body)?;
            if !genuine(&message.token, &run_id, step, message.attempt) {
                return Err(Refusal {
                    code: ErrorCode::WrongToken,
                    message: format!(
                        "the token is not the one of attempt {} of step {step} of run {run_id}; a report \
                         returns the token that came with the task",
                        message.attempt
                    ),
                });
            }
            timings = Some(Timings {
                schedule_to_start_ms: message.schedule_to_start_ms,
                execution_ms: message.execution_ms,
            });
            Input::Report { run_id, step, attempt: message.attempt, outcome: message.outcome }
        }
        EventAddress::Reports => {
            return Err(Refusal {
                code: ErrorCode::MalformedSubject,
                message: format!(
                    "{subject:?} is where packs of reports go, and this is read as a single event"
                ),
            });
        }
        EventAddress::Compensation { seq } => {
            let message: CompensationMessage = decode(body)?;
            Input::Resolve { seq, action: message.action, reason: message.reason }
        }
    };
    Ok(Decoded { workflow_id, input, timings })
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        Self { code: error.code(), message: error.to_string() }
    }
}
