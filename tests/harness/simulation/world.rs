//! Time, the network and the server: everything that processes have in common, one event after the other.
//!
//! A message takes its time, keeps its place behind those sent before on the same connection, and may be
//! lost on the way there or on the way back. Everything is drawn from the seed.

use std::collections::{BTreeMap, VecDeque};

use stepwell_shared::ids::{Name, Namespace, RunId};
use stepwell_shared::subject::{Bucket, Stream};

use super::dice::Streams;
use super::service::Service;
use crate::backend::{Acked, Entry, Handed, KeyValue, Log, Memory, Message, Queue, Refusal, Stored, matches};

/// After this time without an acknowledgement the outcome counts as unknown.
const ACK_TIMEOUT_MS: u64 = 5_000;

/// How long the answer to a workflow task is waited for.
const TASK_TIMEOUT_MS: u64 = 10_000;

/// Longest list of what happened last that is kept for a failure's report.
const TRACE_LINES: usize = 3_000;

/// A process. Numbers are not used again: a restarted process is a new one.
pub(crate) type Pid = usize;

/// A question that waits for its answer.
pub(crate) type Call = u64;

/// How hard a run is made.
#[derive(Debug, Clone)]
pub(crate) struct Knobs {
    /// Longest way of a message.
    pub(crate) latency_ms: u64,
    /// Messages lost on the way to the server, and acknowledgements lost on the way back, in a thousand.
    pub(crate) lost: u64,
    /// Core NATS messages lost, in a thousand.
    pub(crate) core_lost: u64,
    /// Crashes and pauses at each boundary, in a thousand.
    pub(crate) crash: u64,
    pub(crate) pause: u64,
    /// Until when there are faults.
    pub(crate) faults_until_ms: u64,
    /// How many runs an orchestrator keeps in memory.
    pub(crate) cached_runs: usize,
    /// Records above this size become chains.
    pub(crate) chunk_bytes: usize,
    pub(crate) workers: usize,
    pub(crate) slots: usize,
    /// Restarts may take longer than the server remembers message ids.
    pub(crate) long_outages: bool,
}

/// What is switched off to see whether the checkers notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Nothing.
    None,
    /// Records are appended without naming the last one.
    NoFence,
    /// Redelivered events are not recognised.
    NoWatermark,
    /// Effects are carried out before the record is stored.
    EffectsFirst,
    /// Events count as done before their effects are confirmed.
    EarlyCheckpoint,
    /// Tasks are published without ids.
    NoTaskIds,
    /// A successor does not look for what was never published.
    NoRecovery,
    /// Workers tell turns of the same record apart by nothing.
    NoMarks,
}

/// What was injected and what happened, to prove that a run was a test.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records stored.
    pub commits: u64,
    /// Planned faults: kills, pauses, caches that were dropped, streams that were full.
    pub faults: u64,
    /// Orchestrators that were killed.
    pub orchestrator_crashes: u64,
    /// Workers that were killed.
    pub worker_crashes: u64,
    /// Processes that were paused.
    pub pauses: u64,
    /// Messages that did not arrive.
    pub lost_messages: u64,
    /// Messages that arrived, and whose sender was not told.
    pub lost_acks: u64,
    /// Core NATS messages that did not arrive.
    pub lost_core: u64,
    /// Appends that lost against another writer.
    pub fenced: u64,
    /// Repeats that the server recognised.
    pub duplicates: u64,
    /// Messages refused for want of room.
    pub full: u64,
    /// Tasks that were handed out again.
    pub redelivered: u64,
    /// Runs dropped from memory.
    pub evictions: u64,
    /// Histories replayed by workers.
    pub replays: u64,
    /// Tasks that a successor found unpublished.
    pub recovered: u64,
    /// Events that were read again after a restart.
    pub reread: u64,
}

