//! Time, the network and the server: everything that processes have in common, one event after the other.
//!
//! A message takes its time, keeps its place behind those sent before on the same connection, and may be
//! lost on the way there or on the way back. Everything is drawn from the seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use stepwell_shared::ids::{MemberId, Name, Namespace, RunId};
use stepwell_shared::subject::parse_owners_key;

use super::dice::Streams;
use super::knobs::{Knobs, LEASE_MS, Sabotage};
use super::owners::{DRIFT_PPM, Owners};
use super::service::Service;
use super::stats::Stats;
use super::wire::{Alarm, Answer, Call, Failed, Kind, Pid, Request, What};
use crate::backend::{Memory, Stored};

/// After this time without an acknowledgement the outcome counts as unknown.
pub(super) const ACK_TIMEOUT_MS: u64 = 5_000;

/// How long the answer to a workflow task is waited for.
const TASK_TIMEOUT_MS: u64 = 10_000;

/// Longest list of what happened last that is kept for a failure's report.
const TRACE_LINES: usize = 3_000;

/// Longest time in which nothing but the members' own messages happen that is played through while messages get
/// lost. When nothing gets lost none is: it would change nothing.
const PLAYED_MS: u64 = 5_000;

/// When every run begins.
const BEGIN_MS: u64 = 1_700_000_000_000;

/// Where the keys of the `owners` bucket lie.
pub(super) const OWNERS_PREFIX: &str = "$KV.STEPWELL_default_owners.";

/// The server and the network.
pub(crate) const SERVER: Pid = 0;
/// Everybody outside: clients and the operator.
pub(crate) const OUTSIDE: Pid = 1;

#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) alive: bool,
    pub(super) kind: Option<Kind>,
    pub(super) paused_until_ms: u64,
    /// When what was sent last arrives at the server, and when the server's last answer arrives.
    out_ms: u64,
    in_ms: u64,
    /// How much faster its monotonic clock is than it should be, in a million.
    drift_ppm: i64,
    /// Until when it may publish, on its monotonic clock.
    limit_ms: u64,
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
    pub(crate) owners: Owners,
    /// When each delivery of a task was handed out.
    pub(crate) handed_ms: BTreeMap<(u64, u64), u64>,
    /// When each message of HISTORY was stored.
    pub(crate) stored_ms: BTreeMap<u64, u64>,
    /// Every event that was stored, with its subject and body: the stream itself is trimmed.
    pub(crate) events: Vec<Stored>,
    /// Runs whose records contradict the live state, and other things that can be seen only on the way.
    pub(crate) complaints: Vec<String>,
    /// Whether every partition is where it belongs and nobody is about to change that.
    pub(crate) settled: bool,
    /// When somebody last looked at what was old, in the time of members.
    pub(super) stale_ms: u64,
    /// Whether those that ended cleanly come back.
    pub(crate) returning: bool,
    pub(super) queue: BTreeMap<(u64, u64), (Pid, What)>,
    order: u64,
    calls: Call,
    numbers: u64,
    /// Questions about who owns what.
    background: BTreeSet<Call>,
    /// Time that was skipped for members, because nothing would have happened to them.
    skipped_ms: u64,
    pub(super) links: Vec<Link>,
    pub(super) event_readers: Vec<(Pid, Call, u32, u64)>,
    pub(super) pulls: VecDeque<(Pid, Call, Name)>,
    pub(super) overdue_at_ms: Option<u64>,
    traced: bool,
    trace: VecDeque<String>,
}

