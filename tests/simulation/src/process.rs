//! One run of the simulation, from its seed to its verdict.

use std::collections::BTreeSet;

use stepwell_orchestrator_core::ownership::assign;
use stepwell_shared::encoding::{VERSION, encode};
use stepwell_shared::ids::MemberId;
use stepwell_shared::ownership::Hold;
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::{Bucket, HOLD_KEY, Stream};

use super::check::check;
use super::check_owners::{check_hand_over, check_owners};
use super::client::Client;
use super::knobs::{Knobs, LEASE_MS, Sabotage};
use super::orchestrator::Orchestrator;
use super::stats::Stats;
use super::wire::{Alarm, Kind, MemberAlarm, Pid, Request, What};
use super::worker::Worker;
use super::world::{OUTSIDE, SERVER, World};
use crate::backend::Message;

/// Longest time of a run in its own time; a program takes hours at most.
const LONGEST_MS: u64 = 40 * 60 * 60 * 1_000;

/// Most events of a run; far above what any takes.
const MOST_EVENTS: u64 = 3_000_000;

/// How long members may take to agree on who has what when nothing goes wrong any more: a process may stand still
/// for a minute, its key is removed after ten leases, and another one may have to be started.
const LONGEST_SETTLING_MS: u64 = 400_000;

/// How often a hold is renewed.
const HOLD_MS: u64 = LEASE_MS / 4;

/// Why a run is not as it must be.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What does not hold.
    pub reasons: Vec<String>,
    /// What happened last, when tracing was asked for.
    pub trace: String,
}

enum Process {
    Nobody,
    Orchestrator(Box<Orchestrator>),
    Worker(Box<Worker>),
}

struct Simulation {
    world: World,
    processes: Vec<Process>,
    client: Client,
}

/// Runs the simulation of a seed and checks everything that must hold.
///
/// # Errors
/// [`Failure`] with every reason that was found.
pub fn run_seed(seed: u64, sabotage: Sabotage) -> Result<Stats, Failure> {
    let mut simulation = Simulation::new(seed, sabotage);
    let mut reasons = match simulation.run() {
        Ok(()) => Vec::new(),
        Err(reason) => vec![reason],
    };
    let stats = simulation.world.stats.clone();
    if reasons.is_empty() {
        reasons = simulation.verdict();
    }
    reasons.append(&mut simulation.world.complaints);
    reasons.append(&mut simulation.world.owners.wrong);
    if stats.commits == 0 {
        reasons.push("nothing was recorded; the run tested nothing".into());
    }
    if stats.injected() == 0 {
        reasons.push("nothing went wrong; the run tested nothing".into());
    }
    if reasons.is_empty() {
        return Ok(stats);
    }
    Err(Failure { seed, reasons, trace: simulation.world.trace() })
}

impl Simulation {
    fn new(seed: u64, sabotage: Sabotage) -> Self {
        let mut dice = super::dice::Streams::new(seed);
        let knobs = Knobs::random(&mut dice.faults);
        let partitions = [1, 2, 4, 7][dice.faults.index(4)];
        let mut world = World::new(seed, partitions, knobs, sabotage);
        let mut client = Client::new(&mut world);
        client.begin(&mut world);
        let mut simulation = Self { world, processes: vec![Process::Nobody, Process::Nobody], client };
        simulation.plan_faults();
        simulation.spawn(Kind::Orchestrator);
        for _ in 1..simulation.world.knobs.orchestrators {
            simulation.plan_orchestrator();
        }
        for _ in 0..simulation.world.knobs.workers {
            simulation.spawn(Kind::Worker);
        }
        simulation
    }

    /// Another orchestrator, at once or later.
    fn plan_orchestrator(&mut self) {
        let world = &mut self.world;
        let after_ms = if world.dice.faults.chance(500) { 0 } else { world.dice.faults.between(1, 40_000) };
        world.at(world.now_ms + after_ms, SERVER, What::Spawn(Kind::Orchestrator));
    }

    fn plan_faults(&mut self) {
        let world = &mut self.world;
        let window_ms = world.knobs.faults_until_ms - world.now_ms;
        for _ in 0..world.dice.faults.between(1, 6) {
            let after_ms = world.dice.faults.below(window_ms);
            world.at(world.now_ms + after_ms, SERVER, What::Fault);
        }
        // One that no run is too short for.
        let soon_ms = world.dice.faults.between(0, 400);
        world.at(world.now_ms + soon_ms, SERVER, What::Fault);
    }