impl Stats {
    /// How many faults were injected.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.faults
            + self.orchestrator_crashes
            + self.worker_crashes
            + self.pauses
            + self.lost_messages
            + self.lost_acks
            + self.lost_core
            + self.full
    }

    /// Adds what happened in another run.
    pub fn add(&mut self, other: &Self) {
        for ((_, sum), (_, more)) in self.fields().into_iter().zip(other.clone().fields()) {
            *sum += *more;
        }
    }

    /// What never happened.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let mut copy = self.clone();
        copy.fields().into_iter().filter(|(_, count)| **count == 0).map(|(name, _)| name).collect()
    }

    fn fields(&mut self) -> [(&'static str, &mut u64); 16] {
        [
            ("commits", &mut self.commits),
            ("faults", &mut self.faults),
            ("orchestrator_crashes", &mut self.orchestrator_crashes),
            ("worker_crashes", &mut self.worker_crashes),
            ("pauses", &mut self.pauses),
            ("lost_messages", &mut self.lost_messages),
            ("lost_acks", &mut self.lost_acks),
            ("lost_core", &mut self.lost_core),
            ("fenced", &mut self.fenced),
            ("duplicates", &mut self.duplicates),
            ("full", &mut self.full),
            ("redelivered", &mut self.redelivered),
            ("evictions", &mut self.evictions),
            ("replays", &mut self.replays),
            ("recovered", &mut self.recovered),
            ("reread", &mut self.reread),
        ]
    }
}

/// A question to the server.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Publish(Message),
    /// Waits until there is something.
    Events {
        from: u64,
    },
    History {
        subject: String,
    },
    TaskIds,
    Last(Stream),
    Entries(Bucket),
    Get {
        bucket: Bucket,
        key: String,
    },
    /// Waits until there is a task.
    Pull {
        queue: Name,
    },
    Ack(Handed),
    InProgress(Handed),
    PurgeBelow {
        stream: Stream,
        sequence: u64,
    },
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Published(Result<Acked, Failed>),
    /// Messages, and how many more there are.
    Events(Vec<Stored>, usize),
    /// The messages of the subject, and the sequence of the last.
    History(Vec<Stored>, u64),
    /// The ids of the tasks that are there, and the sequence of the last.
    TaskIds(Vec<String>, u64),
    Last(u64),
    Entries(Vec<(String, Vec<u8>)>),
    Value(Option<Entry>),
    Task(Handed),
    /// A workflow task's reply; `None`: nobody listens. A late one finds nobody waiting.
    Turn(Option<Vec<u8>>),
    TimedOut,
}

/// Why a message is not known to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    Refused(Refusal),
    Unknown,
}

/// What happens to a process.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// Its beginning.
    Begin,
    Answer {
        call: Call,
        answer: Answer,
    },
    /// Something that it wanted to be told at this time.
    Alarm(Alarm),
    /// A workflow task for a worker.
    Task {
        body: Vec<u8>,
        from: Pid,
        call: Call,
    },
    /// A request to stop an activity, for a worker.
    CancelActivity(Vec<u8>),
    /// A worker is there.
    Announced {
        worker: String,
    },
    /// Drop what is cached.
    Evict,
    /// For the network: a request arrives at the server.
    Arrives {
        from: Pid,
        call: Call,
        request: Request,
    },
    /// For the network: tasks may be overdue.
    Overdue,
    /// For the simulation: a process dies.
    Kill,
    /// For the simulation: a process begins.
    Spawn(Kind),
    /// For the simulation: something goes wrong.
    Fault,
    /// For the server: streams take messages again.
    Room(Stream),
}

/// Kinds of process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Orchestrator,
    Worker,
}

/// What a process wants to be told when time has passed.
#[derive(Debug, Clone)]
pub(crate) enum Alarm {
    /// Timers may be due.
    Timers,
    /// Checkpoints may have moved.
    Checkpoint,
    /// Summaries are compared with their histories.
    Compare,
    /// Go on with a workflow after a pause.
    Resume(String),
    /// Send an effect again.
    Repeat(u64),
    /// Go on with an activity.
    Activity(u64),
    /// Say that an activity is worked on.
    Progress(u64),
    /// A client's turn.
    Client(u64),
}

