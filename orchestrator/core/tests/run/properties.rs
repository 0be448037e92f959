//! What holds for every history, whatever arrives in whatever order.

use std::collections::BTreeMap;

use proptest::prelude::*;
use stepwell_orchestrator_core::{Arrival, Commit, Effect, Input, TurnRequest};
use stepwell_shared::api::CompensationState;
use stepwell_shared::command::Command;
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::history::{Event, Record, StallKind};
use stepwell_shared::ids::{Seq, StepId};
use stepwell_shared::message::{CompensationAction, Outcome};
use stepwell_shared::options::ActivityOptions;
use stepwell_shared::rng::SplitMix64;

use crate::support::*;

/// Something that arrives, in terms of what the run is doing when it does.
#[derive(Debug, Clone)]
enum Move {
    Start { request: Option<u8>, timeout: bool },
    Signal { request: Option<u8> },
    Cancel,
    Terminate,
    Report { pick: u8, attempt_off: i8, outcome: u8 },
    Resolve { pick: u8, retry: bool },
    Wake,
    Appear { activity: bool },
}

/// Moves that arrive together after a wait.
#[derive(Debug, Clone)]
struct Batch {
    wait_ms: u64,
    moves: Vec<Move>,
}

/// What arrived together, as it was; enough to play it again.
#[derive(Debug, Clone)]
struct Step {
    now_ms: u64,
    arrivals: Vec<Arrival>,
}

fn a_move() -> impl Strategy<Value = Move> {
    let request = || proptest::option::of(0..3u8);
    prop_oneof![
        2 => (request(), any::<bool>()).prop_map(|(request, timeout)| Move::Start { request, timeout }),
        3 => request().prop_map(|request| Move::Signal { request }),
        1 => Just(Move::Cancel),
        1 => Just(Move::Terminate),
        20 => (any::<u8>(), prop_oneof![9 => Just(0i8), 1 => -1..2i8], any::<u8>())
            .prop_map(|(pick, attempt_off, outcome)| Move::Report { pick, attempt_off, outcome }),
        3 => (any::<u8>(), any::<bool>()).prop_map(|(pick, retry)| Move::Resolve { pick, retry }),
    ]
}

/// What does not come from EVENTS comes alone: after a crash in the middle of a batch it would come again.
fn an_internal_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        4 => Just(Move::Wake),
        1 => any::<bool>().prop_map(|activity| Move::Appear { activity }),
    ]
}

fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let wait_ms = prop_oneof![
        4 => Just(0u64), 2 => 1..50u64, 4 => Just(1_000u64), 2 => Just(5_000u64), 1 => Just(700_000u64)
    ];
    let moves = prop_oneof![
        2 => proptest::collection::vec(a_move(), 1..4),
        1 => an_internal_move().prop_map(|it| vec![it]),
    ];
    let batch = (wait_ms, moves);
    let batch = batch.prop_map(|(wait_ms, moves)| Batch { wait_ms, moves });
    proptest::collection::vec(batch, 1..40)
}

/// A world that has lived through the batches, what arrived in it, and in which step each record was made.
fn live(batches: &[Batch], seed: u64) -> (World, Vec<Step>, Vec<usize>) {
    let mut world = World::new();
    let (mut steps, mut made_in) = (Vec::new(), Vec::new());
    let begin =
        Batch { wait_ms: 0, moves: vec![Move::Start { request: Some(0), timeout: seed.is_multiple_of(3) }] };
    for batch in std::iter::once(&begin).chain(batches) {
        world.now_ms += batch.wait_ms;
        let arrivals = batch.moves.iter().map(|it| arrival(&mut world, it)).collect();
        let step = Step { now_ms: world.now_ms, arrivals };
        play(&mut world, &step, seed);
        made_in.resize(world.records.len(), steps.len());
        steps.push(step);
        world.check();
    }
    (world, steps, made_in)
}

