//! What must hold for any code and any order of events.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use stepwell_shared::command::Command;
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::history::{Event, Record, StallKind};
use stepwell_shared::ids::{Name, Seq, StepId};
use stepwell_shared::payload::Payload;
use stepwell_worker_replay::{Instance, QueryFailed, WorkflowCode};

use crate::harness::{
    cancel, compensated, completed, failed, fired, instance, record, signal, started, timed_out,
    was_cancelled,
};
use crate::programs::{Program, SIGNALS, TRACE, interpreter, program};

/// Random numbers that decide what happens next.
type Dice = Vec<(u8, Index)>;

fn dice() -> impl Strategy<Value = Dice> {
    proptest::collection::vec(any::<(u8, Index)>(), 1..60)
}

/// What an orchestrator knows to be open.
#[derive(Default)]
struct Open {
    activities: BTreeSet<Seq>,
    cancelling: BTreeSet<Seq>,
    timers: BTreeSet<Seq>,
    compensating: Option<Seq>,
}

impl Open {
    fn apply(&mut self, commands: &[Command]) {
        for command in commands {
            match command {
                Command::RunActivity(run) => drop(self.activities.insert(run.seq)),
                Command::CancelActivity { seq } => drop(self.cancelling.insert(*seq)),
                Command::StartTimer { seq, .. } => drop(self.timers.insert(*seq)),
                Command::CancelTimer { seq } => drop(self.timers.remove(seq)),
                Command::Compensate { seq } => {
                    assert_eq!(self.compensating, None, "compensations are asked for one after the other");
                    self.compensating = Some(*seq);
                }
                Command::RaceWon { .. }
                | Command::Pivot { .. }
                | Command::CompleteRun { .. }
                | Command::FailRun { .. }
                | Command::CancelRun { .. } => {}
            }
        }
    }

    /// Something that may happen now, sensible or not.
    fn event(&mut self, kind: u8, which: Index) -> Event {
        let pick =
            |set: &BTreeSet<Seq>| (!set.is_empty()).then(|| *set.iter().nth(which.index(set.len())).unwrap());
        match kind {
            0..90 => match pick(&self.activities) {
                Some(seq) => {
                    self.activities.remove(&seq);
                    match kind % 4 {
                        0 => failed(seq, "Bad"),
                        1 if self.cancelling.contains(&seq) => was_cancelled(seq),
                        _ => completed(seq, u64::from(kind)),
                    }
                }
                None => self.stray(kind, which),
            },
            90..140 => match pick(&self.timers) {
                Some(seq) => {
                    self.timers.remove(&seq);
                    fired(seq)
                }
                None => self.stray(kind, which),
            },
            140..200 => signal(SIGNALS[which.index(2)].name(), u64::from(kind)),
            200..210 => cancel(),
            210..215 => timed_out(),
            215..240 => match self.compensating.take() {
                Some(seq) => compensated(seq),
                None => self.stray(kind, which),
            },
            240..=255 => self.stray(kind, which),
        }
    }

    /// What no orchestrator would send, or what code does not see.
    fn stray(&self, kind: u8, which: Index) -> Event {
        let seq = which.index(20) as Seq + u32::from(kind % 2) * 100;
        match kind % 5 {
            0 => signal(SIGNALS[0].name(), "not a number"),
            1 if seq >= 100 => completed(seq, 1),
            2 => Event::AttemptScheduled { step: StepId::Action(1), attempt: 2 },
            3 => Event::CompensationsFinished { seq: None },
            _ => Event::AttemptRefused { step: StepId::Undo(1), attempt: 1, reason: "no code".into() },
        }
    }
}

/// One live turn, as it can be made again.
struct LiveTurn {
    events: Vec<Event>,
    commands: Vec<Command>,
    /// Its place among the records.
    record: usize,
}

struct Outcome {
    records: Vec<Record>,
    turns: Vec<LiveTurn>,
    end: Instance,
}

/// Lets a program live. Events wait in records until a turn takes some of them.
fn live(code: &WorkflowCode, dice: &Dice) -> Outcome {
    let mut end = instance(code);
    let (mut records, mut turns, mut open) = (Vec::new(), Vec::new(), Open::default());
    let mut waiting = VecDeque::new();
    for (number, (kind, which)) in dice.iter().enumerate() {
        if end.closed() {
            break;
        }
        let event = if number == 0 { started() } else { open.event(*kind, *which) };
        waiting.extend(event.wakes_code().then(|| event.clone()));
        let (index, at_ms) = (number as u64 + 1, 1_000 * number as u64);
        // One event in three waits; a turn takes all that wait or, now and then, only some.
        if kind % 3 == 0 || waiting.is_empty() {
            records.push(record(index, at_ms, vec![event], None));
            continue;
        }
        let taken = if kind % 7 == 0 { which.index(waiting.len()) + 1 } else { waiting.len() };
        let events: Vec<Event> = waiting.drain(..taken).collect();
        let commands = end.turn(&events, at_ms, index).expect("no program stalls");
        open.apply(&commands);
        records.push(record(index, at_ms, vec![event], Some((commands.clone(), taken as u32))));
        turns.push(LiveTurn { events, commands, record: records.len() - 1 });
    }
    Outcome { records, turns, end }
}

