//! Orchestrator, workers and server are killed with SIGKILL at random points, over and over, while
//! workflows run whose right answer is known in advance. In the end every run is closed with that answer,
//! and no step was executed again after its result was recorded.
//!
//! The points are drawn from a seed, which is printed; `STEPWELL_KILL_SEED` sets another one.

use std::collections::BTreeSet;

use stepwell::{Status, WorkflowHandle};
use stepwell_shared::rng::SplitMix64;
use stepwell_tests::cluster::{Cluster, WorkerSetup};
use stepwell_tests::ledger::Phase;
use stepwell_tests::patience::until;
use stepwell_tests::processes::Process;
use stepwell_tests::workflows::money::{Plan, dares, regrets, saves, shares};

use crate::stage::{Cache, PROGRAM, failure, result, together};

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Orchestrator,
    Worker,
    Server,
}

/// How many workflows of each kind run.
const RUNS: i64 = 10;

/// How many times somebody is killed.
const KILLS: usize = 6;

/// How many workers there are at any time.
const WORKERS: usize = 2;

/// How many activities a worker runs at once.
const SLOTS: usize = 4;

/// Where the last step of some runs waits until nobody is killed any more, so that there always is work to
/// be done. They leave slots for the others.
const GATE: &str = "after the kills";

/// How many runs wait there.
const RUNS_AT_GATE: i64 = 3;

/// Who does the work. Whoever cannot start because the server is away ends, and is started again.
struct Crew {
    setup: WorkerSetup,
    orchestrator: Process,
    workers: Vec<Process>,
}

impl Crew {
    async fn start(cluster: &Cluster, setup: WorkerSetup) -> Self {
        let orchestrator = cluster.orchestrator().await;
        let mut workers = Vec::new();
        for _ in 0..WORKERS {
            workers.push(cluster.worker(&setup).await);
        }
        Self { setup, orchestrator, workers }
    }

    /// Starts those again that have ended.
    fn tend(&mut self, cluster: &Cluster) {
        if !self.orchestrator.running() {
            self.orchestrator = cluster.orchestrator_with(&["--no-http"]);
        }
        for worker in &mut self.workers {
            if !worker.running() {
                *worker = cluster.worker_unheard(&self.setup);
            }
        }
    }

    fn kill(&mut self, victim: Victim, cluster: &mut Cluster, random: &mut SplitMix64) {
        match victim {
            Victim::Orchestrator => self.orchestrator.kill_now(),
            Victim::Worker => {
                let worker = below(random, WORKERS);
                self.workers[worker].kill_now();
            }
            Victim::Server => cluster.kill_server(),
        }
        self.tend(cluster);
    }
}

/// What runs while others are killed.
struct Runs {
    /// Must return the total and have booked it.
    exact: Vec<(Plan, WorkflowHandle<i64>)>,
    /// Must fail and have booked nothing in the end.
    undone: Vec<(Plan, WorkflowHandle<i64>)>,
    /// Must book each amount once at most, and return no more than was booked.
    once: Vec<(Plan, WorkflowHandle<i64>)>,
}

impl Runs {
    fn steps(number: i64) -> i64 {
        6 + number % 5
    }

    /// How many steps they have, compensations included. What is not tried twice may be lost.
    fn certain_steps() -> usize {
        let steps = (0..RUNS).map(|number| 4 * Self::steps(number));
        usize::try_from(steps.sum::<i64>()).expect("a small number")
    }

    async fn start(cluster: &Cluster) -> Self {
        let client = &cluster.client;
        let plan = |kind: &str, number: i64| {
            let (account, steps) = (format!("{kind}-{number}"), Self::steps(number));
            let waits = kind == "saves" && number < RUNS_AT_GATE;
            Plan { account, steps, gate: waits.then(|| GATE.to_owned()) }
        };
        let all = together((0..RUNS).map(|number| async move {
            let plans = ["saves", "shares", "regrets", "dares"].map(|kind| plan(kind, number));
            let [saving, sharing, regretting, daring] = plans;
            let start = "it starts";
            let first = client.start(saves, &saving.account, saving.clone()).await.expect(start);
            let second = client.start(shares, &sharing.account, sharing.clone()).await.expect(start);
            let third = client.start(regrets, &regretting.account, regretting.clone()).await.expect(start);
            let fourth = client.start(dares, &daring.account, daring.clone()).await.expect(start);
            ([(saving, first), (sharing, second)], (regretting, third), (daring, fourth))
        }))
        .await;
        let mut runs = Self { exact: Vec::new(), undone: Vec::new(), once: Vec::new() };
        for (exact, undone, once) in all {
            runs.exact.extend(exact);
            runs.undone.push(undone);
            runs.once.push(once);
        }
        runs
    }