impl World {
    pub(crate) fn new(seed: u64, partitions: u32, knobs: Knobs, sabotage: Sabotage) -> Self {
        let namespace = Namespace::default();
        let mut world = Self {
            now_ms: BEGIN_MS,
            server: Memory::new(namespace.clone(), partitions),
            namespace,
            partitions,
            service: Service::default(),
            dice: Streams::new(seed),
            knobs,
            sabotage,
            stats: Stats::default(),
            owners: Owners::default(),
            handed_ms: BTreeMap::new(),
            stored_ms: BTreeMap::new(),
            events: Vec::new(),
            complaints: Vec::new(),
            settled: false,
            stale_ms: 0,
            returning: true,
            queue: BTreeMap::new(),
            order: 0,
            calls: 0,
            numbers: 0,
            background: BTreeSet::new(),
            skipped_ms: 0,
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
        let faster = self.dice.orchestrator.below(2 * DRIFT_PPM + 1);
        let drift_ppm = i64::try_from(faster).unwrap_or(0) - i64::try_from(DRIFT_PPM).unwrap_or(0);
        self.links.push(Link {
            alive: true,
            kind,
            paused_until_ms: 0,
            out_ms: 0,
            in_ms: 0,
            drift_ppm,
            limit_ms: 0,
            name,
        });
        self.links.len() - 1
    }

    /// A number that nothing else has.
    pub(crate) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
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

    pub(crate) fn paused(&self, pid: Pid) -> bool {
        self.links[pid].paused_until_ms > self.now_ms
    }

    /// Whether faults are still injected.
    pub(crate) fn faulty(&self) -> bool {
        self.now_ms < self.knobs.faults_until_ms
    }

    /// From now on nothing goes wrong.
    pub(crate) fn end_faults(&mut self) {
        self.knobs.faults_until_ms = self.knobs.faults_until_ms.min(self.now_ms);
        self.settled = false;
    }

    /// Whether nobody believes any more what was old when it was read, or is held.
    pub(crate) fn is_clear(&self) -> bool {
        let knows = self.faulty() || self.stale_ms == 0 || self.members_ms() > self.stale_ms + 2 * LEASE_MS;
        knows && self.owners.is_free(self.members_ms())
    }

    /// The time that members go by, on a clock without fault.
    pub(crate) fn members_ms(&self) -> u64 {
        self.now_ms - self.skipped_ms - BEGIN_MS
    }

    /// The same for a process, which may be about to stand still: what it does then it does after that.
    fn members_ms_of(&self, pid: Pid) -> u64 {
        self.now_ms.max(self.links[pid].paused_until_ms) - self.skipped_ms - BEGIN_MS
    }

    /// A process's own monotonic clock.
    pub(crate) fn monotonic_ms(&self, pid: Pid) -> u64 {
        let real_ms = self.members_ms_of(pid);
        let drift_ms = i64::try_from(real_ms).unwrap_or(0) * self.links[pid].drift_ppm / 1_000_000;
        real_ms.saturating_add_signed(drift_ms)
    }

    /// Until when a process may publish, on its monotonic clock.
    pub(crate) fn set_limit(&mut self, pid: Pid, limit_ms: u64) {
        self.links[pid].limit_ms = limit_ms;
    }

    /// Whether a process may publish.
    pub(crate) fn valid(&self, pid: Pid) -> bool {
        self.sabotage == Sabotage::NoValidity || self.monotonic_ms(pid) < self.links[pid].limit_ms
    }

    /// A process publishes something for a partition that is not fenced.
    pub(crate) fn publishes(&mut self, pid: Pid, member: &MemberId, partition: u32, what: &str) {
        let at_ms = self.members_ms_of(pid);
        self.owners.publishes(at_ms, member, partition, what);
    }

    /// Notes something for a failure's report.
    pub(crate) fn note(&mut self, pid: Pid, text: impl FnOnce() -> String) {
        if !self.traced {
            return;
        }
        if self.trace.len() == TRACE_LINES {
            self.trace.pop_front();
        }
        let line = format!("{:>9} {:<16} {}", self.now_ms - BEGIN_MS, self.links[pid].name, text());
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

    /// The next thing that happens to a process other than the server. `None` when nothing but the members' own
    /// messages is left, and those change nothing any more.
    pub(crate) fn next(&mut self) -> Option<(Pid, What)> {
        loop {
            let (&(at_ms, _), (_, what)) = self.queue.first_key_value()?;
            if self.is_background(what) && self.settled {
                let next_ms = self.next_foreground_ms()?;
                let played_ms = if self.faulty() { PLAYED_MS } else { 0 };
                if next_ms > at_ms + played_ms {
                    self.skip(next_ms - at_ms);
                    continue;
                }
            }
            let ((at_ms, order), (pid, what)) = self.queue.pop_first()?;
            self.now_ms = self.now_ms.max(at_ms);
            self.server.set_now(self.now_ms);
            if pid == SERVER {
                match what {
                    What::Arrives { from, call, sent_ms, request } => {
                        self.execute(from, call, sent_ms, request)
                    }
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
            if link.paused_until_ms > self.now_ms {
                // It finds everything in its order when it wakes up.
                self.queue.insert((link.paused_until_ms, order), (pid, what));
                continue;
            }
            if let What::Answer { call, .. } = &what {
                self.background.remove(call);
            }
            return Some((pid, what));
        }
    }

    /// Whether anything is going to happen that is more than members telling each other that they are there.
    pub(crate) fn is_busy(&self) -> bool {
        self.next_foreground_ms().is_some()
    }

    fn next_foreground_ms(&self) -> Option<u64> {
        let live = |pid: Pid| pid == SERVER || self.links[pid].alive;
        let next = self.queue.iter().find(|(_, (pid, what))| live(*pid) && !self.is_background(what));
        next.map(|((at_ms, _), _)| *at_ms)
    }

    fn is_background(&self, what: &What) -> bool {
        match what {
            What::OwnersChanged | What::Alarm(Alarm::Member(_)) => true,
            What::Answer { call, .. } | What::Arrives { call, .. } => self.background.contains(call),
            What::Begin
            | What::Alarm(
                Alarm::Engine(..)
                | Alarm::Activity(_)
                | Alarm::Progress(_)
                | Alarm::Reports
                | Alarm::Pack(_)
                | Alarm::Client(_),
            )
            | What::Task { .. }
            | What::CancelActivity(_)
            | What::Announced { .. }
            | What::Stop
            | What::Evict
            | What::Overdue
            | What::Spawn(_)
            | What::Fault
            | What::Hold(_)
            | What::Room(_) => false,
        }
    }

    /// Lets members sleep for so long: nothing would happen to them.
    fn skip(&mut self, for_ms: u64) {
        let background = self.queue.iter().filter(|(_, (_, what))| self.is_background(what));
        let keys: Vec<(u64, u64)> = background.map(|(key, _)| *key).collect();
        for key in keys {
            if let Some(planned) = self.queue.remove(&key) {
                self.queue.insert((key.0 + for_ms, key.1), planned);
            }
        }
        self.skipped_ms += for_ms;
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
        if is_about_owners(&request) {
            self.background.insert(call);
        }
        if is_unreliable(&request) && self.faulty() && self.dice.faults.chance(self.knobs.lost) {
            self.stats.lost_messages += 1;
            let answer = match &request {
                Request::Publish(message) => {
                    let subject = message.subject.clone();
                    self.note(from, || format!("a message is lost: {subject}"));
                    Answer::Published(Err(Failed::Unknown))
                }
                Request::Revision(_) => Answer::Revision(None),
                _ => return call,
            };
            self.at(from_ms + ACK_TIMEOUT_MS, from, What::Answer { call, answer });
            return call;
        }
        let sent_ms = self.members_ms_of(from);
        self.at(arrives_ms, SERVER, What::Arrives { from, call, sent_ms, request });
        call
    }

    /// The server answers.
    pub(super) fn answer(&mut self, to: Pid, call: Call, answer: Answer) {
        let way_ms = self.dice.network.between(0, self.knobs.latency_ms);
        let arrives_ms = (self.now_ms + way_ms).max(self.links[to].in_ms);
        self.links[to].in_ms = arrives_ms;
        self.at(arrives_ms, to, What::Answer { call, answer });
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
}

/// Whether a request may get lost.
fn is_unreliable(request: &Request) -> bool {
    matches!(
        request,
        Request::Publish(_)
            | Request::Ack(_)
            | Request::InProgress(_)
            | Request::Owners
            | Request::Revision(_)
            | Request::Remove { .. }
    )
}

/// Whether a request is of those that members make again and again.
fn is_about_owners(request: &Request) -> bool {
    match request {
        Request::Owners | Request::Revision(_) | Request::Remove { .. } => true,
        Request::Publish(message) => {
            let key = message.subject.strip_prefix(OWNERS_PREFIX);
            key.is_some_and(|key| parse_owners_key(key).is_some())
        }
        _ => false,
    }
}

/// A run id that no other run has, from the orchestrator's stream of choices.
pub(crate) fn new_run_id(world: &mut World) -> RunId {
    let number = world.dice.orchestrator.below(u64::MAX);
    RunId::new(format!("run-{number:016x}")).expect("letters and digits")
}
