//! Checkers: what must hold of every history, every ledger and both together, whatever a test was about.
//! Each says what it found, or nothing; each has a test below that feeds it something false.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use stepwell::{Instance, StepId, WorkflowCode};
use stepwell_shared::command::Command;
use stepwell_shared::history::{Event, Record};

use crate::ledger::{Entry, Phase};

/// How far the clock that an orchestrator goes by may be from that of whoever writes into the ledger: both run on
/// one machine, and smaller differences are not put right.
const CLOCKS_APART_MS: u64 = 100;

/// Laws of one run's history: records without gaps, in order; one terminal event for each step and timer
/// that was asked for; no timer early; nothing after the end.
///
/// # Errors
/// The first law that is broken.
pub fn check_history(records: &[Record]) -> Result<(), String> {
    let mut law = Laws::default();
    for (place, record) in records.iter().enumerate() {
        law.take(place, record).map_err(|broken| format!("record {}: {broken}", record.index))?;
    }
    if law.waiting_events != 0 && !law.closed && records.last().is_some_and(|last| last.stall.is_none()) {
        return Err(format!("{} events were never handed to the code", law.waiting_events));
    }
    Ok(())
}

#[derive(Default)]
struct Laws {
    last: Option<Record>,
    activities: BTreeMap<u32, bool>,
    timers: BTreeMap<u32, (u64, bool)>,
    undone: BTreeSet<u32>,
    waiting_events: u64,
    closed: bool,
}

impl Laws {
    fn take(&mut self, place: usize, record: &Record) -> Result<(), String> {
        if record.index != place as u64 + 1 {
            return Err(format!("it is number {} in the history", place + 1));
        }
        if let Some(last) = &self.last {
            if record.at_ms < last.at_ms {
                return Err("it is older than the one before".to_owned());
            }
            if record.through < last.through {
                return Err("its watermark goes back".to_owned());
            }
            if record.run_id != last.run_id {
                return Err("it belongs to another run".to_owned());
            }
        }
        let starts = record.events.iter().filter(|event| matches!(event, Event::RunStarted(_))).count();
        if starts != usize::from(place == 0) {
            return Err(format!("{starts} starts of a run"));
        }
        for event in &record.events {
            self.waiting_events += u64::from(event.wakes_code());
            self.event(event, record.at_ms)?;
        }
        if let Some(turn) = &record.turn {
            if self.closed {
                return Err("a turn after the code had returned".to_owned());
            }
            let delivered = u64::from(turn.delivered);
            self.waiting_events = self
                .waiting_events
                .checked_sub(delivered)
                .ok_or_else(|| format!("{delivered} events handed over, more than there were"))?;
            for command in &turn.commands {
                self.command(command, record.at_ms)?;
            }
        }
        self.last = Some(record.clone());
        Ok(())
    }

    fn event(&mut self, event: &Event, at_ms: u64) -> Result<(), String> {
        match event {
            Event::ActivityCompleted { seq, .. }
            | Event::ActivityFailed { seq, .. }
            | Event::ActivityCancelled { seq } => match self.activities.insert(*seq, true) {
                Some(false) => Ok(()),
                Some(true) => Err(format!("activity {seq} ended twice")),
                None => Err(format!("activity {seq} ended and was never asked for")),
            },
            Event::TimerFired { seq } => match self.timers.get_mut(seq) {
                Some((_, fired @ false)) if self.closed => {
                    *fired = true;
                    Ok(())
                }
                Some((due_ms, fired @ false)) => {
                    *fired = true;
                    if at_ms < *due_ms {
                        return Err(format!("timer {seq} fired {} ms early", *due_ms - at_ms));
                    }
                    Ok(())
                }
                Some((_, true)) => Err(format!("timer {seq} fired twice")),
                None => Err(format!("timer {seq} fired and was never started")),
            },
            Event::CompensationCompleted { seq } => {
                if !self.activities.contains_key(seq) {
                    return Err(format!("activity {seq} was undone and never asked for"));
                }
                if !self.undone.insert(*seq) {
                    return Err(format!("activity {seq} was undone twice"));
                }
                Ok(())
            }
            Event::RunTerminated { .. } => {
                self.closed = true;
                Ok(())
            }
            Event::RunStarted(_)
            | Event::SignalReceived { .. }
            | Event::CancelRequested { .. }
            | Event::RunTimedOut { .. }
            | Event::AttemptFailed { .. }
            | Event::AttemptStarted { .. }
            | Event::AttemptRefused { .. }
            | Event::AttemptScheduled { .. }
            | Event::CompensationStarted { .. }
            | Event::CompensationFailed { .. }
            | Event::CompensationResolved { .. }
            | Event::CompensationsFinished { .. } => Ok(()),
        }
    }