fn arrival(world: &mut World, it: &Move) -> Arrival {
    let request_id = |request: &Option<u8>| request.map(|number| format!("r-{number}"));
    let input = match it {
        Move::Start { request, timeout } => start_input(|start| {
            start.request_id = request_id(request);
            start.run_timeout_ms = timeout.then_some(20_000);
        }),
        Move::Signal { request } => signal(request_id(request).as_deref()),
        Move::Cancel => cancel(),
        Move::Terminate => terminate(),
        Move::Report { pick, attempt_off, outcome } => {
            let pending = world.workflow.describe().map(|it| it.pending_activities).unwrap_or_default();
            let (step, attempt) = match pending.len() {
                0 => (StepId::Action(u32::from(*pick % 8) + 1), 1),
                len => (pending[*pick as usize % len].step, pending[*pick as usize % len].attempt),
            };
            let attempt = attempt.saturating_add_signed(i32::from(*attempt_off));
            report(&step.to_string(), attempt, an_outcome(*outcome))
        }
        Move::Resolve { pick, retry } => {
            let action = if *retry { CompensationAction::Retry } else { CompensationAction::Skip };
            resolve(u32::from(*pick % 8) + 1, action)
        }
        Move::Wake => return Arrival { sequence: None, input: Input::Wake },
        Move::Appear { activity } => {
            let (queue, activities): (_, &[&str]) =
                if *activity { ("payments", &["charge"]) } else { ("orders", &[]) };
            return Arrival { sequence: None, input: appeared(queue, &["order"], activities) };
        }
    };
    world.arrival(input)
}

fn an_outcome(pick: u8) -> Outcome {
    let failed = |failure| Outcome::Failed { failure, heartbeat: None };
    match pick % 16 {
        0..=7 => Outcome::Completed { result: payload(pick) },
        8 => failed(Failure::new(FailureKind::Lost, "gone")),
        9..=11 => failed(application("Broken")),
        12 => failed(Failure { non_retryable: true, ..application("Final") }),
        13 => Outcome::Cancelled {},
        14 => Outcome::Started {},
        _ => Outcome::Refused { reason: "no code".into() },
    }
}

/// Takes a step in and records it, as the orchestrator does.
fn play(world: &mut World, step: &Step, seed: u64) {
    world.now_ms = step.now_ms;
    for arrival in &step.arrivals {
        if world.workflow.must_seal_before(&arrival.input) {
            record(world, seed);
        }
        let sequence = arrival.sequence.unwrap_or(0);
        // What a predecessor has set aside is not ruled on again.
        let known = world.aside.contains_key(&sequence);
        if !known && world.workflow.receive(arrival, world.now_ms).is_rejection() {
            let ruled = world.records.len();
            record(world, seed);
            world.aside.insert(sequence, (ruled, world.records.len()));
        }
        if world.aside.contains_key(&sequence) {
            world.workflow.set_aside(sequence);
        }
    }
    record(world, seed);
}

fn record(world: &mut World, seed: u64) {
    loop {
        world.workflow.advance(world.now_ms);
        if let Some(request) = world.workflow.turn_request(world.now_ms) {
            let delivered = request.events.len();
            let answered = match code(world, &request, seed) {
                Ok(commands) => world.workflow.answer(commands, None, delivered).is_ok(),
                Err(()) => false,
            };
            if !answered {
                world.workflow.stall(StallKind::Panic, "a reason".into(), world.now_ms);
            }
        }
        let Some(Commit { record, effects, .. }) = world.workflow.seal() else { return };
        world.records.push(record);
        world.keep(effects);
    }
}