/// Places where a process may die.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Point {
    Staged,
    AppendSent,
    AppendStored,
    BetweenEffects,
    EffectsSent,
    TimerWritten,
    CheckpointSent,
    TurnMade,
    ActivityBegun,
    EffectDone,
    ReportSent,
    ReportStored,
}

/// The server and the network.
pub(crate) const SERVER: Pid = 0;
/// Everybody outside: clients and the operator.
pub(crate) const OUTSIDE: Pid = 1;

#[derive(Debug, Clone)]
struct Link {
    alive: bool,
    kind: Option<Kind>,
    paused_until_ms: u64,
    /// When what was sent last arrives at the server, and when the server's last answer arrives.
    out_ms: u64,
    in_ms: u64,
    /// Somebody else has taken over; it has not noticed yet.
    zombie: bool,
    name: String,
}

/// Everything that processes have in common.
pub(crate) struct World {
    pub(crate) now_ms: u64,
    pub(crate) server: Memory,
    pub(crate) namespace: Namespace,
    pub(crate) partitions: u32,
    pub(crate) service: Service,
    pub(crate) dice: Streams,
    pub(crate) knobs: Knobs,
    pub(crate) sabotage: Sabotage,
    pub(crate) stats: Stats,
    /// When each delivery of a task was handed out.
    pub(crate) handed_ms: BTreeMap<(u64, u64), u64>,
    /// When each message of HISTORY was stored.
    pub(crate) stored_ms: BTreeMap<u64, u64>,
    /// Every event that was stored, with its subject and body: the stream itself is trimmed.
    pub(crate) events: Vec<Stored>,
    /// Runs whose records contradict the live state, and other things that can be seen only on the way.
    pub(crate) complaints: Vec<String>,
    queue: BTreeMap<(u64, u64), (Pid, What)>,
    order: u64,
    calls: Call,
    links: Vec<Link>,
    event_readers: Vec<(Pid, Call, u64)>,
    pulls: VecDeque<(Pid, Call, Name)>,
    overdue_at_ms: Option<u64>,
    traced: bool,
    trace: VecDeque<String>,
}

impl World {
    pub(crate) fn new(seed: u64, partitions: u32, knobs: Knobs, sabotage: Sabotage) -> Self {
        let namespace = Namespace::default();
        let mut world = Self {
            now_ms: 1_700_000_000_000,
            server: Memory::new(namespace.clone(), partitions),
            namespace,
            partitions,
            service: Service::default(),
            dice: Streams::new(seed),
            knobs,
            sabotage,
            stats: Stats::default(),
            handed_ms: BTreeMap::new(),
            stored_ms: BTreeMap::new(),
            events: Vec::new(),
            complaints: Vec::new(),
            queue: BTreeMap::new(),
            order: 0,
            calls: 0,
            links: Vec::new(),
            event_readers: Vec::new(),
            pulls: VecDeque::new(),
            overdue_at_ms: None,
            traced: std::env::var_os("STEPWELL_SIM_TRACE").is_some(),
            trace: VecDeque::new(),
        };
        world.knobs.faults_until_ms += world.now_ms;
        world.connect(None, "server");
        world.connect(None, "outside");
        world
    }

    /// A new process.
    pub(crate) fn connect(&mut self, kind: Option<Kind>, name: &str) -> Pid {
        let name = format!("{name}-{}", self.links.len());
        self.links.push(Link {
            alive: true,
            kind,
            paused_until_ms: 0,
            out_ms: 0,
            in_ms: 0,
            zombie: false,
            name,
        });
        self.links.len() - 1
    }

    pub(crate) fn name_of(&self, pid: Pid) -> &str {
        &self.links[pid].name
    }

    pub(crate) fn alive(&self, pid: Pid) -> bool {
        self.links[pid].alive
    }