    fn command(&mut self, command: &Command, at_ms: u64) -> Result<(), String> {
        if self.closed {
            return Err("a command after the one that closed the run".to_owned());
        }
        match command {
            Command::RunActivity(run) => {
                if self.activities.insert(run.seq, false).is_some() {
                    return Err(format!("activity {} asked for twice", run.seq));
                }
            }
            Command::StartTimer { seq, delay_ms } => {
                if self.timers.insert(*seq, (at_ms + delay_ms, false)).is_some() {
                    return Err(format!("timer {seq} started twice"));
                }
            }
            Command::CompleteRun { .. } | Command::FailRun { .. } | Command::CancelRun { .. } => {
                self.closed = true;
            }
            Command::CancelActivity { .. }
            | Command::CancelTimer { .. }
            | Command::RaceWon { .. }
            | Command::Pivot { .. }
            | Command::Compensate { .. } => {}
        }
        Ok(())
    }
}

/// Replays a run from its history with today's code and compares: what was recorded live and what replay
/// makes of it are the same.
///
/// # Errors
/// What the code does differently.
pub fn check_replay(records: &[Record], codes: &[WorkflowCode]) -> Result<(), String> {
    let Some(first) = records.first() else { return Ok(()) };
    let Some(Event::RunStarted(started)) = first.events.first() else {
        return Err("the history does not begin with the start of a run".to_owned());
    };
    let code = codes.iter().find(|code| code.name() == started.workflow_type.as_str());
    let Some(code) = code else { return Ok(()) };
    let id = stepwell::WorkflowId::new("checked").expect("a valid id");
    let mut instance = Instance::new(code.clone(), id, first.run_id.clone());
    let mut closed = false;
    for record in records {
        instance.replay(record).map_err(|stalled| stalled.to_string())?;
        let turn = record.turn.as_ref();
        closed |= turn.is_some_and(|turn| turn.commands.iter().any(Command::closes));
    }
    if instance.closed() != closed {
        return Err(format!("replayed, the code is closed: {}; recorded: {closed}", instance.closed()));
    }
    Ok(())
}

/// What a ledger must say when these are the histories of its runs: no step was executed again after its
/// result was recorded; a step with `max_attempts = 1` was executed once at most; every recorded result of
/// an activity that writes into the ledger was really produced by that attempt.
///
/// # Errors
/// What was executed, and why it should not have been; or what was recorded and never executed.
pub fn check_ledger(entries: &[Entry], histories: &[Vec<Record>]) -> Result<(), String> {
    let writers: BTreeSet<&str> = entries.iter().map(|entry| entry.activity.as_str()).collect();
    for records in histories {
        let recorded = Results::of(records);
        let run_id = records.first().map(|first| first.run_id.to_string()).unwrap_or_default();
        let of_run: Vec<&Entry> = entries.iter().filter(|entry| entry.run_id == run_id).collect();
        let mut begun = BTreeSet::new();
        for entry in of_run.iter().filter(|entry| entry.phase == Phase::Started) {
            let step: StepId = entry.step.parse().map_err(|error| format!("{entry:?}: {error}"))?;
            if !begun.insert(step) && recorded.once.contains(&step) {
                return Err(format!("executed twice, and once was all: {entry:?}"));
            }
            let Some(result) = recorded.completed.get(&step) else { continue };
            if result.attempt.is_some_and(|attempt| entry.attempt > attempt)
                || entry.at_ms > result.at_ms + CLOCKS_APART_MS
            {
                return Err(format!("executed again after its result was recorded: {entry:?}, {result:?}"));
            }
        }
        for (step, result) in &recorded.completed {
            let known = recorded.types.get(step).is_some_and(|name| writers.contains(name.as_str()));
            let finished = of_run.iter().any(|entry| {
                entry.phase == Phase::Finished
                    && entry.step == step.to_string()
                    && result.attempt.is_none_or(|attempt| attempt == entry.attempt)
            });
            if known && !finished {
                return Err(format!(
                    "run {run_id} has a result of step {step} that nobody produced: {result:?}"
                ));
            }
        }
    }
    Ok(())
}