    fn run(&mut self) -> Result<(), String> {
        let begin_ms = self.world.now_ms;
        let mut idle_since_ms = None;
        for _ in 0..MOST_EVENTS {
            if self.world.settled || self.world.is_busy() {
                idle_since_ms = None;
            } else {
                // Nothing else is to come: from now on nothing goes wrong, and everybody must come to rest.
                self.world.end_faults();
                let since_ms = *idle_since_ms.get_or_insert(self.world.now_ms);
                if self.world.now_ms > since_ms + LONGEST_SETTLING_MS {
                    let owners = self.world.owners.snapshot();
                    return Err(format!("the partitions do not come to rest: {owners:#?}; {}", self.state()));
                }
            }
            let Some((pid, what)) = self.world.next() else { return self.finished() };
            if self.world.now_ms - begin_ms > LONGEST_MS && !self.client.done() {
                break;
            }
            self.step(pid, what);
        }
        Err(format!("it does not come to an end; {}", self.state()))
    }

    fn finished(&self) -> Result<(), String> {
        if self.client.done() { Ok(()) } else { Err(format!("nothing happens any more; {}", self.state())) }
    }

    fn step(&mut self, pid: Pid, what: What) {
        let looks = matches!(what, What::Alarm(Alarm::Member(MemberAlarm::Look(_))));
        match (pid, what) {
            (SERVER, What::Spawn(kind)) => self.spawn(kind),
            (SERVER, What::Fault) => self.fault(),
            (SERVER, What::Hold(left)) => self.hold(left),
            (OUTSIDE, what) => self.client.handle(&mut self.world, what),
            (pid, what) => match &mut self.processes[pid] {
                Process::Nobody => {}
                Process::Orchestrator(process) => process.handle(&mut self.world, what),
                Process::Worker(process) => process.handle(&mut self.world, what),
            },
        }
        if !self.world.alive(pid) {
            self.processes[pid] = Process::Nobody;
        }
        if looks && !self.world.settled {
            self.world.settled = self.is_settled();
        }
    }

    fn orchestrators(&self) -> impl Iterator<Item = &Orchestrator> {
        let alive = self.processes.iter().filter_map(|process| match process {
            Process::Orchestrator(process) => Some(process.as_ref()),
            Process::Worker(_) | Process::Nobody => None,
        });
        alive.filter(|process| self.world.alive(process.pid))
    }

    /// Whether everybody is there, has what it is to have and nothing else, and works.
    fn is_settled(&self) -> bool {
        let mut members: BTreeSet<MemberId> = BTreeSet::new();
        for process in self.orchestrators() {
            match process.member().filter(|_| !self.world.paused(process.pid)) {
                Some(member) if process.is_well(&self.world) => members.insert(member.clone()),
                Some(_) | None => return false,
            };
        }
        let assigned = assign(&members, self.world.partitions);
        let is_there = |process: &Orchestrator| {
            let mut theirs = assigned.iter().filter(|(_, member)| Some(*member) == process.member());
            let count = theirs.clone().count();
            process.keeps() == count && theirs.all(|(partition, _)| process.works_at(*partition))
        };
        !members.is_empty()
            && self.world.is_clear()
            && self.orchestrators().all(is_there)
            && self.world.owners.snapshot().members.keys().eq(&members)
    }

    fn spawn(&mut self, kind: Kind) {
        let name = match kind {
            Kind::Orchestrator => "orchestrator",
            Kind::Worker => "worker",
        };
        self.world.settled = false;
        let pid = self.world.connect(Some(kind), name);
        self.world.note(pid, || "begins".into());
        self.processes.push(match kind {
            Kind::Orchestrator => Process::Orchestrator(Box::new(Orchestrator::new(&mut self.world, pid))),
            Kind::Worker => Process::Worker(Box::new(Worker::new(pid))),
        });
        self.world.at(self.world.now_ms, pid, What::Begin);
        if kind == Kind::Orchestrator {
            // Workers say every few seconds that they are there.
            for worker in self.world.living(Kind::Worker) {
                let worker = self.world.name_of(worker).to_owned();
                let after_ms = self.world.dice.network.between(0, 5_000);
                self.world.at(self.world.now_ms + after_ms, pid, What::Announced { worker });
            }
        }
    }

