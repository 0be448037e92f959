//! One workflow from arrival to commit: take in what arrived, ask its code, append the record, carry out
//! what it wants. One drive at a time per workflow; many workflows at once.
//!
//! After a crash the same loop runs over the same events. Nothing acts before its record is stored, and no
//! event counts as done before everything behind it is confirmed.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stepwell_connection::clock::now_ms;
use stepwell_connection::crash::{self, Boundary};
use stepwell_connection::history::ReadError;
use stepwell_connection::{PublishError, leader};
use stepwell_orchestrator_core::{Arrival, Effect, Input, Ruling, Timings, Workflow};
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::history::{Record, StallKind};
use stepwell_shared::ids::{Name, WorkflowId};
use stepwell_shared::limits::MAX_TURN_EVENTS;
use stepwell_shared::subject::{self, Stream};
use tokio::sync::OwnedSemaphorePermit;

use crate::answers;
use crate::ask::{Asked, Sticky, ask_turn, turn_task};
use crate::counting;
use crate::dispatcher::Request;
use crate::effects::{self, Sent};
use crate::error::OrchestratorError;
use crate::event_log::{self, Appended, LoadError, Loaded};
use crate::floor::Receipt;
use crate::idempotency;
use crate::rejections::{self, Raw};
use crate::sabotage;
use crate::shell::Shell;

/// Pause before a workflow is tried again whose history could not be read or written.
const PAUSE: Duration = Duration::from_millis(250);

/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Something that arrived for a workflow, with what is owed when it has been dealt with.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) arrival: Arrival,
    pub(crate) receipt: Option<Receipt>,
    pub(crate) answer_to: Option<String>,
    /// As it came, to be set aside if it is refused.
    pub(crate) raw: Option<Raw>,
    /// What a worker measured, if it is a report.
    pub(crate) timings: Option<Timings>,
    /// Attempts that are nowhere, to be published again if they are still wanted.
    pub(crate) republish: Vec<String>,
}

/// A delivery and how it was taken.
pub(crate) struct Taken {
    pub(crate) delivery: Delivery,
    pub(crate) ruling: Ruling,
    /// Activity type and queue of the step that a report is about.
    pub(crate) step: Option<(Name, Name)>,
}

/// A workflow in memory, and its place in the HISTORY stream.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) workflow: Workflow,
    pub(crate) history_subject: String,
    pub(crate) first_sequence: u64,
    pub(crate) last_sequence: u64,
    /// The worker whose cache has the run.
    pub(crate) sticky: Option<Sticky>,
    /// The queues on which it was last said to wait for workers.
    waits_on: BTreeSet<Name>,
    /// The records after the first index and up to the second were made by somebody else, and what they
    /// wanted was not looked at yet.
    unchecked: Option<(u64, u64)>,
    /// Taken for an id without a history; no append has proved it yet.
    guessed: bool,
}

impl Delivery {
    /// A delivery that did not come from the EVENTS stream.
    pub(crate) fn internal(input: Input) -> Self {
        Self {
            arrival: Arrival { sequence: None, input },
            receipt: None,
            answer_to: None,
            raw: None,
            timings: None,
            republish: Vec::new(),
        }
    }
}

impl Held {
    /// With the records that were read last.
    fn new(shell: &Shell, loaded: Loaded) -> (Self, Vec<Record>) {
        let id = loaded.workflow.id();
        let last_index = loaded.records.last().map_or(0, |record| record.index);
        let held = Self {
            history_subject: subject::history(shell.connection.namespace(), id, shell.partitions),
            first_sequence: loaded.first_sequence,
            last_sequence: loaded.last_sequence,
            sticky: None,
            waits_on: BTreeSet::new(),
            unchecked: (last_index > loaded.index_before).then_some((loaded.index_before, last_index)),
            guessed: false,
            workflow: loaded.workflow,
        };
        (held, loaded.records)
    }
}