/// Deterministic workflow code: what it does is a function of where it stands.
fn code(world: &World, request: &TurnRequest, seed: u64) -> Result<Vec<Command>, ()> {
    let mut random = SplitMix64::new(seed ^ (request.index << 32) ^ request.after);
    let mut pick = |below: u64| random.next_u64() % below;
    if pick(12) == 0 {
        return Err(());
    }
    let mut seq = last_seq(world);
    let mut commands = Vec::new();
    for _ in 0..pick(5) {
        let chosen = pick(20);
        let existing = if seq == 0 { 1 } else { 1 + pick(u64::from(seq)) as Seq };
        let command = match chosen {
            0..=5 => undoable_with(seq + 1, some_options(pick(6))),
            6..=9 => run_with(seq + 1, some_options(pick(6))),
            10..=12 => timer(seq + 1, pick(3) * 1_000),
            13 => Command::CancelActivity { seq: existing },
            14 => Command::CancelTimer { seq: existing },
            15 => Command::RaceWon { seq: seq + 1, winner: 0 },
            16 => Command::Pivot { seq: seq + 1 },
            _ => Command::Compensate { seq: seq + 1 },
        };
        seq = command.new_seq().unwrap_or(seq);
        commands.push(command);
    }
    match pick(14) {
        0 => commands.push(complete()),
        1 | 2 => commands.push(fail()),
        3 => commands.push(accept_cancel()),
        _ => {}
    }
    Ok(commands)
}

fn some_options(pick: u64) -> impl FnOnce(&mut ActivityOptions) {
    move |options| match pick {
        0 => options.retry.maximum_attempts = Some(1),
        1 => options.retry.maximum_attempts = Some(2),
        2 => options.schedule_to_close_ms = Some(6_000),
        3 => options.schedule_to_start_ms = Some(2_000),
        _ => options.retry.maximum_attempts = Some(4),
    }
}

fn last_seq(world: &World) -> Seq {
    let run_id = world.workflow.run_id();
    let of_run = world.records.iter().filter(|record| Some(&record.run_id) == run_id);
    let turns = of_run.filter_map(|record| record.turn.as_ref());
    turns.flat_map(|turn| turn.commands.iter().filter_map(Command::new_seq)).max().unwrap_or(0)
}