fn trace(instance: &mut Instance) -> Result<Payload, QueryFailed> {
    instance.query(&Name::new(TRACE.name()).unwrap(), &Payload::null())
}

/// Runs a property with the usual number of cases; `weight` adds up what the cases were worth.
fn check<S: Strategy>(
    strategy: S,
    least: usize,
    property: impl Fn(S::Value) -> Result<usize, TestCaseError>,
) {
    let worth = AtomicUsize::new(0);
    let config =
        Config { cases: 1_024, max_shrink_iters: 20_000, failure_persistence: None, ..Config::default() };
    let run = TestRunner::new(config).run(&strategy, |value| {
        worth.fetch_add(property(value)?, Ordering::Relaxed);
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
    let worth = worth.into_inner();
    assert!(worth >= least, "the cases reached {worth} of what is to be tested, less than {least}");
}

#[test]
fn a_replayed_run_is_the_live_run() {
    check((program(), dice()), 5_000, |(program, dice): (Program, Dice)| {
        let code = interpreter(&program);
        let mut outcome = live(&code, &dice);
        let mut replayed = instance(&code);
        for record in &outcome.records {
            replayed.replay(record).map_err(|stalled| TestCaseError::fail(stalled.message))?;
        }
        prop_assert_eq!(replayed.closed(), outcome.end.closed());
        prop_assert_eq!(replayed.position(), outcome.end.position());
        prop_assert_eq!(trace(&mut replayed), trace(&mut outcome.end));
        Ok(outcome.turns.iter().map(|turn| turn.commands.len()).sum())
    });
}

#[test]
fn a_run_taken_over_after_any_record_goes_on_alike() {
    check((program(), dice()), 5_000, |(program, dice): (Program, Dice)| {
        let code = interpreter(&program);
        let mut outcome = live(&code, &dice);
        let mut taken_over = 0;
        for (number, first) in outcome.turns.iter().enumerate() {
            let mut successor = instance(&code);
            for record in &outcome.records[..first.record] {
                successor.replay(record).map_err(|stalled| TestCaseError::fail(stalled.message))?;
            }
            for turn in &outcome.turns[number..] {
                let record = &outcome.records[turn.record];
                // A query in between changes nothing.
                trace(&mut successor).ok();
                let commands = successor.turn(&turn.events, record.at_ms, record.index);
                prop_assert_eq!(commands.as_ref(), Ok(&turn.commands));
                taken_over += 1;
            }
            prop_assert_eq!(trace(&mut successor), trace(&mut outcome.end));
        }
        Ok(taken_over)
    });
}

#[test]
fn numbers_are_given_out_without_gaps_and_nothing_follows_the_end() {
    check((program(), dice()), 5_000, |(program, dice): (Program, Dice)| {
        let outcome = live(&interpreter(&program), &dice);
        let commands: Vec<&Command> = outcome.turns.iter().flat_map(|turn| &turn.commands).collect();
        let numbers: Vec<Seq> = commands.iter().filter_map(|command| command.new_seq()).collect();
        prop_assert_eq!(&numbers, &(1..=numbers.len() as Seq).collect::<Vec<_>>());
        let closing = commands.iter().filter(|command| command.closes()).count();
        prop_assert_eq!(closing, usize::from(outcome.end.closed()));
        prop_assert!(commands.last().is_none_or(|last| last.closes() == outcome.end.closed()));
        let cancels: Vec<Seq> = commands
            .iter()
            .filter_map(|command| match command {
                Command::CancelActivity { seq } | Command::CancelTimer { seq } => Some(*seq),
                Command::RunActivity(_)
                | Command::StartTimer { .. }
                | Command::RaceWon { .. }
                | Command::Pivot { .. }
                | Command::Compensate { .. }
                | Command::CompleteRun { .. }
                | Command::FailRun { .. }
                | Command::CancelRun { .. } => None,
            })
            .collect();
        let distinct: BTreeSet<Seq> = cancels.iter().copied().collect();
        prop_assert_eq!(distinct.len(), cancels.len(), "a step is cancelled once");
        Ok(commands.len())
    });
}

/// Ways in which a history can differ from what the code does.
#[derive(Debug, Clone, Copy)]
enum Change {
    Leave,
    Repeat,
    Renumber,
    Rename,
    Replace,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::Leave),
        Just(Change::Repeat),
        Just(Change::Renumber),
        Just(Change::Rename),
        Just(Change::Replace)
    ]
}