/// Works off `mail`, gives the workflow back to the dispatcher, then waits until all effects are
/// confirmed. `caught_up`: nothing that a predecessor left for this workflow is anywhere but in `mail`. `room` is kept
/// until then.
pub(crate) async fn drive(
    shell: Arc<Shell>,
    id: WorkflowId,
    held: Option<Box<Held>>,
    mail: VecDeque<Delivery>,
    caught_up: bool,
    room: Option<OwnedSemaphorePermit>,
) {
    let mut drive = Drive {
        shell: &shell,
        id: &id,
        held,
        mail,
        caught_up,
        settled: Vec::new(),
        sent: Vec::new(),
        guessed_wrong: false,
        records: Vec::new(),
        republish: Vec::new(),
    };
    shell.timers.begin(&id);
    drive.work().await;
    let Drive { held, settled, sent, .. } = drive;
    let unchecked = held.as_ref().is_some_and(|held| held.unchecked.is_some());
    // The workflow may go on with its next event while the effects of this one are confirmed.
    let _ = shell.requests.send(Request::Finished { id: id.clone(), held }).await;
    if !effects::confirm(&shell, sent).await {
        return;
    }
    if unchecked {
        shell.timers.end_unchecked(&id);
        // Before the events count as done: a dispatcher that stops does not take the request any more, and
        // no checkpoint may pass by what a successor has to find.
        shell.recovery.later(&id);
        let _ = shell.requests.send(Request::LookAgain { id }).await;
    } else {
        // What woke the run goes only now: until here a successor would have needed it.
        let change = effects::write_timer(&shell, &id, || shell.timers.end(&id)).await;
        if !effects::confirm(&shell, change.into_iter().collect()).await {
            return;
        }
        // Another drive may have looked at it, and what it found missing may not be confirmed yet.
        if shell.timers.all_confirmed(&id) {
            shell.recovery.checked(&id);
        }
    }
    drop(room);
    crash::at(Boundary::EventsConfirmed);
    for receipt in settled {
        shell.floor.done(receipt);
    }
    crash::at(Boundary::EventsDone);
}

struct Drive<'a> {
    shell: &'a Shell,
    id: &'a WorkflowId,
    held: Option<Box<Held>>,
    mail: VecDeque<Delivery>,
    caught_up: bool,
    /// Events that are done as soon as everything that was sent is confirmed.
    settled: Vec<Receipt>,
    sent: Vec<Sent>,
    /// What is stored must be read before anything is decided.
    guessed_wrong: bool,
    /// The run's records, while they have just been read and nobody was asked.
    records: Vec<Record>,
    /// Attempts that are nowhere.
    republish: Vec<String>,
}

