//! Where a run's code stands, as a digest of everything that it was handed, and when.
//!
//! The index of a record does not say it: an orchestrator that is killed, or that somebody has taken over
//! from, may have asked for a turn that was never recorded, and another turn has that index now. A worker
//! whose cached code made the one must not go on as if it had made the other.

use stepwell_shared::failure::Failure;
use stepwell_shared::history::Event;
use stepwell_shared::rng::{SplitMix64, seed_from};

/// The digest after one more turn.
pub(crate) fn after_turn<'a>(
    before: u64,
    index: u64,
    at_ms: u64,
    events: impl Iterator<Item = &'a Event>,
) -> u64 {
    let begin = [index, at_ms].into_iter().fold(before, mix);
    events.fold(begin, |digest, event| mix(digest, of_event(event)))
}

/// As it goes over the wire; workers compare it and nothing else.
pub(crate) fn text(digest: u64) -> String {
    format!("{digest:016x}")
}

fn mix(digest: u64, value: u64) -> u64 {
    SplitMix64::new(digest.rotate_left(23) ^ value).next_u64()
}

fn of_event(event: &Event) -> u64 {
    let kind = seed_from(event.name().as_bytes());
    let numbers = |numbers: &[u32]| numbers.iter().fold(kind, |digest, it| mix(digest, u64::from(*it)));
    let text = |digest: u64, text: &str| mix(digest, seed_from(text.as_bytes()));
    match event {
        Event::RunStarted(started) => text(kind, started.input.json()),
        Event::SignalReceived { name, payload, request_id: _ } => {
            text(text(kind, name.as_str()), payload.json())
        }
        Event::CancelRequested { reason } | Event::RunTerminated { reason } => text(kind, reason),
        Event::RunTimedOut { failure } => mix(kind, of_failure(failure)),
        Event::ActivityCompleted { seq, attempt, result } => text(numbers(&[*seq, *attempt]), result.json()),
        Event::ActivityFailed { seq, attempt, failure } => {
            mix(numbers(&[*seq, *attempt]), of_failure(failure))
        }
        Event::ActivityCancelled { seq } | Event::TimerFired { seq } => numbers(&[*seq]),
        Event::CompensationsFinished { seq } => numbers(&[seq.unwrap_or(0)]),
        // Code is never handed these.
        Event::AttemptFailed { .. }
        | Event::AttemptStarted { .. }
        | Event::AttemptRefused { .. }
        | Event::AttemptScheduled { .. }
        | Event::CompensationStarted { .. }
        | Event::CompensationCompleted { .. }
        | Event::CompensationFailed { .. }
        | Event::CompensationResolved { .. } => kind,
    }
}

fn of_failure(failure: &Failure) -> u64 {
    let details = failure.details.as_ref().map_or("", |details| details.json());
    [failure.message.as_str(), details]
        .into_iter()
        .fold(seed_from(failure.error_type.as_bytes()), |digest, text| {
            mix(digest, seed_from(text.as_bytes()))
        })
}