    /// The processes of a kind that live.
    pub(crate) fn living(&self, kind: Kind) -> Vec<Pid> {
        let of_kind = |pid: &Pid| self.links[*pid].alive && self.links[*pid].kind == Some(kind);
        (0..self.links.len()).filter(of_kind).collect()
    }

    /// Whether an orchestrator is there that nobody has taken over from.
    pub(crate) fn has_orchestrator(&self) -> bool {
        self.links.iter().any(|link| link.alive && !link.zombie && link.kind == Some(Kind::Orchestrator))
    }

    /// Whether somebody has taken over from an orchestrator.
    pub(crate) fn is_zombie(&self, pid: Pid) -> bool {
        self.links[pid].zombie
    }

    pub(crate) fn paused(&self, pid: Pid) -> bool {
        self.links[pid].paused_until_ms > self.now_ms
    }

    /// Whether faults are still injected.
    pub(crate) fn faulty(&self) -> bool {
        self.now_ms < self.knobs.faults_until_ms
    }

    /// Notes something for a failure's report.
    pub(crate) fn note(&mut self, pid: Pid, text: impl FnOnce() -> String) {
        if !self.traced {
            return;
        }
        if self.trace.len() == TRACE_LINES {
            self.trace.pop_front();
        }
        let line = format!("{:>9} {:<16} {}", self.now_ms - 1_700_000_000_000, self.links[pid].name, text());
        self.trace.push_back(line);
    }

    pub(crate) fn trace(&self) -> String {
        self.trace.iter().fold(String::new(), |text, line| text + line + "\n")
    }

    /// Plans something.
    pub(crate) fn at(&mut self, at_ms: u64, pid: Pid, what: What) {
        self.order += 1;
        self.queue.insert((at_ms.max(self.now_ms), self.order), (pid, what));
    }

    pub(crate) fn alarm(&mut self, pid: Pid, after_ms: u64, alarm: Alarm) {
        let from_ms = self.now_ms.max(self.links[pid].paused_until_ms);
        self.at(from_ms + after_ms, pid, What::Alarm(alarm));
    }

    /// The next thing that happens to a process other than the server. `None` when nothing is planned.
    pub(crate) fn next(&mut self) -> Option<(Pid, What)> {
        loop {
            let ((at_ms, order), (pid, what)) = self.queue.pop_first()?;
            self.now_ms = self.now_ms.max(at_ms);
            self.server.set_now(self.now_ms);
            if pid == SERVER {
                match what {
                    What::Arrives { from, call, request } => self.execute(from, call, request),
                    What::Overdue => self.overdue(),
                    What::Room(stream) => self.server.set_full(stream, false),
                    other => return Some((pid, other)),
                }
                continue;
            }
            let link = &self.links[pid];
            if !link.alive {
                continue;
            }
            if link.paused_until_ms > self.now_ms && !matches!(what, What::Kill) {
                // It finds everything in its order when it wakes up.
                self.queue.insert((link.paused_until_ms, order), (pid, what));
                continue;
            }
            return Some((pid, what));
        }
    }

    /// Asks the server.
    pub(crate) fn ask(&mut self, from: Pid, request: Request) -> Call {
        self.calls += 1;
        let call = self.calls;
        if !self.alive(from) {
            return call;
        }
        let from_ms = self.now_ms.max(self.links[from].paused_until_ms);
        let arrives_ms =
            (from_ms + self.dice.network.between(0, self.knobs.latency_ms)).max(self.links[from].out_ms);
        self.links[from].out_ms = arrives_ms;
        let unreliable = matches!(request, Request::Publish(_) | Request::Ack(_) | Request::InProgress(_));
        if unreliable && self.faulty() && self.dice.faults.chance(self.knobs.lost) {
            self.stats.lost_messages += 1;
            if let Request::Publish(message) = &request {
                let subject = message.subject.clone();
                self.note(from, || format!("a message is lost: {subject}"));
                let answer = Answer::Published(Err(Failed::Unknown));
                self.at(from_ms + ACK_TIMEOUT_MS, from, What::Answer { call, answer });
            }
            return call;
        }
        self.at(arrives_ms, SERVER, What::Arrives { from, call, request });
        call
    }

