//! One workflow from arrival to commit, in the steps of the orchestrator's drive. Between any two steps
//! the process may die or stand still.

use std::collections::{BTreeSet, VecDeque};

use stepwell_orchestrator_core::{Arrival, Commit, Effect, Input, Ruling, Workflow};
use stepwell_shared::encoding::{ChunkPlace, VERSION, chunk_ranges, decode, encode};
use stepwell_shared::headers::CHUNK;
use stepwell_shared::history::StallKind;
use stepwell_shared::ids::{Name, WorkflowId};
use stepwell_shared::limits::MAX_TURN_EVENTS;
use stepwell_shared::shard::Shard;
use stepwell_shared::subject;
use stepwell_shared::task::{self, Work, WorkflowTask, WorkflowTaskReply};

use super::effects::{attempt_id, timer_message};
use super::engine::{Engine, SlotState, Waiting};
use super::events::{Raw, rejection};
use super::history::{Loaded, load, records};
use super::knobs::Sabotage;
use super::timers::Receipt;
use super::wire::{EngineAlarm, Failed, Point, Request};
use super::world::World;
use crate::backend::{Acked, Log, Message, Refusal, Stored};

/// Pause before a workflow is tried again, and the longest one.
const PAUSE_MS: u64 = 250;
const PAUSE_MAX_MS: u64 = 10_000;

/// Something that arrived for a workflow.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) arrival: Arrival,
    pub(crate) receipt: Option<Receipt>,
    pub(crate) raw: Option<Raw>,
}

impl Delivery {
    pub(crate) fn internal(input: Input) -> Self {
        Self { arrival: Arrival { sequence: None, input }, receipt: None, raw: None }
    }
}

/// A workflow in memory.
pub(crate) struct Held {
    pub(crate) workflow: Workflow,
    history_subject: String,
    first_sequence: u64,
    last_sequence: u64,
    sticky: Option<String>,
    waits_on: BTreeSet<Name>,
    /// What others wanted with the records after the first and up to the second is still to be looked at.
    pub(crate) unchecked: Option<(u64, u64)>,
    guessed: bool,
}

/// Work on one workflow.
pub(crate) struct Drive {
    held: Option<Box<Held>>,
    mail: VecDeque<Delivery>,
    group: u64,
    /// Nothing that a predecessor left for this workflow is anywhere but in the mail.
    caught_up: bool,
    settled: Vec<Receipt>,
    taken: Vec<(Delivery, Ruling)>,
    pause_ms: u64,
    guessed_wrong: bool,
    /// The question that was asked, how many events were handed over, and whether the sticky worker has it.
    asked: Option<(Vec<u8>, usize, bool)>,
    /// What is to be set aside before anything else is taken in.
    aside: VecDeque<(u64, Message)>,
    appending: Option<Appending>,
}

struct Appending {
    commit: Commit,
    body: Vec<u8>,
    /// The chunk that is under way, from 0.
    chunk: usize,
    first_sequence: u64,
    expected: u64,
    error: Option<Failed>,
}

impl Drive {
    pub(crate) fn new(
        held: Option<Box<Held>>,
        mail: VecDeque<Delivery>,
        group: u64,
        caught_up: bool,
    ) -> Self {
        Self {
            held,
            mail,
            group,
            caught_up,
            settled: Vec::new(),
            taken: Vec::new(),
            pause_ms: PAUSE_MS,
            guessed_wrong: false,
            asked: None,
            aside: VecDeque::new(),
            appending: None,
        }
    }

    fn take_back(&mut self) {
        self.guessed_wrong = true;
        for (delivery, _) in std::mem::take(&mut self.taken).into_iter().rev() {
            self.mail.push_front(delivery);
        }
    }
}

impl Held {
    fn new(world: &World, loaded: Loaded) -> Self {
        let id = loaded.workflow.id();
        let last_index = loaded.last_record.as_ref().map_or(0, |record| record.index);
        Self {
            history_subject: subject::history(&world.namespace, id, world.partitions),
            first_sequence: loaded.first_sequence,
            last_sequence: loaded.last_sequence,
            sticky: None,
            waits_on: BTreeSet::new(),
            unchecked: (last_index > loaded.index_before).then_some((loaded.index_before, last_index)),
            guessed: false,
            workflow: loaded.workflow,
        }
    }
}

