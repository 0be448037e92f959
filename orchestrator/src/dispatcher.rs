//! The one task of a partition that knows which workflows are in memory. It hands arrivals to drives and takes workflows
//! back; it never waits for NATS.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stepwell_connection::clock::now_ms;
use stepwell_orchestrator_core::Input;
use stepwell_shared::announce::Announcement;
use stepwell_shared::ids::{Name, RunId, WorkflowId};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ask::Sticky;
use crate::drive::{Delivery, Held, drive};
use crate::ready::{Ready, Reason};
use crate::sabotage;
use crate::shell::Shell;
use crate::slots::Slots;
use crate::timers::Due;

/// Most events that are read and not done, of all partitions of a process, which share it evenly. Reading
/// stops there: memory does not grow with the backlog. Waited for by the reader and not here: what it has put into the
/// inbox counts as well and must go on, or nothing gets less.
pub(crate) const MAX_IN_FLIGHT: usize = 20_000;

/// Most bytes of bodies of such events; the body of each is kept twice, as it came and as it was read.
pub(crate) const MAX_BYTES_IN_FLIGHT: usize = 128 * 1024 * 1024;

/// Most runs of all partitions of a process that are worked at without an event and not done. Events are bounded by
/// [`MAX_IN_FLIGHT`]; these would all wait for the same connection when a herd of timers is due, and everybody else
/// behind them.
pub(crate) const MAX_ROOMS: usize = 1_000;

/// Room between the reader of EVENTS and the dispatcher.
pub(crate) const INBOX_ROOM: usize = 4_096;

/// Room for requests to the dispatcher.
pub(crate) const REQUEST_ROOM: usize = 4_096;

/// Events that are taken from the inbox at once.
const BATCH: usize = 256;

/// Pause before the next look whether there is room again: it comes back when effects are confirmed, which nobody
/// reports to the reader.
pub(crate) const ROOM_PAUSE: Duration = Duration::from_millis(20);

/// An event that was read from the stream.
pub(crate) struct Incoming {
    pub(crate) id: WorkflowId,
    pub(crate) delivery: Delivery,
}

/// What others want of the dispatcher.
pub(crate) enum Request {
    /// A drive is done with its workflow.
    Finished { id: WorkflowId, held: Option<Box<Held>> },
    /// Runs whose time has come.
    Due(Vec<Due>),
    /// A worker became known.
    WorkerAppeared(Announcement),
    /// Everything that a predecessor left has been read.
    CaughtUp,
    /// What predecessors wanted for a workflow is to be looked at when everything they left has been read; it is
    /// noted in the recovery.
    LookAgain { id: WorkflowId },
    /// A workflow is to be looked at, for whatever may be due.
    LookAt { id: WorkflowId },
    /// These attempts of a run are nowhere; those that are still wanted are to be published again.
    Republish { id: WorkflowId, attempts: Vec<String> },
    /// Where a run stands, if it is in memory with nothing to do.
    Peek { id: WorkflowId, answer: oneshot::Sender<Option<Peeked>> },
}

/// Where a run stands, for a query.
pub(crate) struct Peeked {
    pub(crate) run_id: RunId,
    pub(crate) workflow_type: Name,
    pub(crate) queue: Name,
    pub(crate) turn_index: u64,
    pub(crate) turn_mark: String,
    pub(crate) first_sequence: u64,
    pub(crate) history_subject: String,
    pub(crate) sticky: Option<Sticky>,
}

/// Runs until `stop`; then begins nothing more and returns when no drive is under way.
pub(crate) async fn dispatch(
    shell: Arc<Shell>,
    mut inbox: mpsc::Receiver<Incoming>,
    mut requests: mpsc::Receiver<Request>,
    stop: CancellationToken,
) {
    let mut dispatcher = Dispatcher {
        slots: Slots::default(),
        ready: Ready::default(),
        active: 0,
        room: None,
        drives: TaskTracker::new(),
        shell,
    };
    let rooms = Arc::clone(&dispatcher.shell.ground.rooms);
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(request) = requests.recv() => dispatcher.handle(request),
            read = inbox.recv_many(&mut batch, BATCH) => {
                if read == 0 {
                    break;
                }
                for incoming in batch.drain(..) {
                    dispatcher.deliver(&incoming.id, incoming.delivery, Reason::Event);
                }
            }
            Ok(room) = Arc::clone(&rooms).acquire_owned(), if dispatcher.wants_room() => {
                dispatcher.room = Some(room);
            }
        }
        dispatcher.begin_ready();
    }
    dispatcher.drain(requests).await;
}

struct Dispatcher {
    shell: Arc<Shell>,
    slots: Slots,
    ready: Ready,
    active: usize,
    /// For the next workflow that no event has arrived for.
    room: Option<OwnedSemaphorePermit>,
    drives: TaskTracker,
}

