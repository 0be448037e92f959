//! What an engine makes of the events that it reads.

use stepwell_orchestrator_core::{Input, is_pack, unpack};
use stepwell_shared::encoding::{VERSION, decode, encode};
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::history::RunStarted;
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::message::{
    CompensationMessage, ReportMessage, SignalMessage, StartMessage, StopMessage,
};
use stepwell_shared::rejection::Rejection;
use stepwell_shared::subject::{self, EventAddress, parse_stored_event};

use super::world::{World, new_run_id};
use crate::backend::{Message, Stored};

/// An event, or one of those in a pack, as it would be stored alone.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    pub(crate) stored: Stored,
    /// Which one of the pack.
    pub(crate) place: Option<usize>,
}

impl Raw {
    /// The id under which it is set aside.
    pub(crate) fn rejection_id(&self) -> String {
        match self.place {
            Some(place) => format!("rejected-{}/{place}", self.stored.sequence),
            None => format!("rejected-{}", self.stored.sequence),
        }
    }
}

/// What is in a message.
pub(crate) fn parts(world: &mut World, message: Stored) -> Vec<Raw> {
    if !is_pack(&message.subject) {
        return vec![Raw { stored: message, place: None }];
    }
    let reports = unpack(&message.subject, message.pack.as_deref(), &message.body, world.partitions);
    let mut parts = Vec::new();
    for report in reports.expect("workers make packs that can be read") {
        match report.subject {
            Ok(subject) => {
                let body = message.body[report.body].to_vec();
                let stored = Stored { subject, body, pack: None, ..message.clone() };
                parts.push(Raw { stored, place: Some(report.place) });
            }
            Err(refusal) => world.complaints.push(format!("a pack cannot be read: {}", refusal.message)),
        }
    }
    parts
}

/// Sets an event aside with its reason.
pub(crate) fn rejection(world: &World, raw: &Raw, code: ErrorCode, message: &str) -> Message {
    let stored = &raw.stored;
    let rejection = Rejection {
        v: VERSION,
        code,
        message: message.to_owned(),
        subject: stored.subject.clone(),
        sequence: stored.sequence,
        at_ms: world.now_ms,
        size: stored.body.len(),
        preview: String::new(),
    };
    Message::new(subject::rejected(&world.namespace, code), encode(&rejection)).with_id(raw.rejection_id())
}

/// The token of an attempt.
pub(crate) fn token(run: &str, step: &str, attempt: u32) -> String {
    format!("token of {run}/{step}/{attempt}")
}

/// What an event is for its workflow.
pub(crate) fn input_of(world: &mut World, message: &Stored) -> Result<(WorkflowId, Input), String> {
    let (id, address) = parse_stored_event(&message.subject).map_err(|error| error.to_string())?;
    let body = &message.body;
    let text = |error: stepwell_shared::encoding::DecodeError| error.to_string();
    let input = match address {
        EventAddress::Start { workflow_type } => {
            let message: StartMessage = decode(body).map_err(text)?;
            let start = RunStarted {
                workflow_type,
                queue: message.queue,
                input: message.input,
                request_id: message.request_id,
                run_timeout_ms: message.run_timeout_ms,
                execution_timeout_ms: message.execution_timeout_ms,
            };
            Input::Start { start: Box::new(start), run_id: new_run_id(world) }
        }
        EventAddress::Signal { name } => {
            let message: SignalMessage = decode(body).map_err(text)?;
            Input::Signal { name, payload: message.payload, request_id: message.request_id }
        }
        EventAddress::Cancel => Input::Cancel { reason: decode::<StopMessage>(body).map_err(text)?.reason },
        EventAddress::Terminate => {
            Input::Terminate { reason: decode::<StopMessage>(body).map_err(text)?.reason }
        }
        EventAddress::Report { run_id, step } => {
            let message: ReportMessage = decode(body).map_err(text)?;
            if message.token != token(run_id.as_str(), &step.to_string(), message.attempt) {
                return Err(format!("wrong token {}", message.token));
            }
            Input::Report { run_id, step, attempt: message.attempt, outcome: message.outcome }
        }
        EventAddress::Reports => return Err("a pack of reports in a pack".to_owned()),
        EventAddress::Compensation { seq } => {
            let message: CompensationMessage = decode(body).map_err(text)?;
            Input::Resolve { seq, action: message.action, reason: message.reason }
        }
    };
    Ok((id, input))
}
