//! From a stored message to an input of the core, or to the reason why it is none. Never fails in any
//! other way, whatever the bytes.

use stepwell_orchestrator_core::Input;
use stepwell_shared::encoding::{DecodeError, decode};
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::history::RunStarted;
use stepwell_shared::ids::{RunId, WorkflowId};
use stepwell_shared::message::{
    CompensationMessage, ReportMessage, SignalMessage, StartMessage, StopMessage,
};
use stepwell_shared::subject::{EventAddress, parse_stored_event};

use crate::token::Tokens;

/// A message that could be read.
pub(crate) struct Decoded {
    pub(crate) workflow_id: WorkflowId,
    pub(crate) input: Input,
    /// Times that the worker measured, if it is a report.
    pub(crate) timings: Option<Timings>,
}

/// What a worker measured of an attempt, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Timings {
    pub(crate) schedule_to_start_ms: Option<u64>,
    pub(crate) execution_ms: Option<u64>,
}

/// Why a message cannot be taken in.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
}

/// Reads a message of the EVENTS stream. `new_run_id` is the id of the run that it may start.
pub(crate) fn decode_event(
    subject: &str,
    body: &[u8],
    tokens: &Tokens,
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
            if !tokens.verify(&message.token, &run_id, step, message.attempt) {
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