proptest! {
    /// The records make the live state; what was taken in is not taken in again, neither by the live
    /// workflow nor by a rebuilt one.
    #[test]
    fn redelivery_records_nothing(batches in batches(), seed: u64) {
        let (mut world, steps, _) = live(&batches, seed);
        let records = world.records.len();
        let mut successor = rebuild(&world.records);
        let through = world.records.last().map_or(0, |record| record.through);
        for arrival in steps.iter().flat_map(|step| &step.arrivals).filter(|it| it.sequence.is_some()) {
            world.workflow.receive(arrival, world.now_ms);
            prop_assert_eq!(world.workflow.seal(), None);
            if arrival.sequence <= Some(through) {
                successor.receive(arrival, world.now_ms);
                prop_assert_eq!(successor.seal(), None);
            }
        }
        prop_assert_eq!(world.records.len(), records);
    }

    /// After a crash behind any record, a successor that reads everything again comes to the same end.
    #[test]
    fn a_crash_changes_nothing(batches in batches(), seed: u64) {
        let (world, steps, made_in) = live(&batches, seed);
        for kept in 0..world.records.len() {
            let mut successor = World::new();
            successor.records = world.records[..kept].to_vec();
            successor.workflow = rebuild(&successor.records);
            successor.aside = world.aside.clone();
            successor.aside.retain(|_, (_, records)| *records <= kept);
            // Nobody has heard of a rejection that was not set aside: the successor may rule otherwise, because
            // the record that went with it changed the run.
            if world.aside.values().any(|(ruled, aside)| *ruled < kept && kept < *aside) {
                continue;
            }
            let interrupted = kept.checked_sub(1).map_or(0, |last| made_in[last]);
            for (number, step) in steps.iter().enumerate() {
                let mut step = step.clone();
                if number < interrupted || (number == interrupted && kept > 0) {
                    step.arrivals.retain(|arrival| arrival.sequence.is_some());
                    step.now_ms = steps[interrupted].now_ms;
                }
                play(&mut successor, &step, seed);
            }
            prop_assert_eq!(&successor.records, &world.records, "crashed behind record {}", kept);
        }
    }

    /// What is recorded makes sense: ends come once, nothing follows them, nothing is early.
    #[test]
    fn histories_make_sense(batches in batches(), seed: u64) {
        let (mut world, _, _) = live(&batches, seed);
        for records in world.records.chunk_by(|a, b| a.run_id == b.run_id) {
            check_run(records);
        }
        let mut dispatched = std::collections::BTreeSet::new();
        for effect in world.raw_effects() {
            if let Effect::Dispatch(it) = effect {
                let run = world.records[..].iter().find(|record| record.index == it.wanted_by).is_some();
                prop_assert!(run, "an effect of a record that does not exist");
                dispatched.insert((it.step, it.attempt, it.wanted_by));
            }
        }
        // Everything that is in flight was put on its queue once.
        for effect in world.workflow.outstanding() {
            if let Effect::Dispatch(it) = effect {
                prop_assert!(dispatched.contains(&(it.step, it.attempt, it.wanted_by)));
            }
        }
    }

    /// Records that nobody wrote: a state or an error, and whatever is asked of it an answer.
    #[test]
    fn arbitrary_records_never_panic(
        events in proptest::collection::vec(proptest::collection::vec(an_event(), 0..4), 0..30),
        seed: u64,
    ) {
        let mut world = World::new();
        world.start();
        let mut random = SplitMix64::new(seed);
        for events in events {
            let last = world.records.last().expect("a start");
            let turn = random.next_u64().is_multiple_of(2).then(|| {
                let request = TurnRequest {
                    after: 0, mark: String::new(), next_mark: String::new(), index: last.index, at_ms: 0, events: vec![],
                    workflow_type: name("order"), queue: name("orders"),
                };
                let commands = code(&world, &request, random.next_u64()).unwrap_or_default();
                stepwell_shared::history::Turn { commands, worker: None, delivered: (random.next_u64() % 3) as u32 }
            });
            let record = Record {
                index: last.index + 1,
                at_ms: last.at_ms + random.next_u64() % 4_000,
                through: last.through + random.next_u64() % 2,
                events, turn, stall: None, ..last.clone()
            };
            let mut tried = world.workflow.clone();
            if tried.apply(&record).is_ok() {
                world.workflow = tried;
                world.records.push(record);
            }
            world.check();
            let _ = world.workflow.next_wake();
            let _ = world.workflow.waits_for_workers_on();
        }
        let at_ms = world.records.last().unwrap().at_ms + random.next_u64() % 100_000;
        world.now_ms = at_ms;
        world.internally(Input::Wake);
    }
}

fn an_event() -> impl Strategy<Value = Event> {
    let seq = 1..6u32;
    let step = (1..6u32, any::<bool>())
        .prop_map(|(seq, undo)| if undo { StepId::Undo(seq) } else { StepId::Action(seq) });
    (seq, step, 0..4u32, 0..17u8, 0..10_000u64).prop_map(|(seq, step, attempt, kind, at)| {
        let failure = application("Broken");
        let retry_at_ms = BEGIN_MS + at;
        match kind {
            0 => Event::SignalReceived { name: name("go"), payload: payload(1), request_id: None },
            1 => Event::CancelRequested { reason: String::new() },
            2 => Event::RunTimedOut { failure },
            3 => Event::AttemptFailed { step, attempt, failure, retry_at_ms, heartbeat: None },
            4 => Event::AttemptStarted { step, attempt },
            5 => Event::AttemptRefused { step, attempt, reason: String::new() },
            6 => Event::AttemptScheduled { step, attempt },
            7 => Event::ActivityCompleted { seq, attempt, result: payload(1) },
            8 => Event::ActivityFailed { seq, attempt, failure },
            9 => Event::ActivityCancelled { seq },
            10 => Event::TimerFired { seq },
            11 => Event::CompensationStarted { seq },
            12 => Event::CompensationCompleted { seq },
            13 => Event::CompensationFailed { seq, failure },
            14 => Event::CompensationResolved {
                seq,
                action: if at % 2 == 0 { CompensationAction::Retry } else { CompensationAction::Skip },
                reason: String::new(),
            },
            15 => Event::CompensationsFinished { seq: (at % 2 == 0).then_some(seq) },
            _ => Event::RunTerminated { reason: String::new() },
        }
    })
}