    /// Waits for all of them and compares with what is known in advance.
    async fn right(&self, cluster: &Cluster) {
        for (plan, handle) in &self.exact {
            assert_eq!(result(handle).await, plan.total(), "{}", plan.account);
            assert_eq!(cluster.bank.balance(&plan.account), plan.total(), "{}", plan.account);
        }
        for (plan, handle) in &self.undone {
            let (status, why) = failure(handle).await;
            assert_eq!((status, why.error_type.as_str()), (Status::Compensated, "Regret"));
            assert_eq!(cluster.bank.balance(&plan.account), 0, "{}", plan.account);
        }
        for (plan, handle) in &self.once {
            let (returned, booked) = (result(handle).await, cluster.bank.balance(&plan.account));
            let bounds = returned <= booked && booked <= plan.total();
            assert!(bounds, "{}: {returned} returned, {booked} booked", plan.account);
        }
    }
}

async fn survive(name: &str, seed: u64, cache: Cache, victims: &[Victim]) {
    let seed = std::env::var("STEPWELL_KILL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(seed);
    println!("{name}: STEPWELL_KILL_SEED={seed}");
    let mut random = SplitMix64::new(seed);
    let mut cluster = Cluster::start(name, PROGRAM).await;
    let mut crew = Crew::start(&cluster, cache.worker().slots(SLOTS)).await;
    let runs = Runs::start(&cluster).await;
    let mut kills: Vec<(Victim, usize)> = Vec::new();
    // Each at a random point of its share of two thirds of the work; what a kill holds up comes after them.
    let share = Runs::certain_steps() * 2 / 3 / KILLS;
    for number in 0..KILLS {
        let steps = number * share + below(&mut random, share);
        let victim = victims[below(&mut random, victims.len())];
        until("more work to be done", || {
            crew.tend(&cluster);
            finished_steps(&cluster) >= steps
        })
        .await;
        let left = Runs::certain_steps().saturating_sub(finished_steps(&cluster));
        assert!(left > 0, "everything was done before kill number {}", kills.len() + 1);
        kills.push((victim, left));
        crew.kill(victim, &mut cluster, &mut random);
    }
    println!("{name}: killed, with so many steps left to do: {kills:?}");
    assert_eq!(kills.len(), KILLS);
    cluster.gates.open(GATE);
    until("the rest of the work to be done", || {
        crew.tend(&cluster);
        finished_steps(&cluster) >= Runs::certain_steps()
    })
    .await;
    runs.right(&cluster).await;
    let open = cluster.runs().await.iter().filter(|run| !run.status.closed()).count();
    assert_eq!(open, 0);
    cluster.check().await;
    for worker in crew.workers {
        worker.stop().await;
    }
    crew.orchestrator.stop().await;
}

/// How many steps some attempt has finished, of those that are certain to be.
fn finished_steps(cluster: &Cluster) -> usize {
    let entries = cluster.ledger.read().into_iter();
    let certain =
        entries.filter(|entry| entry.phase == Phase::Finished && !entry.workflow_id.starts_with("dares"));
    certain.map(|entry| (entry.run_id, entry.step)).collect::<BTreeSet<_>>().len()
}

fn below(random: &mut SplitMix64, bound: usize) -> usize {
    usize::try_from(random.next_u64() % bound as u64).expect("a small number")
}

#[tokio::test]
async fn every_run_survives_the_death_of_orchestrators() {
    survive("kill-orchestrator", 11, Cache::Warm, &[Victim::Orchestrator]).await;
}

#[tokio::test]
async fn every_run_survives_the_death_of_workers() {
    survive("kill-worker", 22, Cache::Warm, &[Victim::Worker]).await;
}

#[tokio::test]
async fn every_run_survives_the_death_of_the_server() {
    survive("kill-server", 33, Cache::Warm, &[Victim::Server]).await;
}

#[tokio::test]
async fn every_run_survives_the_death_of_anybody() {
    let anybody = [Victim::Orchestrator, Victim::Worker, Victim::Server];
    survive("kill-anybody", 44, Cache::Warm, &anybody).await;
}

#[tokio::test]
async fn every_run_survives_the_death_of_anybody_with_nothing_in_memory() {
    let anybody = [Victim::Orchestrator, Victim::Worker, Victim::Server];
    survive("kill-anybody-cold", 55, Cache::Cold, &anybody).await;
}