/// No attempt was made twice. A server that is killed forgets what it gave out a moment before, so that this
/// holds only while none is.
///
/// # Errors
/// The second of two executions of one attempt.
pub fn check_attempts(entries: &[Entry]) -> Result<(), String> {
    let mut made = BTreeSet::new();
    let again = entries
        .iter()
        .filter(|entry| entry.phase == Phase::Started)
        .find(|entry| !made.insert((&entry.run_id, &entry.step, entry.attempt)));
    again.map_or(Ok(()), |entry| Err(format!("attempt made twice: {entry:?}")))
}

/// No step with `max_attempts = 1` was done twice, whoever was killed, stopped or cut off.
///
/// # Errors
/// The second time that it was done.
pub fn check_once(entries: &[Entry], histories: &[Vec<Record>]) -> Result<(), String> {
    let mut once = BTreeSet::new();
    for records in histories {
        let run_id = records.first().map(|first| first.run_id.to_string()).unwrap_or_default();
        once.extend(Results::of(records).once.into_iter().map(|step| (run_id.clone(), step.to_string())));
    }
    let mut done = BTreeSet::new();
    let of_once = |entry: &&Entry| once.contains(&(entry.run_id.clone(), entry.step.clone()));
    let started = entries.iter().filter(|entry| entry.phase == Phase::Started).filter(of_once);
    for entry in started {
        if !done.insert((&entry.run_id, &entry.step)) {
            return Err(format!("begun twice, and once was all: {entry:?}"));
        }
    }
    Ok(())
}

/// Compensations run one after the other, the latest step's first; those that are recorded as completed were
/// done in this order. `undone`: the steps of the run that were undone, in order.
///
/// # Errors
/// What came in another order, or is recorded and was not done.
pub fn check_compensations(records: &[Record], undone: &[u32]) -> Result<(), String> {
    let mut completed = Vec::new();
    let mut last: Option<u32> = None;
    for record in records {
        for event in &record.events {
            match event {
                Event::CompensationStarted { seq } => {
                    if last.is_some_and(|last| *seq > last) {
                        return Err(format!("compensation {seq} began after {last:?}"));
                    }
                    last = Some(*seq);
                }
                Event::CompensationCompleted { seq } => completed.push(*seq),
                _ => {}
            }
        }
        let unwinds = |command: &Command| command.closes() || matches!(command, Command::Compensate { .. });
        if record.turn.iter().flat_map(|turn| &turn.commands).any(unwinds) {
            last = None;
        }
    }
    let done: Vec<u32> = undone.iter().copied().filter(|seq| completed.contains(seq)).collect();
    if done == completed {
        return Ok(());
    }
    Err(format!("recorded as compensated are {completed:?}, undone were, in this order, {undone:?}"))
}

#[derive(Debug)]
struct Recorded {
    at_ms: u64,
    /// A compensation's record does not name the attempt.
    attempt: Option<u32>,
}

#[derive(Default)]
struct Results {
    completed: HashMap<StepId, Recorded>,
    /// Steps that must not be executed twice.
    once: BTreeSet<StepId>,
    types: HashMap<StepId, String>,
}

impl Results {
    fn of(records: &[Record]) -> Self {
        let mut results = Self::default();
        for record in records {
            let at_ms = record.at_ms;
            for event in &record.events {
                let (step, attempt) = match event {
                    Event::ActivityCompleted { seq, attempt, .. } => (StepId::Action(*seq), Some(*attempt)),
                    Event::CompensationCompleted { seq } => (StepId::Undo(*seq), None),
                    _ => continue,
                };
                results.completed.insert(step, Recorded { at_ms, attempt });
            }
            for command in record.turn.iter().flat_map(|turn| &turn.commands) {
                let Command::RunActivity(run) = command else { continue };
                results.types.insert(StepId::Action(run.seq), run.activity_type.to_string());
                if run.options.retry.maximum_attempts == Some(1) {
                    results.once.insert(StepId::Action(run.seq));
                }
                if let Some(undo) = &run.compensation {
                    results.types.insert(StepId::Undo(run.seq), undo.activity_type.to_string());
                }
            }
        }
        results
    }
}