/// What holds for the records of one run.
fn check_run(records: &[Record]) {
    let mut over: BTreeMap<(char, Seq), &'static str> = BTreeMap::new();
    let mut timers: BTreeMap<Seq, u64> = BTreeMap::new();
    let mut undone: Option<Seq> = None;
    let mut retried: Option<Seq> = None;
    let mut waits: BTreeMap<StepId, u64> = BTreeMap::new();
    for (record, index) in records.iter().zip(1..) {
        assert_eq!(record.index, index, "indices have no gaps");
        for event in &record.events {
            let ended = match event {
                Event::ActivityCompleted { seq, .. }
                | Event::ActivityFailed { seq, .. }
                | Event::ActivityCancelled { seq } => Some(('a', *seq)),
                Event::TimerFired { seq } => {
                    assert!(record.at_ms >= timers[seq], "timer {seq} was early");
                    Some(('t', *seq))
                }
                Event::CompensationCompleted { seq } => Some(('c', *seq)),
                Event::RunStarted(_) => Some(('s', 0)),
                Event::RunTerminated { .. } => Some(('e', 0)),
                Event::CompensationStarted { seq } => {
                    let in_order = undone.is_none_or(|before| *seq < before) || retried == Some(*seq);
                    assert!(in_order, "compensation {seq} after {undone:?}");
                    undone = Some(*seq);
                    None
                }
                Event::CompensationResolved { seq, .. } => {
                    retried = Some(*seq);
                    None
                }
                Event::AttemptFailed { step, retry_at_ms, .. } => {
                    waits.insert(*step, *retry_at_ms);
                    None
                }
                Event::AttemptScheduled { step, .. } => {
                    if let Some(retry_at_ms) = waits.remove(step) {
                        assert!(record.at_ms >= retry_at_ms, "step {step} was repeated early");
                    }
                    None
                }
                Event::SignalReceived { .. }
                | Event::CancelRequested { .. }
                | Event::RunTimedOut { .. }
                | Event::AttemptStarted { .. }
                | Event::AttemptRefused { .. }
                | Event::CompensationFailed { .. }
                | Event::CompensationsFinished { .. } => None,
            };
            if let Some(key) = ended {
                let before = over.insert(key, event.name());
                assert_eq!(before, None, "{key:?} ended twice, the second time by {}", event.name());
            }
        }
        for command in record.turn.iter().flat_map(|turn| &turn.commands) {
            match command {
                Command::StartTimer { seq, delay_ms } => {
                    timers.insert(*seq, record.at_ms + delay_ms);
                }
                // A new unwinding begins with the latest action again.
                Command::Compensate { .. }
                | Command::CompleteRun { .. }
                | Command::FailRun { .. }
                | Command::CancelRun { .. } => undone = None,
                Command::RunActivity(_)
                | Command::CancelActivity { .. }
                | Command::CancelTimer { .. }
                | Command::RaceWon { .. }
                | Command::Pivot { .. } => {}
            }
        }
        check_end(&records[..index as usize], index as usize == records.len());
    }
}

/// A closed run is the last thing in its history, and everything that was to be undone is dealt with.
fn check_end(records: &[Record], last: bool) {
    let workflow = rebuild(records);
    if !workflow.idle() {
        return;
    }
    assert!(last, "records follow the end of a run");
    let status = workflow.summary().expect("a run").status;
    assert!(status.closed());
    if status == stepwell_shared::summary::Status::Terminated {
        return;
    }
    for compensation in workflow.describe().expect("a run").compensations {
        let dealt_with = match compensation.state {
            CompensationState::Completed | CompensationState::Skipped | CompensationState::Released => true,
            CompensationState::Registered | CompensationState::Running | CompensationState::Failed => false,
        };
        assert!(dealt_with, "compensation {} is {:?} at the end", compensation.seq, compensation.state);
    }
}
