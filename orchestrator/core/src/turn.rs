//! Asking workflow code and checking what it answers.

use stepwell_shared::command::{Command, RunActivity};
use stepwell_shared::history::Event;
use stepwell_shared::ids::Name;
use stepwell_shared::limits::{
    MAX_DURATION_MS, MAX_PAYLOAD_BYTES, MAX_PENDING_STEPS, MAX_TURN_COMMAND_BYTES, MAX_TURN_COMMANDS,
    MAX_TURN_EVENT_BYTES, MAX_TURN_EVENTS,
};

use crate::error::InvalidTurn;
use crate::run::Run;
use crate::size;

/// What workflow code is to be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnRequest {
    /// Index of the last record whose turn the code has answered.
    pub after: u64,
    /// Which of the turns that may have been made for that record the code must have made.
    pub mark: String,
    /// The mark of the code when it has made this turn.
    pub next_mark: String,
    /// Index of the record that this turn will be in.
    pub index: u64,
    /// The time that the code sees.
    pub at_ms: u64,
    /// The oldest events that it has not seen, within the limits of one turn.
    pub events: Vec<Event>,
    /// The workflow type.
    pub workflow_type: Name,
    /// The queue whose workers have the code.
    pub queue: Name,
}

/// The oldest undelivered events, as many as one turn takes: at least one.
pub(crate) fn events_for_turn(run: &Run) -> Vec<Event> {
    let mut bytes = 0;
    let mut events = Vec::with_capacity(run.undelivered.len().min(MAX_TURN_EVENTS));
    for event in run.undelivered.iter().take(MAX_TURN_EVENTS) {
        bytes += size::of_event(event);
        if bytes > MAX_TURN_EVENT_BYTES && !events.is_empty() {
            break;
        }
        events.push(event.clone());
    }
    events
}

/// Makes the answer of the code what is recorded of it: the failure with which it ends is cut like every
/// other one, and what does not fit into a record is refused. Not asked of records that are stored: they did.
pub(crate) fn fit(commands: &mut [Command]) -> Result<(), InvalidTurn> {
    if let Some(Command::FailRun { failure } | Command::CancelRun { failure }) = commands.last_mut() {
        *failure = failure.clone().bounded();
    }
    let mut bytes = 0;
    for (command, position) in commands.iter().zip(1..) {
        bytes += size::of_command(command);
        if bytes > MAX_TURN_COMMAND_BYTES {
            let reason = format!(
                "with it the turn has {bytes} bytes; at most {MAX_TURN_COMMAND_BYTES} are recorded at once: ask \
                 for less at a time, or store large inputs elsewhere and pass where"
            );
            return Err(InvalidTurn { position, reason });
        }
    }
    Ok(())
}

/// Whether the answer of the code can be carried out in this run.
pub(crate) fn check(run: &Run, commands: &[Command], delivered: usize) -> Result<(), InvalidTurn> {
    let invalid = |position: usize, reason: String| InvalidTurn { position: position + 1, reason };
    if delivered > run.undelivered.len() {
        return Err(invalid(
            0,
            format!("{delivered} events were handed over, {} waited", run.undelivered.len()),
        ));
    }
    if commands.len() > MAX_TURN_COMMANDS {
        let reason = format!(
            "the code asked for {} things at once; at most {MAX_TURN_COMMANDS} are allowed: ask for them in \
             portions",
            commands.len()
        );
        return Err(invalid(0, reason));
    }
    let mut next_seq = run.last_seq + 1;
    let mut pending = run.steps.len() + run.timers.len();
    let mut compensating = run.unwinding.is_some();
    for (position, command) in commands.iter().enumerate() {
        if let Some(seq) = command.new_seq() {
            if seq != next_seq {
                return Err(invalid(position, format!("it has number {seq}; {next_seq} is next")));
            }
            next_seq += 1;
        }
        if command.closes() && position + 1 != commands.len() {
            return Err(invalid(position, "it ends the run, and more commands follow".into()));
        }
        let compensates = matches!(command, Command::Compensate { .. });
        if compensates && compensating {
            let reason = "compensations are running already; wait for them before asking again";
            return Err(invalid(position, reason.into()));
        }
        compensating |= compensates;
        check_one(command, next_seq).map_err(|reason| invalid(position, reason))?;
        pending += usize::from(matches!(command, Command::RunActivity(_) | Command::StartTimer { .. }));
    }
    if pending > MAX_PENDING_STEPS {
        let reason =
            format!("the run would have {pending} pending steps; at most {MAX_PENDING_STEPS} may be");
        return Err(invalid(commands.len().saturating_sub(1), reason));
    }
    Ok(())
}

fn check_one(command: &Command, next_seq: u32) -> Result<(), String> {
    match command {
        Command::RunActivity(activity) => check_activity(activity),
        Command::StartTimer { delay_ms, .. } if *delay_ms > MAX_DURATION_MS => {
            Err(format!("a timer of {delay_ms} ms; at most {MAX_DURATION_MS} are allowed"))
        }
        Command::StartTimer { .. }
        | Command::RaceWon { .. }
        | Command::Pivot { .. }
        | Command::Compensate { .. } => Ok(()),
        Command::CancelActivity { seq } | Command::CancelTimer { seq } if *seq >= next_seq => {
            Err(format!("it cancels step {seq}, which does not exist"))
        }
        Command::CancelActivity { .. } | Command::CancelTimer { .. } => Ok(()),
        Command::CompleteRun { result } if result.size() > MAX_PAYLOAD_BYTES => {
            Err(format!("the result has {} bytes; at most {MAX_PAYLOAD_BYTES} are allowed", result.size()))
        }
        Command::CompleteRun { .. } | Command::FailRun { .. } | Command::CancelRun { .. } => Ok(()),
    }
}

fn check_activity(activity: &RunActivity) -> Result<(), String> {
    let name = &activity.activity_type;
    activity.options.validate().map_err(|error| format!("activity `{name}`: {error}"))?;
    if let Some(compensation) = &activity.compensation {
        compensation
            .options
            .validate()
            .map_err(|error| format!("compensation `{}`: {error}", compensation.activity_type))?;
    }
    if activity.input.size() > MAX_PAYLOAD_BYTES {
        return Err(format!(
            "activity `{name}`: the input has {} bytes; at most {MAX_PAYLOAD_BYTES} are allowed",
            activity.input.size()
        ));
    }
    Ok(())
}