/// The most attempts of `activity` that one process had at work at the same time.
#[must_use]
pub fn most_at_once(entries: &[Entry], activity: &str) -> usize {
    let mut now: HashMap<u32, usize> = HashMap::new();
    let mut most = 0;
    for entry in entries.iter().filter(|entry| entry.activity == activity) {
        let at_work = now.entry(entry.pid).or_default();
        match entry.phase {
            Phase::Started => *at_work += 1,
            Phase::Finished | Phase::Failed | Phase::Cancelled => *at_work = at_work.saturating_sub(1),
        }
        most = most.max(*at_work);
    }
    most
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// One activity and a timer, both done, and a saga's step undone.
    fn sound() -> Vec<Record> {
        let run = json!({"seq": 1, "type": "note", "queue": "default", "input": null, "options": {"start_to_close_ms": 1},
            "compensation": {"type": "unnote", "queue": "default"}});
        records(&[
            json!({"index": 1, "at_ms": 10, "through": 1,
                "events": [{"run_started": {"type": "w", "queue": "default", "input": null}}],
                "turn": {"commands": [{"run_activity": run}, {"start_timer": {"seq": 2, "delay_ms": 5}}], "delivered": 1}}),
            json!({"index": 2, "at_ms": 15, "through": 2,
                "events": [{"activity_completed": {"seq": 1, "attempt": 2, "result": null}}, {"timer_fired": {"seq": 2}}],
                "turn": {"commands": [{"fail_run": {"failure": {"kind": "application", "type": "E", "message": "m"}}}], "delivered": 2}}),
            json!({"index": 3, "at_ms": 20, "through": 3, "events": [{"compensation_completed": {"seq": 1}}]}),
        ])
    }

    fn records(values: &[Value]) -> Vec<Record> {
        let with_run = values.iter().cloned().map(|mut value| {
            value["v"] = json!(1);
            value["run_id"] = json!("r");
            serde_json::from_value(value).expect("a record")
        });
        with_run.collect()
    }

    fn entry(step: &str, attempt: u32, at_ms: u64, phase: Phase) -> Entry {
        let activity = if step.starts_with("undo") { "unnote" } else { "note" };
        Entry {
            at_ms,
            pid: 1,
            workflow_id: "w".into(),
            run_id: "r".into(),
            step: step.into(),
            attempt,
            activity: activity.into(),
            key: "k".into(),
            phase,
            text: String::new(),
        }
    }

    fn sound_ledger() -> Vec<Entry> {
        vec![
            entry("1", 1, 10, Phase::Started),
            entry("1", 2, 12, Phase::Started),
            entry("1", 2, 13, Phase::Finished),
            entry("undo-1", 1, 16, Phase::Started),
            entry("undo-1", 1, 17, Phase::Finished),
        ]
    }

    #[test]
    fn what_is_sound_passes() {
        check_history(&sound()).unwrap();
        check_ledger(&sound_ledger(), &[sound()]).unwrap();
        check_attempts(&sound_ledger()).unwrap();
    }

    #[test]
    fn a_doctored_history_is_found_out() {
        type Doctor = fn(&mut Vec<Record>);
        let doctored: [(&str, Doctor); 9] = [
            ("number 2 in the history", |records| drop(records.remove(1))),
            ("older", |records| records[1].at_ms = 9),
            ("watermark", |records| records[1].through = 0),
            ("1 starts of a run", |records| records[1].events = records[0].events.clone()),
            ("ended twice", |records| {
                let again = records[1].events[0].clone();
                records[2].events.push(again);
            }),
            ("5 ms early", |records| records[1].at_ms = 10),
            ("never asked for", |records| records[0].turn.as_mut().unwrap().commands.clear()),
            ("more than there were", |records| records[1].turn.as_mut().unwrap().delivered = 3),
            ("after the code had returned", |records| records[2].turn = records[1].turn.clone()),
        ];
        for (wanted, doctor) in doctored {
            let mut records = sound();
            doctor(&mut records);
            let found = check_history(&records).expect_err(wanted);
            assert!(found.contains(wanted), "{found} instead of {wanted}");
        }
    }

    #[test]
    fn a_doctored_ledger_is_found_out() {
        type Doctor = fn(&mut Vec<Entry>);
        let doctored: [(&str, Doctor); 5] = [
            ("executed again", |entries| entries.push(entry("1", 3, 14, Phase::Started))),
            ("executed again", |entries| entries[0].at_ms = 15 + CLOCKS_APART_MS + 1),
            ("executed again", |entries| {
                entries.push(entry("undo-1", 2, 20 + CLOCKS_APART_MS + 1, Phase::Started))
            }),
            ("nobody produced", |entries| drop(entries.remove(2))),
            ("nobody produced", |entries| entries[2].attempt = 1),
        ];
        for (wanted, doctor) in doctored {
            let mut entries = sound_ledger();
            doctor(&mut entries);
            let found = check_ledger(&entries, &[sound()]).expect_err(wanted);
            assert!(found.contains(wanted), "{found} instead of {wanted}");
        }
    }

    #[test]
    fn a_second_execution_is_found_out() {
        let mut entries = sound_ledger();
        entries.push(entry("1", 2, 12, Phase::Started));
        let found = check_attempts(&entries).unwrap_err();
        assert!(found.contains("attempt made twice"), "{found}");
        assert_eq!(check_ledger(&entries, &[sound()]), Ok(()), "it may have been given out again");
        let mut once = sound();
        let turn = once[0].turn.as_mut().unwrap();
        let Command::RunActivity(run) = &mut turn.commands[0] else { panic!("an activity") };
        run.options.retry.maximum_attempts = Some(1);
        let found = check_ledger(&entries, &[once]).unwrap_err();
        assert!(found.contains("once was all"), "{found}");
    }

    #[test]
    fn what_may_be_done_once_and_is_done_twice_is_found_out() {
        let mut once = sound();
        let Command::RunActivity(run) = &mut once[0].turn.as_mut().unwrap().commands[0] else {
            panic!("an activity")
        };
        run.options.retry.maximum_attempts = Some(1);
        let mut entries = sound_ledger();
        entries.remove(0);
        check_once(&entries, std::slice::from_ref(&once)).unwrap();
        entries.push(entry("1", 2, 14, Phase::Started));
        check_once(&entries, &[sound()]).unwrap();
        let found = check_once(&entries, &[once]).unwrap_err();
        assert!(found.contains("once was all"), "{found}");
    }

    #[test]
    fn compensations_in_another_order_are_found_out() {
        let undo = |index: u64, events: Value| json!({"index": index, "at_ms": index, "through": 1, "events": events});
        let started = |seq: u32| json!({"compensation_started": {"seq": seq}});
        let completed = |seq: u32| json!({"compensation_completed": {"seq": seq}});
        let right = records(&[
            undo(1, json!([started(4)])),
            undo(2, json!([completed(4), started(2), completed(2)])),
        ]);
        check_compensations(&right, &[4, 2]).unwrap();
        check_compensations(&right, &[9, 4, 2]).unwrap();
        for undone in [&[2, 4][..], &[4], &[]] {
            let found = check_compensations(&right, undone).unwrap_err();
            assert!(found.contains("recorded as compensated are [4, 2]"), "{found}");
        }
        let wrong = records(&[
            undo(1, json!([started(2)])),
            undo(2, json!([completed(2), started(4), completed(4)])),
        ]);
        let found = check_compensations(&wrong, &[2, 4]).unwrap_err();
        assert!(found.contains("compensation 4 began after Some(2)"), "{found}");
    }

    #[test]
    fn a_history_that_the_code_does_not_make_is_found_out() {
        use futures_util::FutureExt;
        let code = WorkflowCode::from_fn("w", |ctx, input| {
            async move {
                let note = ctx.run_untyped("note", input.clone()).start_to_close(stepwell::secs(1));
                let (_, _) = stepwell::join!(note, ctx.sleep(stepwell::secs(1)));
                Err(stepwell::WorkflowError::new("E", "m"))
            }
            .boxed()
        });
        check_replay(&sound(), std::slice::from_ref(&code)).unwrap();
        let mut records = sound();
        records[0].turn.as_mut().unwrap().commands.swap(0, 1);
        let found = check_replay(&records, std::slice::from_ref(&code)).unwrap_err();
        assert!(found.contains("history has"), "{found}");
        let mut records = sound();
        records[1].turn = None;
        assert_eq!(check_replay(&records, &[code]), Ok(()), "an open run is no difference");
    }

    #[test]
    fn overlaps_are_counted_per_process() {
        let mut entries = vec![entry("1", 1, 1, Phase::Started), entry("2", 1, 1, Phase::Started)];
        assert_eq!(most_at_once(&entries, "note"), 2);
        entries[1].pid = 2;
        assert_eq!(most_at_once(&entries, "note"), 1);
        entries.insert(1, entry("1", 1, 1, Phase::Finished));
        entries.push(entry("3", 1, 1, Phase::Started));
        assert_eq!(most_at_once(&entries, "note"), 1);
    }
}
