//! One run of the simulation, from its seed to its verdict.

use super::check::check;
use super::client::Client;
use super::orchestrator::Orchestrator;
use super::worker::Worker;
use super::world::{Kind, Knobs, OUTSIDE, Pid, SERVER, Sabotage, Stats, What, World};
use stepwell_shared::subject::Stream;

/// Longest time of a run in its own time; a program takes hours at most.
const LONGEST_MS: u64 = 40 * 60 * 60 * 1_000;

/// Most events of a run; far above what any takes.
const MOST_EVENTS: u64 = 3_000_000;

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
        let knobs = knobs(&mut dice.faults);
        let partitions = [1, 2, 4][dice.faults.index(3)];
        let mut world = World::new(seed, partitions, knobs, sabotage);
        let mut client = Client::new(&mut world);
        client.begin(&mut world);
        let mut simulation = Self { world, processes: vec![Process::Nobody, Process::Nobody], client };
        simulation.plan_faults();
        simulation.spawn(Kind::Orchestrator);
        for _ in 0..simulation.world.knobs.workers {
            simulation.spawn(Kind::Worker);
        }
        simulation
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
        for _ in 0..MOST_EVENTS {
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
        match (pid, what) {
            (SERVER, What::Spawn(kind)) => {
                if kind == Kind::Worker || !self.world.has_orchestrator() {
                    self.spawn(kind);
                }
            }
            (SERVER, What::Fault) => self.fault(),
            (OUTSIDE, what) => self.client.handle(&mut self.world, what),
            (pid, What::Kill) => {
                self.world.note(pid, || "notices that it is not wanted any more".into());
                self.world.bury(pid);
                self.processes[pid] = Process::Nobody;
            }
            (pid, what) => match &mut self.processes[pid] {
                Process::Nobody => {}
                Process::Orchestrator(process) => process.handle(&mut self.world, what),
                Process::Worker(process) => process.handle(&mut self.world, what),
            },
        }
        if !self.world.alive(pid) {
            self.processes[pid] = Process::Nobody;
        }
    }

    fn spawn(&mut self, kind: Kind) {
        let name = match kind {
            Kind::Orchestrator => "orchestrator",
            Kind::Worker => "worker",
        };
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
        match world.dice.faults.below(8) {
            0 | 1 => orchestrators.iter().for_each(|pid| world.kill(*pid)),
            2 => orchestrators.iter().for_each(|pid| world.pause(*pid)),
            3 => {
                if let Some(pid) = world.dice.faults.pick(&workers).copied() {
                    world.kill(pid);
                }
            }
            4 => {
                if let Some(pid) = world.dice.faults.pick(&workers).copied() {
                    world.pause(pid);
                }
            }
            5 => {
                for pid in orchestrators.into_iter().chain(workers) {
                    world.at(world.now_ms, pid, What::Evict);
                }
            }
            6 => workers.iter().for_each(|pid| world.kill(*pid)),
            _ => {
                let streams = [Stream::Tasks, Stream::History, Stream::Events];
                let stream = streams[world.dice.faults.index(streams.len())];
                world.server.set_full(stream, true);
                let for_ms = world.dice.faults.between(100, 6_000);
                world.at(world.now_ms + for_ms, SERVER, What::Room(stream));
            }
        }
    }

    /// Everything that must hold at the end.
    fn verdict(&mut self) -> Vec<String> {
        let mut reasons = Vec::new();
        for process in &self.processes {
            if let Process::Orchestrator(process) = process
                && self.world.alive(process.pid)
            {
                reasons.extend(process.behind(&mut self.world));
            }
        }
        reasons.extend(check(&mut self.world, &self.client));
        // A successor finds nothing left to do.
        let commits = self.world.stats.commits;
        for pid in self.world.living(Kind::Orchestrator) {
            self.world.bury(pid);
            self.processes[pid] = Process::Nobody;
        }
        self.spawn(Kind::Orchestrator);
        if let Err(reason) = self.run() {
            reasons.push(reason);
        }
        if self.world.stats.commits != commits {
            reasons.push("a successor recorded something although everything was done".into());
        }
        reasons.extend(check(&mut self.world, &self.client));
        reasons.dedup();
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
        for process in &self.processes {
            if let Process::Orchestrator(process) = process {
                for plan in &self.client.plans {
                    if let Some(workflow) = process.idle_workflow(&plan.id) {
                        text += &format!("\n{}: {}", plan.id, workflow.fingerprint());
                    }
                }
            }
        }
        text
    }
}

/// How hard this run is made.
fn knobs(dice: &mut super::dice::Dice) -> Knobs {
    let one_of = |dice: &mut super::dice::Dice, of: &[u64]| of[dice.index(of.len())];
    Knobs {
        latency_ms: one_of(dice, &[0, 2, 20, 200]),
        lost: one_of(dice, &[0, 5, 20, 80]),
        core_lost: one_of(dice, &[0, 10, 50]),
        crash: one_of(dice, &[0, 2, 8, 25]),
        pause: one_of(dice, &[0, 0, 2, 8]),
        faults_until_ms: one_of(dice, &[3_000, 30_000, 120_000, 900_000]),
        cached_runs: usize::try_from(one_of(dice, &[0, 1, 100])).unwrap_or(0),
        chunk_bytes: usize::try_from(one_of(dice, &[400, 900_000, 900_000])).unwrap_or(0),
        workers: usize::try_from(one_of(dice, &[1, 2, 3])).unwrap_or(1),
        slots: usize::try_from(one_of(dice, &[1, 4, 20])).unwrap_or(1),
        long_outages: dice.chance(150),
    }
}