impl Drive<'_> {
    async fn work(&mut self) {
        let mut pause = PAUSE;
        loop {
            if self.held.is_none() {
                match self.load().await {
                    Ok(held) => self.held = Some(held),
                    Err(LoadError::Illegal(error)) => return self.refuse_all(&error.to_string()).await,
                    Err(LoadError::Halted) => return self.leave(),
                    Err(LoadError::Read(error)) => {
                        tracing::warn!(workflow_id = %self.id, %error, "a history cannot be read; trying again");
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(PAUSE_MAX);
                        continue;
                    }
                }
            }
            let Some(mut held) = self.held.take() else { return };
            let taken = self.take_in(&mut held).await;
            self.ask(&mut held).await;
            let Some(commit) = held.workflow.seal() else {
                if held.guessed {
                    self.take_back(taken);
                    continue;
                }
                if !self.settle(&mut held, taken).await {
                    return self.leave();
                }
                if self.mail.is_empty() {
                    self.check_predecessor(&mut held).await;
                    self.publish_lost(&held).await;
                    self.sleep_until_wanted(&mut held).await;
                    self.held = Some(held);
                    return;
                }
                self.held = Some(held);
                continue;
            };
            let prepare = async {
                // First the record is sent; what it wants is made ready while it is being stored.
                tokio::task::yield_now().await;
                effects::prepare(self.shell, &held.workflow, &commit.effects)
            };
            let (stored, wanted) = tokio::join!(self.store(&held, &commit.record), prepare);
            match stored {
                Ok(place) => {
                    pause = PAUSE;
                    self.stored(&mut held, &commit.record, &place);
                    self.sent.extend(effects::carry_out(self.shell, wanted).await);
                    counting::committed(&self.shell.metrics, &held.workflow, &commit);
                    if commit.record.index == 1 {
                        self.sent.extend(effects::remember_start(self.shell, &held.workflow).await);
                    }
                    if !self.settle(&mut held, taken).await {
                        return self.leave();
                    }
                    self.held = Some(held);
                }
                Err(error) => {
                    // The record is not ours, or not stored: forget what it changed, read again, and take
                    // the same arrivals in again.
                    self.take_back(taken);
                    if error != PublishError::WrongLastSequence {
                        tracing::warn!(workflow_id = %self.id, %error, "a record was not stored; trying again");
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(PAUSE_MAX);
                    }
                }
            }
        }
    }

    /// The workflow was not what it was taken for, or nothing says that it was: it is to be read, and the
    /// same arrivals taken in again.
    fn take_back(&mut self, taken: Vec<Taken>) {
        self.guessed_wrong = true;
        for it in taken.into_iter().rev() {
            self.mail.push_front(it.delivery);
        }
    }

    async fn load(&mut self) -> Result<Box<Held>, LoadError> {
        let shell = self.shell;
        // A start for an id of which nothing is known is most likely the first one; if it is not, the
        // append says so and the history is read then. While catching up, it is known to be likely not.
        let first = self.mail.front().map(|delivery| &delivery.arrival.input);
        let likely_first = matches!(first, Some(Input::Start { .. })) && !self.guessed_wrong;
        if likely_first && shell.caught_up.load(Ordering::Acquire) {
            let fresh = Loaded {
                workflow: Workflow::new(self.id.clone()),
                last_sequence: 0,
                first_sequence: 0,
                records: Vec::new(),
                index_before: 0,
            };
            return Ok(Box::new(Held { guessed: true, ..Held::new(shell, fresh).0 }));
        }
        shell.metrics.cache_loads.inc();
        let before = shell.own.up_to(self.id);
        let loaded = event_log::load(&shell.connection, shell.partitions, self.id, before);
        // Rare, and large, as are others below: in a box, so that not every drive has room for it.
        let loaded = Box::pin(loaded).await?;
        Box::pin(self.check_events(loaded.workflow.through())).await?;
        let (held, records) = Held::new(shell, loaded);
        self.records = records;
        Ok(Box::new(held))
    }

    /// A history that knows of events that EVENTS does not have: the stream has lost its end. New events would
    /// be taken for repeats of those that are gone.
    async fn check_events(&self, through: u64) -> Result<(), LoadError> {
        let shell = self.shell;
        if through <= shell.floor.read_to() {
            return Ok(());
        }
        let name = Stream::Events.name(shell.connection.namespace());
        let state = leader::state(&shell.connection, &name).await;
        let subject = subject::history(shell.connection.namespace(), self.id, shell.partitions);
        let last_sequence = state.map_err(|source| ReadError::JetStream { subject, source })?.last_sequence;
        if last_sequence < through {
            let stream = Stream::Events;
            shell.halt(OrchestratorError::StreamRegressed { stream, last_sequence, seen: through });
            return Err(LoadError::Halted);
        }
        Ok(())
    }

    /// Lets the workflow take in as much mail as one record may hold.
    async fn take_in(&mut self, held: &mut Held) -> Vec<Taken> {
        let mut taken = Vec::new();
        while let Some(delivery) = self.mail.pop_front() {
            if held.workflow.must_seal_before(&delivery.arrival.input) || taken.len() == MAX_TURN_EVENTS {
                self.mail.push_front(delivery);
                break;
            }
            let now = now_ms();
            if delivery.arrival.input == Input::Wake {
                let again = held.workflow.cancellations_to_repeat(now);
                effects::carry_out(self.shell, effects::prepare(self.shell, &held.workflow, &again)).await;
            }
            let step = match &delivery.arrival.input {
                Input::Report { step, .. } => held.workflow.step_names(*step),
                Input::Start { .. }
                | Input::Signal { .. }
                | Input::Cancel { .. }
                | Input::Terminate { .. }
                | Input::Resolve { .. }
                | Input::Wake
                | Input::WorkerAppeared { .. } => None,
            };
            let earlier =
                idempotency::earlier_run(&self.shell.connection, &held.workflow, &delivery.arrival.input);
            let ruling = match earlier.await {
                Some(ruling) => ruling,
                None => held.workflow.receive(&sabotage::marked(&delivery.arrival), now),
            };
            let rejected = ruling.is_rejection();
            taken.push(Taken { delivery, ruling, step });
            if rejected {
                // It is set aside before anything later is recorded, or a crash in between would lose it.
                break;
            }
        }
        held.workflow.advance(now_ms());
        taken
    }

    async fn ask(&mut self, held: &mut Held) {
        let Some(request) = held.workflow.turn_request(now_ms()) else { return };
        let (delivered, queue) = (request.events.len(), request.queue.clone());
        let task = turn_task(
            &held.workflow,
            request,
            &held.history_subject,
            held.first_sequence,
            &self.shell.tokens,
            std::mem::take(&mut self.records),
        );
        let Some(task) = task else { return };
        let shell = self.shell;
        let timeout = shell.options.workflow_task_timeout;
        let sticky = held.sticky.as_ref();
        let asked =
            ask_turn(&shell.connection, &shell.metrics, &shell.workers, timeout, task, &queue, sticky);
        match asked.await {
            Asked::Commands { commands, sticky } => {
                let worker = Some(sticky.worker.clone());
                if let Err(error) = held.workflow.answer(commands, worker, delivered) {
                    let message = format!("{error}; the code must be changed before the run can go on");
                    held.workflow.stall(StallKind::InvalidTurn, message, now_ms());
                    held.sticky = None;
                } else {
                    held.sticky = Some(sticky);
                }
            }
            Asked::Stalled { kind, message } => {
                tracing::warn!(workflow_id = %self.id, reason = kind.name(), message, "a run cannot go on");
                held.workflow.stall(kind, message, now_ms());
                held.sticky = None;
            }
        }
    }

    /// Appends the record. When the outcome is not known, the history tells.
    async fn store(&self, held: &Held, record: &Record) -> Result<Appended, PublishError> {
        let (shell, last) = (self.shell, held.last_sequence);
        let appended =
            event_log::append(&shell.connection, &shell.metrics, &held.history_subject, record, last).await;
        let error = match appended {
            Ok(appended) => return Ok(appended),
            Err(error) => error,
        };
        match error {
            PublishError::WrongLastSequence | PublishError::UnknownOutcome => {}
            PublishError::StorageFull { .. }
            | PublishError::Refused { .. }
            | PublishError::NoResponders
            | PublishError::Closed => return Err(error),
        }
        let loaded = Box::pin(event_log::load(&shell.connection, shell.partitions, self.id, 0)).await;
        match loaded {
            Ok(loaded) if loaded.records.last() == Some(record) => {
                let Loaded { first_sequence, last_sequence, .. } = loaded;
                Ok(Appended { first_sequence, last_sequence })
            }
            Ok(_) => {
                if error == PublishError::WrongLastSequence {
                    shell.metrics.fenced_writes.inc();
                }
                Err(error)
            }
            Err(_) => Err(error),
        }
    }

    fn stored(&self, held: &mut Held, record: &Record, place: &Appended) {
        held.last_sequence = place.last_sequence;
        held.guessed = false;
        if record.index == 1 {
            held.first_sequence = place.first_sequence;
            // What the run before wanted does not matter any more.
            held.unchecked = None;
        }
        if held.unchecked.is_none() {
            self.shell.own.set(self.id, place.last_sequence);
        }
    }

    /// Answers, sets aside, and marks what will be done when all that was sent is confirmed. False when this
    /// process may not act any more.
    async fn settle(&mut self, held: &mut Held, taken: Vec<Taken>) -> bool {
        for it in taken {
            counting::taken(&self.shell.metrics, &it);
            if !self.answer(&it.delivery, &it.ruling).await {
                return false;
            }
            if let Some(sequence) = it.delivery.arrival.sequence.filter(|_| it.ruling.is_rejection()) {
                held.workflow.set_aside(sequence);
            }
            self.settled.extend(it.delivery.receipt);
            self.republish.extend(it.delivery.republish);
        }
        true
    }

    /// Publishes again what was found to be nowhere, and is wanted still.
    async fn publish_lost(&mut self, held: &Held) {
        let lost = std::mem::take(&mut self.republish);
        let Some(run_id) = held.workflow.run_id().filter(|_| !lost.is_empty()) else { return };
        let mut wanted = held.workflow.outstanding();
        wanted.retain(|effect| match effect {
            Effect::Dispatch(it) => lost.contains(&effects::attempt_id(run_id, it.step, it.attempt)),
            Effect::CancelActivity { .. } | Effect::WriteSummary(_) | Effect::Close(_) => false,
        });
        let wanted = effects::prepare_again(self.shell, &held.workflow, &wanted);
        self.sent.extend(effects::carry_out(self.shell, wanted).await);
    }

    /// Leaves the rest to a successor.
    fn leave(&mut self) {
        self.held = None;
        self.mail.clear();
    }

    /// False when something is to be set aside and this process may not act any more.
    async fn answer(&self, delivery: &Delivery, ruling: &Ruling) -> bool {
        let connection = &self.shell.connection;
        if let Ruling::Rejected { code, message, .. } = ruling
            && let Some(raw) = &delivery.raw
            && !Box::pin(rejections::set_aside(self.shell, raw, *code, message)).await
        {
            return false;
        }
        if let Some(answer_to) = &delivery.answer_to
            && let Some(verdict) = answers::verdict(ruling)
        {
            answers::send(connection.client(), answer_to, &verdict).await;
        }
        true
    }

    /// Says when the run wants to be woken next, and on whom it waits.
    async fn sleep_until_wanted(&mut self, held: &mut Held) {
        let waits_on = held.workflow.waits_for_workers_on();
        self.shell.parked.set(self.id, &held.waits_on, &waits_on);
        held.waits_on.clone_from(&waits_on);
        let (next, idle) = (held.workflow.next_wake(), held.workflow.idle());
        if idle {
            self.shell.own.forget(self.id);
        }
        let timers = &self.shell.timers;
        let change = || timers.want(self.id, next, idle, waits_on);
        self.sent.extend(effects::write_timer(self.shell, self.id, change).await);
    }

    /// Carries out what predecessors recorded as wanted and may not have done: what is neither on the
    /// TASKS stream nor answered. Only when everything they left has been taken in; the dispatcher sees
    /// to it that there is a drive after that.
    async fn check_predecessor(&mut self, held: &mut Held) {
        let Some((after, up_to)) = held.unchecked.filter(|_| self.caught_up) else { return };
        let shell = self.shell;
        held.unchecked = None;
        shell.own.set(self.id, held.last_sequence);
        let Some(run_id) = held.workflow.run_id() else { return };
        if after == 0 {
            self.sent.extend(effects::remember_start(shell, &held.workflow).await);
        }
        let mut wanted = held.workflow.outstanding();
        wanted.retain(|effect| match effect {
            Effect::Dispatch(it) => {
                let id = effects::attempt_id(run_id, it.step, it.attempt);
                let theirs = it.wanted_by > after && it.wanted_by <= up_to;
                let lost = theirs && shell.recovery.never_published(&id);
                if lost {
                    shell.metrics.recovered_tasks.inc();
                    tracing::info!(workflow_id = %self.id, step = %it.step, "a task was never published; doing it now");
                }
                lost
            }
            Effect::CancelActivity { .. } | Effect::WriteSummary(_) | Effect::Close(_) => true,
        });
        let wanted = effects::prepare_again(shell, &held.workflow, &wanted);
        self.sent.extend(effects::carry_out(shell, wanted).await);
    }

    /// What is stored for this workflow makes no run: nothing can be decided for it.
    async fn refuse_all(&mut self, reason: &str) {
        tracing::error!(workflow_id = %self.id, reason, "a history cannot be understood; its run is left alone");
        for delivery in std::mem::take(&mut self.mail) {
            let ruling =
                Ruling::Rejected { code: ErrorCode::Internal, message: reason.to_owned(), run_id: None };
            if !self.answer(&delivery, &ruling).await {
                return self.leave();
            }
            self.settled.extend(delivery.receipt);
        }
    }
}