impl Dispatcher {
    fn handle(&mut self, request: Request) {
        match request {
            Request::Finished { id, held } => self.finished(&id, held),
            Request::Due(due) => {
                for Due { id, due_ms } in due {
                    self.shell.metrics.timers_fired.inc();
                    self.deliver(&id, Delivery::internal(Input::Wake), Reason::Due { due_ms });
                }
            }
            Request::WorkerAppeared(announcement) => {
                for id in self.shell.parked.take(&announcement.queue) {
                    let input = Input::WorkerAppeared {
                        queue: announcement.queue.clone(),
                        workflows: announcement.workflows.clone(),
                        activities: announcement.activities.clone(),
                    };
                    self.deliver(&id, Delivery::internal(input), Reason::Look);
                }
            }
            Request::CaughtUp => {
                self.shell.caught_up.store(true, Ordering::Release);
                for id in self.shell.recovery.take_later() {
                    self.look_at(&id);
                }
            }
            Request::LookAgain { id } => {
                // Otherwise it is done when everything has been read: it is noted.
                if self.shell.caught_up.load(Ordering::Acquire) {
                    self.shell.recovery.now(&id);
                    self.look_at(&id);
                }
            }
            Request::LookAt { id } => self.look_at(&id),
            Request::Republish { id, attempts } => {
                let delivery = Delivery { republish: attempts, ..Delivery::internal(Input::Wake) };
                self.deliver(&id, delivery, Reason::Look);
            }
            Request::Peek { id, answer } => {
                let _ = answer.send(self.slots.peek(&id).and_then(peeked));
            }
        }
        self.shell.cached.store(self.slots.len(), Ordering::Relaxed);
    }

    fn look_at(&mut self, id: &WorkflowId) {
        self.deliver(id, Delivery::internal(Input::Wake), Reason::Look);
    }

    fn deliver(&mut self, id: &WorkflowId, delivery: Delivery, reason: Reason) {
        if self.slots.deliver(id, delivery) {
            self.ready.push(id.clone(), reason);
        } else {
            self.begins(reason);
        }
    }

    /// Takes note that a workflow is worked at now, for whatever reason it is.
    fn begins(&self, reason: Reason) {
        match reason {
            Reason::Due { due_ms } => {
                let lag = now_ms().saturating_sub(due_ms) as f64 / 1_000.0;
                self.shell.metrics.timer_lag_seconds.observe(lag);
            }
            Reason::Event | Reason::Look => {}
        }
    }

    /// Whether there is a workflow that waits for room.
    fn wants_room(&self) -> bool {
        self.room.is_none() && self.ready.others()
    }

    fn finished(&mut self, id: &WorkflowId, held: Option<Box<Held>>) {
        self.active -= 1;
        let mut evicted = 0;
        let room = self.shell.ground.share(self.shell.options.max_cached_runs);
        if self.slots.end(id, held, room, &mut evicted) {
            self.ready.push(id.clone(), Reason::Event);
        }
        self.shell.metrics.cache_evictions.inc_by(evicted);
    }

    fn begin_ready(&mut self) {
        let room = self.shell.ground.share(self.shell.options.max_active_runs);
        // Who may not act any more could not set aside what it refuses, and would record later events before it.
        while self.active < room && (self.shell.validity.holds() || !sabotage::fenced()) {
            if self.wants_room() {
                self.room = Arc::clone(&self.shell.ground.rooms).try_acquire_owned().ok();
            }
            let Some((id, reason)) = self.ready.pop(self.room.is_some()) else { break };
            let room = match reason {
                Reason::Event => None,
                Reason::Due { .. } | Reason::Look => self.room.take(),
            };
            self.begins(reason);
            let Some((held, mail)) = self.slots.begin(&id) else { continue };
            self.active += 1;
            let caught_up = self.shell.caught_up.load(Ordering::Acquire);
            // In a box: a task is moved several times while it is made, and a drive is large.
            self.drives.spawn(Box::pin(drive(Arc::clone(&self.shell), id, held, mail, caught_up, room)));
        }
        if !self.ready.others() {
            self.room = None;
        }
    }

    /// Lets the drives that are under way finish; what else has arrived stays undone and is read again.
    async fn drain(self, mut requests: mpsc::Receiver<Request>) {
        self.drives.close();
        let drives = self.drives;
        tokio::select! {
            () = drives.wait() => {}
            () = async { while requests.recv().await.is_some() {} } => {}
        }
    }
}

fn peeked(held: &Held) -> Option<Peeked> {
    let started = held.workflow.started()?;
    Some(Peeked {
        run_id: held.workflow.run_id()?.clone(),
        workflow_type: started.workflow_type.clone(),
        queue: started.queue.clone(),
        turn_index: held.workflow.turn_index(),
        turn_mark: held.workflow.turn_mark(),
        first_sequence: held.first_sequence,
        history_subject: held.history_subject.clone(),
        sticky: held.sticky.clone(),
    })
}
