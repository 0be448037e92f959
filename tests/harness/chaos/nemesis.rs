//! Injects faults, one after the other, drawn from the seed; each is proved by what can be seen of it from
//! outside: a process that is gone or stopped, bytes that were held up, a consumer that is deleted.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use stepwell::Client;
use stepwell_shared::shard::Shard;
use stepwell_shared::subject::Stream;

use super::faults::{Fault, Kind, too_few};
use super::fleet::{Fleet, Role};
use super::servers::Servers;
use crate::ledger::now_ms;
use crate::processes::Process;
use crate::proxy::{Condition, Counted, Traffic};
use stepwell_simulation::dice::Dice;
use stepwell_simulation::program::OTHER_QUEUES;

/// How often the fleet is tended while something is waited for.
const LOOK: Duration = Duration::from_millis(50);

/// Longest wait for a proof, such as that a process is stopped, and for the end of one that was asked to end.
const PROOF_WAIT: Duration = Duration::from_secs(30);

/// How many times longer than planned faults are injected to prove enough of each kind.
const OVERTIME: u32 = 3;

/// A partition that is longer than the time after which a task is given to somebody else.
const LONG_PARTITION: Duration = Duration::from_secs(20);

/// How many processes of a role there are more or less than in the beginning.
const MOST_MORE: usize = 2;

/// Who injects the faults.
pub(crate) struct Nemesis<'a> {
    pub(crate) servers: &'a mut Servers,
    pub(crate) fleet: &'a mut Fleet,
    pub(crate) client: &'a Client,
    pub(crate) dice: Dice,
    pub(crate) lease: Duration,
    /// Whether some partitions last longer than a task may go without a sign of life.
    pub(crate) long_partitions: bool,
    pub(crate) orchestrators: usize,
    pub(crate) workers: usize,
    pub(crate) faults: Vec<Fault>,
    /// Says what happens while it happens.
    pub(crate) say: bool,
}