    fn fault(&mut self) {
        let world = &mut self.world;
        world.stats.faults += 1;
        let orchestrators = world.living(Kind::Orchestrator);
        let workers = world.living(Kind::Worker);
        let one = world.dice.faults.pick(&orchestrators).copied();
        match world.dice.faults.below(13) {
            0 => orchestrators.iter().for_each(|pid| world.kill(*pid)),
            1 | 2 => one.into_iter().for_each(|pid| world.kill(pid)),
            3 => orchestrators.iter().for_each(|pid| world.pause(*pid)),
            4 => one.into_iter().for_each(|pid| world.pause(pid)),
            5 => one.into_iter().for_each(|pid| world.at(world.now_ms, pid, What::Stop)),
            6 => orchestrators.into_iter().for_each(|pid| world.at(world.now_ms, pid, What::Stop)),
            7 => {
                let times = world.dice.faults.between(1, 40);
                world.stats.holds += 1;
                world.at(world.now_ms, SERVER, What::Hold(times));
            }
            8 => {
                if let Some(pid) = world.dice.faults.pick(&workers).copied() {
                    world.kill(pid);
                }
            }
            9 => {
                if let Some(pid) = world.dice.faults.pick(&workers).copied() {
                    world.pause(pid);
                }
            }
            10 => {
                for pid in orchestrators.into_iter().chain(workers) {
                    world.at(world.now_ms, pid, What::Evict);
                }
            }
            11 => workers.iter().for_each(|pid| world.kill(*pid)),
            _ => {
                let streams = [Stream::Tasks(Shard::FIRST), Stream::History(Shard::FIRST), Stream::Events];
                let stream = streams[world.dice.faults.index(streams.len())];
                world.server.set_full(stream, true);
                let for_ms = world.dice.faults.between(100, 6_000);
                world.at(world.now_ms + for_ms, SERVER, What::Room(stream));
            }
        }
    }

    /// Somebody wants that no orchestrator works, and renews that.
    fn hold(&mut self, left: u64) {
        let world = &mut self.world;
        world.settled = false;
        let body = encode(&Hold { v: VERSION, reason: "a copy is made".into(), beat: left });
        let subject = Bucket::Owners.subject(&world.namespace, HOLD_KEY);
        let message = Message::new(subject, body).after(world.owners.hold_revision());
        world.ask(OUTSIDE, Request::Publish(message));
        if left > 0 {
            world.at(world.now_ms + HOLD_MS, SERVER, What::Hold(left - 1));
        }
    }

    /// Everything that must hold at the end.
    fn verdict(&mut self) -> Vec<String> {
        let mut reasons = Vec::new();
        self.world.end_faults();
        if let Err(reason) = self.run() {
            reasons.push(reason);
        }
        reasons.extend(self.check_all());
        let commits = self.world.stats.commits;
        // Whoever ends cleanly hands over at once.
        let living = self.world.living(Kind::Orchestrator);
        if let (Some(pid), true) = (self.world.dice.faults.pick(&living).copied(), living.len() > 1) {
            let kept = self.orchestrators().find(|process| process.pid == pid).map_or(0, Orchestrator::keeps);
            // Nobody comes meanwhile, who would have to find out first who is alive.
            self.world.returning = false;
            self.world.owners.begin_counting();
            self.world.at(self.world.now_ms, pid, What::Stop);
            self.world.settled = false;
            if let Err(reason) = self.run() {
                reasons.push(reason);
            }
            reasons.extend(check_hand_over(&self.world, kept));
            reasons.extend(self.check_all());
        }
        // A successor finds nothing left to do.
        for pid in self.world.living(Kind::Orchestrator) {
            self.world.ended(pid);
            self.processes[pid] = Process::Nobody;
        }
        self.spawn(Kind::Orchestrator);
        if let Err(reason) = self.run() {
            reasons.push(reason);
        }
        if self.world.stats.commits != commits {
            reasons.push("a successor recorded something although everything was done".into());
        }
        reasons.extend(self.check_all());
        reasons.dedup();
        reasons
    }

    fn check_all(&mut self) -> Vec<String> {
        let mut reasons = Vec::new();
        for process in &self.processes {
            if let Process::Orchestrator(process) = process
                && self.world.alive(process.pid)
            {
                reasons.extend(process.behind(&mut self.world));
            }
        }
        let members = self.orchestrators().filter_map(Orchestrator::member).cloned().collect();
        reasons.extend(check_owners(&self.world, &members));
        reasons.extend(check(&mut self.world, &self.client));
        reasons
    }

    fn state(&self) -> String {
        let open: Vec<String> = self
            .client
            .plans
            .iter()
            .flat_map(|plan| plan.runs.iter().map(move |run| (plan, run)))
            .filter(|(_, run)| !run.closed)
            .map(|(plan, run)| format!("{} (run {:?}): {:?}", plan.id, run.run_id, run.program))
            .collect();
        let mut text = format!("at {} ms, open: {open:#?}", self.world.now_ms);
        for process in self.orchestrators() {
            text += &process.state(&self.world);
            for plan in &self.client.plans {
                if let Some(workflow) = process.idle_workflow(&plan.id) {
                    text += &format!("\n{}: {}", plan.id, workflow.fingerprint());
                }
            }
        }
        text
    }
}