impl Engine {
    fn drive_of(&mut self, id: &WorkflowId) -> Option<Box<Drive>> {
        let slot = self.slots.get_mut(id)?;
        let away = SlotState::Active(Box::new(Drive::new(None, VecDeque::new(), 0, false)));
        match std::mem::replace(&mut slot.state, away) {
            SlotState::Active(drive) => Some(drive),
            SlotState::Idle(held) => {
                slot.state = SlotState::Idle(held);
                None
            }
        }
    }

    fn keep(&mut self, id: &WorkflowId, drive: Box<Drive>) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.state = SlotState::Active(drive);
        }
    }

    /// Goes on with a workflow: loads it, or takes its mail in and asks its code.
    pub(crate) fn work(&mut self, world: &mut World, id: &WorkflowId) {
        let Some(mut drive) = self.drive_of(id) else { return };
        if let Some((_, message)) = drive.aside.front().cloned() {
            if !self.holds(world) {
                // Left to a successor.
                self.slots.remove(id);
                return;
            }
            self.keep(id, drive);
            world.publishes(self.pid, &self.member, self.partition, &message.subject);
            return self.ask(world, Request::Publish(message), Waiting::Aside(id.clone()));
        }
        let Some(mut held) = drive.held.take().or_else(|| self.guess(world, id, &drive)) else {
            let subject = subject::history(&world.namespace, id, world.partitions);
            self.keep(id, drive);
            return self.ask(world, Request::History { subject }, Waiting::Load(id.clone()));
        };
        self.take_in(world, &mut drive, &mut held);
        if world.dies_at(self.pid, Point::Staged) {
            return;
        }
        let now_ms = self.now(world);
        let Some(request) = held.workflow.turn_request(now_ms) else {
            drive.held = Some(held);
            return self.seal(world, id, drive);
        };
        let Some(run_id) = held.workflow.run_id().cloned() else { return };
        let delivered = request.events.len();
        let body = encode(&WorkflowTask {
            records: Vec::new(),
            v: VERSION,
            workflow_id: id.clone(),
            run_id,
            workflow_type: request.workflow_type,
            history_subject: held.history_subject.clone(),
            first_sequence: held.first_sequence,
            after: request.after,
            mark: Some(request.mark),
            next_mark: Some(request.next_mark),
            replay_token: None,
            work: Work::Turn { at_ms: request.at_ms, events: request.events, index: request.index },
        });
        let sticky = held.sticky.clone();
        let call = world.ask_worker(self.pid, sticky.as_deref(), body.clone());
        self.calls.insert(call, Waiting::Turn(id.clone()));
        drive.asked = Some((body, delivered, sticky.is_some()));
        drive.held = Some(held);
        self.keep(id, drive);
    }

    /// A start for an id of which nothing is known is most likely the first one.
    fn guess(&self, world: &World, id: &WorkflowId, drive: &Drive) -> Option<Box<Held>> {
        let first = drive.mail.front().map(|delivery| &delivery.arrival.input);
        let likely = matches!(first, Some(Input::Start { .. })) && self.caught_up && !drive.guessed_wrong;
        likely.then(|| {
            let fresh = Loaded {
                workflow: Workflow::new(id.clone()),
                last_sequence: 0,
                first_sequence: 0,
                last_record: None,
                index_before: 0,
            };
            Box::new(Held { guessed: true, ..Held::new(world, fresh) })
        })
    }

    pub(crate) fn loaded(&mut self, world: &mut World, id: &WorkflowId, messages: &[Stored], last: u64) {
        let Some(mut drive) = self.drive_of(id) else { return };
        // Everything that this process did not append, or has not looked at, was left by somebody else.
        match load(id, messages, last, self.own.get(id).copied().unwrap_or(0)) {
            Ok(loaded) => {
                drive.held = Some(Box::new(Held::new(world, loaded)));
                self.keep(id, drive);
                self.work(world, id);
            }
            Err(error) => world.complaints.push(format!("a history cannot be understood: {error}")),
        }
    }

    fn take_in(&mut self, world: &mut World, drive: &mut Drive, held: &mut Held) {
        let now_ms = self.now(world);
        while let Some(delivery) = drive.mail.pop_front() {
            let full = drive.taken.len() == MAX_TURN_EVENTS;
            if full || held.workflow.must_seal_before(&delivery.arrival.input) {
                drive.mail.push_front(delivery);
                break;
            }
            if delivery.arrival.input == Input::Wake {
                for effect in held.workflow.cancellations_to_repeat(now_ms) {
                    self.carry_out(world, drive.group, &held.workflow, effect);
                }
            }
            let ruling = held.workflow.receive(&delivery.arrival, now_ms);
            let rejected = ruling.is_rejection();
            drive.taken.push((delivery, ruling));
            if rejected {
                break;
            }
        }
        held.workflow.advance(now_ms);
    }

    /// The worker's answer; `None` when there was none in time.
    pub(crate) fn turn_answered(
        &mut self,
        world: &mut World,
        id: &WorkflowId,
        reply: Option<Option<Vec<u8>>>,
    ) {
        let Some(mut drive) = self.drive_of(id) else { return };
        let (Some(mut held), Some((body, delivered, sticky))) = (drive.held.take(), drive.asked.take())
        else {
            return self.keep(id, drive);
        };
        let usable = reply.as_ref().and_then(Option::as_ref);
        let reply_body: Option<WorkflowTaskReply> = usable.and_then(|body| decode(body).ok());
        if reply_body.is_none() && sticky {
            let call = world.ask_worker(self.pid, None, body.clone());
            self.calls.insert(call, Waiting::Turn(id.clone()));
            drive.asked = Some((body, delivered, false));
            drive.held = Some(held);
            return self.keep(id, drive);
        }
        let now_ms = self.now(world);
        held.sticky = None;
        match (reply_body, reply) {
            (Some(reply), _) => match reply.answer {
                task::Answer::Commands { commands } => {
                    let worker = reply.worker.clone();
                    match held.workflow.answer(commands, Some(reply.worker), delivered) {
                        Ok(()) => held.sticky = Some(worker.to_string()),
                        Err(error) => {
                            world.complaints.push(format!("{id}: an answer is invalid: {error}"));
                            held.workflow.stall(StallKind::InvalidTurn, error.to_string(), now_ms);
                        }
                    }
                }
                task::Answer::Stalled { kind, message } => {
                    world.complaints.push(format!("{id}: the code stalled: {kind:?}: {message}"));
                    held.workflow.stall(kind, message, now_ms);
                }
                task::Answer::QueryResult { .. }
                | task::Answer::QueryFailed { .. }
                | task::Answer::Busy {} => {}
            },
            (None, Some(None)) => held.workflow.stall(StallKind::NoWorker, "nobody listens".into(), now_ms),
            (None, _) => held.workflow.stall(StallKind::TaskTimeout, "no answer".into(), now_ms),
        }
        drive.held = Some(held);
        self.seal(world, id, drive);
    }

    fn seal(&mut self, world: &mut World, id: &WorkflowId, mut drive: Box<Drive>) {
        let Some(mut held) = drive.held.take() else { return };
        let Some(commit) = held.workflow.seal() else {
            if held.guessed {
                drive.take_back();
                self.keep(id, drive);
                return self.work(world, id);
            }
            self.settle(world, &mut drive);
            drive.held = Some(held);
            if drive.mail.is_empty() && drive.aside.is_empty() {
                return self.finish(world, id, drive);
            }
            self.keep(id, drive);
            return self.work(world, id);
        };
        if world.sabotage == Sabotage::EffectsFirst {
            for effect in commit.effects.clone() {
                self.carry_out(world, drive.group, &held.workflow, effect);
            }
        }
        let body = encode(&commit.record);
        let expected = held.last_sequence;
        drive.appending =
            Some(Appending { commit, body, chunk: 0, first_sequence: 0, expected, error: None });
        drive.held = Some(held);
        self.append(world, id, drive);
    }

    fn append(&mut self, world: &mut World, id: &WorkflowId, drive: Box<Drive>) {
        let (Some(appending), Some(held)) = (&drive.appending, &drive.held) else { return };
        let ranges = chunk_ranges(appending.body.len(), world.knobs.chunk_bytes);
        let count = ranges.len();
        let Some(range) = ranges.get(appending.chunk).cloned() else { return };
        let mut message = Message::new(&held.history_subject, &appending.body[range]);
        if world.sabotage != Sabotage::NoFence {
            message = message.after(appending.expected);
        }
        if count > 1 {
            let place = ChunkPlace { index: appending.chunk + 1, count };
            message = message.with_header(CHUNK, place.header());
        }
        self.keep(id, drive);
        self.ask(world, Request::Publish(message), Waiting::Append(id.clone()));
        world.dies_at(self.pid, Point::AppendSent);
    }

    pub(crate) fn appended(&mut self, world: &mut World, id: &WorkflowId, result: Result<Acked, Failed>) {
        let Some(mut drive) = self.drive_of(id) else { return };
        let Some(mut appending) = drive.appending.take() else { return };
        match result {
            Ok(ack) => {
                appending.expected = ack.sequence;
                if appending.chunk == 0 {
                    appending.first_sequence = ack.sequence;
                }
                appending.chunk += 1;
                let all = chunk_ranges(appending.body.len(), world.knobs.chunk_bytes).len();
                let (first, last) = (appending.first_sequence, ack.sequence);
                let more = appending.chunk < all;
                drive.appending = Some(appending);
                if more {
                    return self.append(world, id, drive);
                }
                self.stored(world, id, drive, first, last);
            }
            Err(error @ (Failed::Refused(Refusal::WrongLastSequence) | Failed::Unknown)) => {
                appending.error = Some(error);
                drive.appending = Some(appending);
                self.keep(id, drive);
                let subject = subject::history(&world.namespace, id, world.partitions);
                self.ask(world, Request::History { subject }, Waiting::Verify(id.clone()));
            }
            Err(error @ Failed::Refused(Refusal::Full | Refusal::NoStream)) => {
                self.not_stored(world, id, drive, error);
            }
        }
    }

    pub(crate) fn verified(&mut self, world: &mut World, id: &WorkflowId, messages: &[Stored], last: u64) {
        let Some(mut drive) = self.drive_of(id) else { return };
        let Some(appending) = drive.appending.take() else { return };
        let error = appending.error.unwrap_or(Failed::Unknown);
        match load(id, messages, last, 0) {
            Ok(loaded) if loaded.last_record.as_ref() == Some(&appending.commit.record) => {
                drive.appending = Some(appending);
                self.stored(world, id, drive, loaded.first_sequence, loaded.last_sequence);
            }
            Ok(_) | Err(_) => self.not_stored(world, id, drive, error),
        }
    }

    fn stored(&mut self, world: &mut World, id: &WorkflowId, mut drive: Box<Drive>, first: u64, last: u64) {
        let (Some(appending), Some(mut held)) = (drive.appending.take(), drive.held.take()) else { return };
        if world.dies_at(self.pid, Point::AppendStored) {
            return;
        }
        let Commit { record, effects, .. } = appending.commit;
        if record.index == 1 {
            held.first_sequence = first;
        }
        held.last_sequence = last;
        held.guessed = false;
        if record.index == 1 {
            held.unchecked = None;
        }
        if held.unchecked.is_none() {
            self.own.insert(id.clone(), last);
        }
        drive.pause_ms = PAUSE_MS;
        compare_with_stored(world, id, &held);
        if world.sabotage != Sabotage::EffectsFirst {
            for effect in effects {
                self.carry_out(world, drive.group, &held.workflow, effect);
                if world.dies_at(self.pid, Point::BetweenEffects) {
                    return;
                }
            }
        }
        self.settle(world, &mut drive);
        drive.held = Some(held);
        self.keep(id, drive);
        if !world.dies_at(self.pid, Point::EffectsSent) {
            self.work(world, id);
        }
    }

    fn not_stored(&mut self, world: &mut World, id: &WorkflowId, mut drive: Box<Drive>, error: Failed) {
        drive.take_back();
        drive.held = None;
        drive.appending = None;
        let pause_ms = drive.pause_ms;
        if error == Failed::Refused(Refusal::WrongLastSequence) {
            self.keep(id, drive);
            return self.work(world, id);
        }
        drive.pause_ms = (pause_ms * 2).min(PAUSE_MAX_MS);
        self.keep(id, drive);
        self.alarm(world, pause_ms, EngineAlarm::Resume(id.to_string()));
    }

    fn settle(&mut self, world: &mut World, drive: &mut Drive) {
        for (delivery, ruling) in std::mem::take(&mut drive.taken) {
            if let (Ruling::Rejected { code, message, .. }, Some(raw)) = (&ruling, &delivery.raw) {
                drive.aside.push_back((raw.stored.sequence, rejection(world, raw, *code, message)));
            }
            if let Some(receipt) = delivery.receipt {
                if world.sabotage == Sabotage::EarlyCheckpoint {
                    self.floor.done(receipt);
                    self.plan_checkpoint(world);
                }
                drive.settled.push(receipt);
            }
        }
    }

    /// What was to be set aside is, or has to be sent again.
    pub(crate) fn set_aside(&mut self, world: &mut World, id: &WorkflowId, result: Result<Acked, Failed>) {
        let Some(mut drive) = self.drive_of(id) else { return };
        if result.is_ok() {
            if let (Some((sequence, _)), Some(held)) = (drive.aside.pop_front(), &mut drive.held) {
                held.workflow.set_aside(sequence);
            }
            self.keep(id, drive);
            self.work(world, id);
        } else {
            self.keep(id, drive);
            self.alarm(world, PAUSE_MS, EngineAlarm::Resume(id.to_string()));
        }
    }

    fn finish(&mut self, world: &mut World, id: &WorkflowId, mut drive: Box<Drive>) {
        let Some(mut held) = drive.held.take() else { return };
        if drive.caught_up {
            self.check_predecessor(world, id, drive.group, &mut held);
        }
        if held.workflow.idle() {
            self.own.remove(id);
        }
        let waits_on = held.workflow.waits_for_workers_on();
        self.park(id, &held.waits_on.clone(), &waits_on);
        held.waits_on.clone_from(&waits_on);
        let (next_ms, idle) = (held.workflow.next_wake(), held.workflow.idle());
        if let Some(write) = self.timers.want(id, next_ms, idle, waits_on) {
            self.send(world, drive.group, timer_message(world, id, &write));
            if world.dies_at(self.pid, Point::TimerWritten) {
                return;
            }
        }
        self.plan_timers(world);
        if let Some(group) = self.groups.get_mut(&drive.group) {
            group.closed = Some(id.clone());
            group.unchecked = held.unchecked.is_some();
            group.receipts = std::mem::take(&mut drive.settled);
        }
        self.settle_group(world, drive.group);
        self.end(world, id, Some(held));
    }

    /// What predecessors wanted and may not have done.
    fn check_predecessor(&mut self, world: &mut World, id: &WorkflowId, group: u64, held: &mut Held) {
        let Some((after, up_to)) = held.unchecked.take() else { return };
        self.own.insert(id.clone(), held.last_sequence);
        let Some(run_id) = held.workflow.run_id().cloned() else { return };
        if world.sabotage == Sabotage::NoRecovery {
            return;
        }
        for effect in held.workflow.outstanding() {
            if let Effect::Dispatch(it) = &effect {
                let task = attempt_id(&run_id, it.step, it.attempt);
                let theirs = it.wanted_by > after && it.wanted_by <= up_to;
                if !theirs || !self.recovery.never_published(&task) {
                    continue;
                }
                world.stats.recovered += 1;
                world.note(self.pid, || format!("{task} was never published"));
            }
            self.carry_out(world, group, &held.workflow, effect);
        }
    }
}

/// The live state must be the one that is stored, unless somebody wrote in between.
fn compare_with_stored(world: &mut World, id: &WorkflowId, held: &Held) {
    if !world.dice.orchestrator.chance(150) {
        return;
    }
    let messages = world.server.read(
        stepwell_shared::subject::Stream::History(Shard::FIRST),
        &held.history_subject,
        0,
        usize::MAX,
    );
    let last = records(&messages).last().map(|stored| stored.last_sequence);
    if last != Some(held.last_sequence) {
        return;
    }
    match load(id, &messages, held.last_sequence, 0) {
        Ok(loaded) if loaded.workflow.fingerprint() == held.workflow.fingerprint() => {}
        Ok(loaded) => world.complaints.push(format!(
            "{id}: the live state is not the stored one:\n{}\n{}",
            held.workflow.fingerprint(),
            loaded.workflow.fingerprint()
        )),
        Err(error) => world.complaints.push(format!("{id}: {error}")),
    }
}