    /// Asks one worker, or any. The answer comes as [`Answer::Turn`] or [`Answer::TimedOut`].
    pub(crate) fn ask_worker(&mut self, from: Pid, worker: Option<&str>, body: Vec<u8>) -> Call {
        self.calls += 1;
        let call = self.calls;
        if !self.alive(from) {
            return call;
        }
        let from_ms = self.now_ms.max(self.links[from].paused_until_ms);
        let workers = self.living(Kind::Worker);
        let target = match worker {
            Some(name) => workers.into_iter().find(|pid| self.links[*pid].name == name),
            None => self.dice.network.pick(&workers).copied(),
        };
        let way_ms = self.dice.network.between(0, self.knobs.latency_ms);
        let Some(target) = target else {
            self.at(from_ms + way_ms, from, What::Answer { call, answer: Answer::Turn(None) });
            return call;
        };
        self.at(from_ms + TASK_TIMEOUT_MS, from, What::Answer { call, answer: Answer::TimedOut });
        if self.core_lost() {
            return call;
        }
        self.at(from_ms + way_ms, target, What::Task { body, from, call });
        call
    }

    /// A worker answers.
    pub(crate) fn reply(&mut self, from: Pid, to: Pid, call: Call, body: Vec<u8>) {
        if !self.alive(from) || self.core_lost() {
            return;
        }
        let from_ms = self.now_ms.max(self.links[from].paused_until_ms);
        let way_ms = self.dice.network.between(0, self.knobs.latency_ms);
        self.at(from_ms + way_ms, to, What::Answer { call, answer: Answer::Turn(Some(body)) });
    }

    /// A core NATS message to all processes of a kind.
    pub(crate) fn tell_all(&mut self, kind: Kind, what: &What) {
        for pid in self.living(kind) {
            if !self.core_lost() {
                let way_ms = self.dice.network.between(0, self.knobs.latency_ms);
                self.at(self.now_ms + way_ms, pid, what.clone());
            }
        }
    }

    /// Whether the process dies here; it may also be paused and go on later.
    pub(crate) fn dies_at(&mut self, pid: Pid, point: Point) -> bool {
        if !self.faulty() || !self.alive(pid) {
            return !self.alive(pid);
        }
        if self.dice.faults.chance(self.knobs.crash) {
            self.note(pid, || format!("dies at {point:?}"));
            self.kill(pid);
            return true;
        }
        if self.dice.faults.chance(self.knobs.pause) {
            self.note(pid, || format!("is paused at {point:?}"));
            self.pause(pid);
        }
        false
    }

    /// A process dies: what it sent last may or may not have left it.
    pub(crate) fn kill(&mut self, pid: Pid) {
        if !self.links[pid].alive {
            return;
        }
        self.links[pid].alive = false;
        let in_flight: Vec<(u64, u64)> = self
            .queue
            .iter()
            .filter(|(_, (_, what))| matches!(what, What::Arrives { from, .. } if *from == pid))
            .map(|(key, _)| *key)
            .collect();
        let left = self.dice.faults.index(in_flight.len() + 1);
        for key in &in_flight[left..] {
            self.queue.remove(key);
        }
        self.event_readers.retain(|(reader, _, _)| *reader != pid);
        // The server may not have noticed yet: a task that it hands to the dead waits for its redelivery.
        if self.dice.faults.chance(500) {
            self.pulls.retain(|(puller, _, _)| *puller != pid);
        }
        match self.links[pid].kind {
            Some(Kind::Orchestrator) if self.links[pid].zombie => self.stats.orchestrator_crashes += 1,
            Some(kind @ Kind::Orchestrator) => {
                self.stats.orchestrator_crashes += 1;
                let outage_ms = self.outage();
                self.at(self.now_ms + outage_ms, SERVER, What::Spawn(kind));
            }
            Some(kind @ Kind::Worker) => {
                self.stats.worker_crashes += 1;
                let outage_ms = self.dice.faults.between(0, 20_000);
                self.at(self.now_ms + outage_ms, SERVER, What::Spawn(kind));
            }
            None => {}
        }
    }