/// Changes the shape of one command; `false` when that command has nothing to change in this way.
fn apply_change(commands: &mut Vec<Command>, at: usize, change: Change) -> bool {
    let command = commands[at].clone();
    match (change, command) {
        (Change::Leave, _) => drop(commands.remove(at)),
        (Change::Repeat, command) => commands.insert(at, command),
        (Change::Renumber, Command::RunActivity(run)) => {
            commands[at] =
                Command::RunActivity(stepwell_shared::command::RunActivity { seq: run.seq + 1, ..run });
        }
        (Change::Renumber, Command::StartTimer { seq, delay_ms }) => {
            commands[at] = Command::StartTimer { seq: seq + 1, delay_ms };
        }
        (Change::Renumber, Command::CancelActivity { seq }) => {
            commands[at] = Command::CancelActivity { seq: seq + 1 }
        }
        (Change::Renumber, Command::CancelTimer { seq }) => {
            commands[at] = Command::CancelTimer { seq: seq + 1 }
        }
        (Change::Renumber, Command::RaceWon { seq, winner }) => {
            commands[at] = Command::RaceWon { seq, winner: winner + 1 };
        }
        (Change::Renumber, Command::Pivot { seq }) => commands[at] = Command::Pivot { seq: seq + 1 },
        (Change::Renumber, Command::Compensate { seq }) => {
            commands[at] = Command::Compensate { seq: seq + 1 }
        }
        (Change::Rename, Command::RunActivity(run)) => {
            let activity_type = Name::new("other").unwrap();
            commands[at] =
                Command::RunActivity(stepwell_shared::command::RunActivity { activity_type, ..run });
        }
        (Change::Replace, Command::FailRun { .. } | Command::CancelRun { .. }) => {
            commands[at] = Command::CompleteRun { result: Payload::null() };
        }
        (Change::Replace, _) => {
            commands[at] = Command::FailRun { failure: Failure::new(FailureKind::Application, "other") };
        }
        // An end has no number, and only an activity has a name.
        (Change::Renumber | Change::Rename, _) => return false,
    }
    true
}

#[test]
fn every_difference_of_shape_is_found_where_it_is() {
    let strategy = (program(), dice(), change(), any::<Index>(), any::<Index>());
    check(strategy, 200, |(program, dice, change, which, place)| {
        let code = interpreter(&program);
        let mut outcome = live(&code, &dice);
        let full: Vec<usize> =
            outcome.turns.iter().filter(|turn| !turn.commands.is_empty()).map(|turn| turn.record).collect();
        if full.is_empty() {
            return Ok(0);
        }
        let changed = full[which.index(full.len())];
        let turn = outcome.records[changed].turn.as_mut().unwrap();
        let at = place.index(turn.commands.len());
        if !apply_change(&mut turn.commands, at, change) {
            return Ok(0);
        }
        let mut replayed = instance(&code);
        for record in &outcome.records[..changed] {
            replayed.replay(record).map_err(|stalled| TestCaseError::fail(stalled.message))?;
        }
        let stalled = replayed.replay(&outcome.records[changed]).unwrap_err();
        prop_assert_eq!(stalled.kind, StallKind::Nondeterminism);
        let record = outcome.records[changed].index;
        prop_assert!(stalled.message.contains(&format!("Record {record}, command ")), "{}", stalled.message);
        Ok(1)
    });
}

fn any_event() -> impl Strategy<Value = Event> {
    let failure = || Failure::new(FailureKind::Application, "any");
    let text = prop_oneof![Just("left"), Just("right"), Just("other")];
    prop_oneof![
        2 => Just(started()),
        4 => (1..8u32, any::<u8>()).prop_map(|(seq, value)| completed(seq, value)),
        2 => (1..8u32).prop_map(|seq| completed(seq, "text")),
        2 => (1..8u32).prop_map(|seq| failed(seq, "Bad")),
        2 => (1..8u32).prop_map(was_cancelled),
        4 => (1..8u32).prop_map(fired),
        2 => (1..8u32).prop_map(compensated),
        4 => (text, any::<u8>()).prop_map(|(name, value)| signal(name, value)),
        1 => Just(cancel()),
        1 => Just(timed_out()),
        1 => Just(Event::RunTerminated { reason: "any".into() }),
        1 => Just(Event::CompensationsFinished { seq: None }),
        1 => (1..8u32).prop_map(move |seq| Event::CompensationFailed { seq, failure: failure() }),
        1 => Just(Event::AttemptStarted { step: StepId::Action(1), attempt: 1 }),
    ]
}

#[test]
fn no_order_of_events_or_records_makes_it_panic() {
    let events = proptest::collection::vec(any_event(), 0..6);
    let live = proptest::bool::weighted(0.9);
    let step = (events, live, 0..5u32, 0..40u64);
    let steps = proptest::collection::vec(step, 0..12);
    check((program(), proptest::bool::weighted(0.8), steps), 1_000, |(program, begun, steps)| {
        let mut instance = instance(&interpreter(&program));
        let mut answered = 0;
        if begun {
            instance.turn(&[started()], 0, 1).expect("no program stalls");
        }
        for (events, live, delivered, index) in steps {
            if live {
                answered += usize::from(instance.turn(&events, index * 10, index).is_ok());
            } else {
                let turn = (delivered > 0).then(|| (vec![], delivered));
                answered += usize::from(instance.replay(&record(index, index, events, turn)).is_ok());
            }
            trace(&mut instance).ok();
        }
        Ok(answered)
    });
}