impl Nemesis<'_> {
    /// Injects faults of these kinds for so long, and until enough of each are proved.
    pub(crate) async fn rage(&mut self, wanted: &[Kind], length: Duration) -> Result<()> {
        let began = Instant::now();
        loop {
            let over = began.elapsed() >= length;
            let mut deck = if over { too_few(wanted, &self.faults) } else { wanted.to_vec() };
            if deck.is_empty() || began.elapsed() >= length * OVERTIME {
                break;
            }
            while !deck.is_empty() {
                let kind = deck.swap_remove(self.dice.index(deck.len()));
                if began.elapsed() >= length && !too_few(wanted, &self.faults).contains(&kind) {
                    continue;
                }
                self.inject(kind).await?;
                let pause = self.dice.between(300, 2_000);
                self.wait(Duration::from_millis(pause)).await;
            }
        }
        Ok(())
    }

    /// Waits, and starts again who has ended meanwhile.
    pub(crate) async fn wait(&mut self, length: Duration) {
        let end = Instant::now() + length;
        loop {
            self.fleet.tend();
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }

    async fn inject(&mut self, kind: Kind) -> Result<()> {
        let from_ms = now_ms();
        let Injected { victim, pid, proof } = match kind {
            Kind::OrchestratorKilled => self.kill(is_orchestrator),
            Kind::WorkerKilled => self.kill(is_worker),
            Kind::OrchestratorPaused => self.pause(is_orchestrator).await,
            Kind::WorkerPaused => self.pause(is_worker).await,
            Kind::OrchestratorParted => self.part(is_orchestrator).await,
            Kind::WorkerParted => self.part(is_worker).await,
            Kind::OrchestratorRestarted => self.restart(is_orchestrator).await,
            Kind::WorkerRestarted => self.restart(is_worker).await,
            Kind::FleetResized => self.resize().await?,
            Kind::ConsumerDeleted => self.delete_consumer().await,
            Kind::ServerKilled => {
                let node = self.dice.index(self.servers.count());
                self.kill_servers(&[node]).await?
            }
            Kind::LeaderKilled => {
                let history = Stream::History(Shard::FIRST).name(self.client.connection().namespace());
                let node = self.servers.leader(&history).unwrap_or(0);
                self.kill_servers(&[node]).await?
            }
            Kind::AllServersKilled => {
                let all: Vec<usize> = (0..self.servers.count()).collect();
                self.kill_servers(&all).await?
            }
            Kind::ServerPaused => self.pause_server().await?,
            Kind::NodeParted => self.part_node().await?,
        };
        let fault = Fault { kind, victim, pid, from_ms, to_ms: now_ms(), proof };
        if self.say {
            let proof = fault.proof.as_deref().unwrap_or("NOT PROVED");
            println!("  {:22} {}: {proof}", fault.kind.name(), fault.victim);
        }
        self.faults.push(fault);
        Ok(())
    }

    /// One of these places with a process; mostly the one through whose link most has passed, which is at work.
    fn choose(&mut self, role: fn(Role) -> bool) -> Option<usize> {
        let living = self.fleet.living(role);
        if self.dice.chance(500) {
            let passed = |index: &usize| self.fleet.members.get(*index).map(|it| it.link.counted().passed);
            return living.into_iter().max_by_key(passed);
        }
        self.dice.pick(&living).copied()
    }

    fn kill(&mut self, role: fn(Role) -> bool) -> Injected {
        let Some(index) = self.choose(role) else { return Injected::nobody() };
        let name = self.fleet.members[index].name();
        let pause = Duration::from_millis(self.dice.between(0, 3_000));
        let Some(mut process) = self.fleet.take(index, pause) else { return Injected::nobody() };
        let pid = process.pid();
        let ran = process.running();
        let status = process.kill_and_reap();
        let killed = ran && status.signal() == Some(9) && is_gone(pid);
        let proof = killed.then(|| "ended by signal 9, and gone".to_owned());
        Injected { victim: format!("{name}, back after {pause:?}"), pid: Some(pid), proof }
    }

    async fn pause(&mut self, role: fn(Role) -> bool) -> Injected {
        let Some(index) = self.choose(role) else { return Injected::nobody() };
        let length = self.lease * 2;
        let (name, pid) = (self.fleet.members[index].name(), self.fleet.members[index].pid());
        let Some(pid) = pid else { return Injected::nobody() };
        if let Some(process) = &self.fleet.members[index].process {
            process.freeze();
        }
        let stopped = self.until(|| is_stopped(pid)).await;
        self.wait(length).await;
        let still = is_stopped(pid);
        if let Some(process) = &self.fleet.members[index].process {
            process.go_on();
        }
        let went_on = self.until(|| !is_stopped(pid)).await;
        let proof = (stopped && still && went_on)
            .then(|| format!("stopped (state T) for {} ms, then going on", length.as_millis()));
        Injected { victim: format!("{name}, for {length:?}"), pid: Some(pid), proof }
    }

    async fn part(&mut self, role: fn(Role) -> bool) -> Injected {
        let Some(index) = self.choose(role) else { return Injected::nobody() };
        let (condition, how) = self.condition();
        let long = self.long_partitions && self.dice.chance(300);
        let length =
            if long { LONG_PARTITION } else { Duration::from_millis(self.dice.between(2_000, 7_000)) };
        let member = &self.fleet.members[index];
        let (name, pid) = (member.name(), member.pid());
        let before = member.link.counted();
        member.link.set(condition);
        self.wait(length).await;
        let member = &self.fleet.members[index];
        let proof = held_up(&before, &member.link.counted(), condition);
        member.link.set(Condition::default());
        Injected { victim: format!("{name}, {how} for {length:?}"), pid, proof }
    }

    fn condition(&mut self) -> (Condition, &'static str) {
        let slow = Traffic::Slow { delay: Duration::from_millis(300), bytes_per_second: 100_000 };
        match self.dice.below(6) {
            0 | 1 => (Condition::cut(), "cut"),
            2 => (Condition::half_open(), "half open"),
            3 => (Condition { up: Traffic::Held, ..Condition::default() }, "heard by nobody"),
            4 => (Condition { down: Traffic::Held, ..Condition::default() }, "hearing nobody"),
            _ => (Condition { up: slow, down: slow, ..Condition::default() }, "slow"),
        }
    }

    async fn restart(&mut self, role: fn(Role) -> bool) -> Injected {
        let Some(index) = self.choose(role) else { return Injected::nobody() };
        let name = self.fleet.members[index].name();
        let Some(process) = self.fleet.take(index, Duration::ZERO) else { return Injected::nobody() };
        let (pid, proof) = self.end(process).await;
        Injected { victim: name, pid: Some(pid), proof }
    }

    async fn resize(&mut self) -> Result<Injected> {
        let orchestrator = self.dice.chance(500);
        let grow = self.dice.chance(500);
        let (role, usual): (fn(Role) -> bool, usize) = if orchestrator {
            (is_orchestrator, self.orchestrators)
        } else {
            (|role| role == Role::Worker("default"), self.workers)
        };
        let places = self.fleet.members.iter().filter(|member| role(member.role)).count();
        if (grow && places < usual + MOST_MORE) || places <= 1 {
            let new = if orchestrator { Role::Orchestrator } else { Role::Worker("default") };
            let index = self.fleet.add(new).await?;
            let (name, pid) = (self.fleet.members[index].name(), self.fleet.members[index].pid());
            let runs = pid.is_some_and(|pid| !is_gone(pid));
            return Ok(Injected {
                victim: format!("{name} more"),
                pid,
                proof: runs.then(|| "it runs".to_owned()),
            });
        }
        let Some(index) = self.choose(role) else { return Ok(Injected::nobody()) };
        let name = self.fleet.members[index].name();
        let Some((process, link)) = self.fleet.remove(index) else { return Ok(Injected::nobody()) };
        let (pid, proof) = self.end(process).await;
        drop(link);
        Ok(Injected { victim: format!("{name} less"), pid: Some(pid), proof })
    }

    /// Asks a process to end and waits until it has.
    async fn end(&mut self, mut process: Process) -> (u32, Option<String>) {
        let pid = process.pid();
        if !process.running() {
            return (pid, None);
        }
        process.ask_to_end();
        if !self.until(|| !process.running()).await {
            process.kill_now();
            return (pid, None);
        }
        let status = process.ended().await;
        (pid, status.success().then(|| "it ended when it was asked to".to_owned()))
    }

    async fn delete_consumer(&mut self) -> Injected {
        let queues = ["default", OTHER_QUEUES[0], OTHER_QUEUES[1]];
        let queue = queues[self.dice.index(queues.len())];
        let connection = self.client.connection();
        let shards: Vec<Shard> = connection.shards().await.unwrap_or_default().all().collect();
        let shard = shards[self.dice.index(shards.len())];
        let stream = Stream::Tasks(shard).name(connection.namespace());
        let deleted = connection.jetstream().delete_consumer_from_stream(queue, &stream).await;
        let deleted = deleted.map_err(|error| error.to_string());
        let proof = deleted.as_ref().is_ok_and(|answer| answer.success);
        let proof = proof.then(|| "JetStream says that it is deleted".to_owned());
        let why = deleted.err().map_or_else(String::new, |error| format!(": {error}"));
        Injected { victim: format!("the consumer of {queue}{why}"), pid: None, proof }
    }

    async fn kill_servers(&mut self, nodes: &[usize]) -> Result<Injected> {
        let pids: Vec<u32> = nodes.iter().filter_map(|node| self.servers.pid(*node)).collect();
        self.servers.kill(nodes);
        let gone = pids.len() == nodes.len() && pids.iter().all(|pid| is_gone(*pid));
        let pause = Duration::from_millis(self.dice.between(0, 3_000));
        self.wait(pause).await;
        for node in nodes {
            self.servers.restart(*node)?;
        }
        self.servers.wait_until_led()?;
        let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        let victim = format!("server {}, back after {pause:?}", nodes.join(", "));
        let proof = gone.then(|| "killed by signal 9, gone, and back with a leader".to_owned());
        Ok(Injected { victim, pid: pids.first().copied(), proof })
    }

    async fn pause_server(&mut self) -> Result<Injected> {
        let node = self.dice.index(self.servers.count());
        let Some(pid) = self.servers.pid(node) else { return Ok(Injected::nobody()) };
        let length = Duration::from_millis(self.dice.between(1_000, 5_000));
        self.servers.pause(node)?;
        let stopped = self.until(|| is_stopped(pid)).await;
        self.wait(length).await;
        let still = is_stopped(pid);
        self.servers.resume(node)?;
        let went_on = self.until(|| !is_stopped(pid)).await;
        self.servers.wait_until_led()?;
        let proof = (stopped && still && went_on)
            .then(|| format!("stopped (state T) for {} ms, then going on", length.as_millis()));
        Ok(Injected { victim: format!("server {node}, for {length:?}"), pid: Some(pid), proof })
    }

    async fn part_node(&mut self) -> Result<Injected> {
        let node = self.dice.index(self.servers.count());
        let (condition, how) = self.condition();
        let length = Duration::from_millis(self.dice.between(3_000, 8_000));
        let before = self.servers.counted(node);
        self.servers.part(node, condition);
        self.wait(length).await;
        let proof = held_up(&before, &self.servers.counted(node), condition);
        self.servers.part(node, Condition::default());
        self.servers.wait_until_led()?;
        Ok(Injected { victim: format!("server {node}, {how} for {length:?}"), pid: None, proof })
    }

    /// Whether it becomes so in time.
    async fn until(&mut self, mut holds: impl FnMut() -> bool) -> bool {
        let end = Instant::now() + PROOF_WAIT;
        while Instant::now() < end {
            if holds() {
                return true;
            }
            self.wait(Duration::from_millis(10)).await;
        }
        false
    }
}

struct Injected {
    victim: String,
    pid: Option<u32>,
    proof: Option<String>,
}

impl Injected {
    fn nobody() -> Self {
        Self { victim: "nobody was there".to_owned(), pid: None, proof: None }
    }
}

fn is_orchestrator(role: Role) -> bool {
    role == Role::Orchestrator
}

fn is_worker(role: Role) -> bool {
    matches!(role, Role::Worker(_))
}

/// Proof that a link was in this condition: something was held up by it.
fn held_up(before: &Counted, after: &Counted, condition: Condition) -> Option<String> {
    let (held, late) = (after.held - before.held, after.late - before.late);
    let reset = after.reset - before.reset;
    let slow = matches!(condition.up, Traffic::Slow { .. });
    match condition {
        Condition { cut: true, .. } => (reset > 0).then(|| format!("{reset} connections reset")),
        _ if slow => (late > 0).then(|| format!("{late} bytes came late")),
        _ => (held > 0).then(|| format!("{held} bytes held")),
    }
}

fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

/// Whether the system says that the process is stopped.
fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in brackets, may hold anything; the state follows it.
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
}