    /// A process stands still. When it is an orchestrator, another one takes over, and the first goes on
    /// for a moment when it wakes up, before it notices.
    pub(crate) fn pause(&mut self, pid: Pid) {
        if self.paused(pid) {
            return;
        }
        self.stats.pauses += 1;
        let pause_ms = match self.dice.faults.below(3) {
            0 => self.dice.faults.between(1, 2_000),
            1 => self.dice.faults.between(5_000, 20_000),
            _ => self.dice.faults.between(20_000, 60_000),
        };
        self.links[pid].paused_until_ms = self.now_ms + pause_ms;
        if self.links[pid].kind == Some(Kind::Orchestrator) && pause_ms >= 5_000 && !self.links[pid].zombie {
            self.links[pid].zombie = true;
            let taken_over_ms = self.dice.faults.between(5_000, 8_000);
            self.at(self.now_ms + taken_over_ms, SERVER, What::Spawn(Kind::Orchestrator));
            let notices_ms = self.dice.faults.between(0, 2_000);
            self.at(self.now_ms + pause_ms + notices_ms, pid, What::Kill);
        }
    }

    /// A zombie is gone; nobody is to take over from it.
    pub(crate) fn bury(&mut self, pid: Pid) {
        self.links[pid].alive = false;
        self.event_readers.retain(|(reader, _, _)| *reader != pid);
    }

    fn outage(&mut self) -> u64 {
        if self.knobs.long_outages && self.dice.faults.chance(200) {
            return self.dice.faults.between(120_000, 300_000);
        }
        self.dice.faults.between(0, 8_000)
    }

    fn core_lost(&mut self) -> bool {
        let lost = self.faulty() && self.dice.faults.chance(self.knobs.core_lost);
        self.stats.lost_core += u64::from(lost);
        lost
    }

    fn execute(&mut self, from: Pid, call: Call, request: Request) {
        let answer = match request {
            Request::Publish(message) => {
                let published = self.publish(from, message);
                if published.is_ok() && self.faulty() && self.dice.faults.chance(self.knobs.lost) {
                    self.stats.lost_acks += 1;
                    self.note(from, || "an acknowledgement is lost".into());
                    let answer = Answer::Published(Err(Failed::Unknown));
                    self.at(self.now_ms + ACK_TIMEOUT_MS, from, What::Answer { call, answer });
                    return;
                }
                Answer::Published(published.map_err(Failed::Refused))
            }
            Request::Events { from: first } => {
                self.event_readers.push((from, call, first));
                return self.serve_readers();
            }
            Request::History { subject } => {
                let messages = self.server.read(Stream::History, &subject, 0, usize::MAX);
                let last = self.server.last_of(Stream::History, &subject);
                Answer::History(messages, last)
            }
            Request::TaskIds => {
                let all = stepwell_shared::subject::all_tasks(&self.namespace);
                let tasks = self.server.read(Stream::Tasks, &all, 0, usize::MAX);
                let last = tasks.last().map_or(0, |task| task.sequence);
                Answer::TaskIds(tasks.into_iter().filter_map(|task| task.message_id).collect(), last)
            }
            Request::Last(stream) => Answer::Last(self.server.last_sequence(stream)),
            Request::Entries(bucket) => Answer::Entries(self.server.entries(bucket)),
            Request::Get { bucket, key } => Answer::Value(self.server.get(bucket, &key)),
            Request::Pull { queue } => {
                self.pulls.push_back((from, call, queue));
                return self.serve_pulls();
            }
            Request::Ack(task) => return self.server.ack(&task),
            Request::InProgress(task) => return self.server.in_progress(&task),
            Request::PurgeBelow { stream, sequence } => return self.server.purge_below(stream, sequence),
        };
        self.answer(from, call, answer);
    }

    fn publish(&mut self, from: Pid, message: Message) -> Result<Acked, Refusal> {
        let subject = message.subject.clone();
        let published = self.server.publish(message);
        self.note(from, || format!("{subject}: {published:?}"));
        match published {
            Ok(ack) => {
                self.stats.duplicates += u64::from(ack.duplicate);
                if matches("stepwell.*.history.>", &subject) {
                    self.stored_ms.insert(ack.sequence, self.now_ms);
                    self.stats.commits += 1;
                } else if matches("stepwell.*.workflow.>", &subject) {
                    let all = format!("stepwell.{}.event.>", self.namespace);
                    self.events.extend(self.server.read(Stream::Events, &all, ack.sequence, 1));
                    self.serve_readers();
                } else if matches("stepwell.*.task.*", &subject) {
                    self.serve_pulls();
                }
            }
            Err(Refusal::WrongLastSequence) => self.stats.fenced += 1,
            Err(Refusal::Full) => self.stats.full += 1,
            Err(Refusal::NoStream) => self.complaints.push(format!("nobody listens on {subject}")),
        }
        published
    }

    fn answer(&mut self, to: Pid, call: Call, answer: Answer) {
        let way_ms = self.dice.network.between(0, self.knobs.latency_ms);
        let arrives_ms = (self.now_ms + way_ms).max(self.links[to].in_ms);
        self.links[to].in_ms = arrives_ms;
        self.at(arrives_ms, to, What::Answer { call, answer });
    }

    fn serve_readers(&mut self) {
        let last = self.server.last_sequence(Stream::Events);
        let all = format!("stepwell.{}.event.>", self.namespace);
        for (pid, call, from) in std::mem::take(&mut self.event_readers) {
            if from > last {
                self.event_readers.push((pid, call, from));
                continue;
            }
            let count = self.dice.network.index(12) + 1;
            let mut messages = self.server.read(Stream::Events, &all, from, usize::MAX);
            let more = messages.len().saturating_sub(count);
            messages.truncate(count);
            self.answer(pid, call, Answer::Events(messages, more));
        }
    }

    fn serve_pulls(&mut self) {
        for (pid, call, queue) in std::mem::take(&mut self.pulls) {
            match self.server.take_task(&queue) {
                Some(task) => {
                    self.stats.redelivered += u64::from(task.num_delivered > 1);
                    self.handed_ms.insert((task.sequence, task.num_delivered), self.now_ms);
                    self.answer(pid, call, Answer::Task(task));
                }
                None => self.pulls.push_back((pid, call, queue)),
            }
        }
        self.plan_overdue();
    }

    /// Plans to look for tasks that are overdue, if somebody waits for one.
    fn plan_overdue(&mut self) {
        let Some((_, _, queue)) = self.pulls.front() else { return };
        let Some(at_ms) = self.server.next_overdue_ms(queue) else { return };
        if self.overdue_at_ms.is_none_or(|planned| planned > at_ms) {
            self.overdue_at_ms = Some(at_ms);
            self.at(at_ms, SERVER, What::Overdue);
        }
    }

    fn overdue(&mut self) {
        if self.overdue_at_ms.is_some_and(|at_ms| at_ms > self.now_ms) {
            return;
        }
        self.overdue_at_ms = None;
        self.serve_pulls();
    }
}

/// A run id that no other run has, from the orchestrator's stream of choices.
pub(crate) fn new_run_id(world: &mut World) -> RunId {
    let number = world.dice.orchestrator.below(u64::MAX);
    RunId::new(format!("run-{number:016x}")).expect("letters and digits")
}
