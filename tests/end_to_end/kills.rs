//! Orchestrator, worker and server are killed with SIGKILL at random points, over and over, while workflows
//! run whose right answer is known in advance. In the end every run is closed with that answer, and no step
//! was executed again after its result was recorded.
//!
//! The points are drawn from a seed, which is printed; `STEPWELL_KILL_SEED` sets another one.

use std::collections::BTreeSet;

use stepwell::{Status, WorkflowHandle};
use stepwell_shared::rng::SplitMix64;
use stepwell_tests::cluster::{Cluster, WorkerSetup};
use stepwell_tests::ledger::Phase;
use stepwell_tests::patience::until;
use stepwell_tests::processes::Process;
use stepwell_tests::workflows::money::{Plan, regrets, saves, shares};

use crate::stage::{Cache, PROGRAM, failure, result, together};

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Orchestrator,
    Worker,
    Server,
}

/// How many workflows of each kind run.
const RUNS: i64 = 12;

/// How many times somebody is killed.
const KILLS: usize = 8;

/// What runs while others are killed.
struct Runs {
    saves: Vec<(Plan, WorkflowHandle<i64>)>,
    shares: Vec<(Plan, WorkflowHandle<i64>)>,
    regrets: Vec<(Plan, WorkflowHandle<i64>)>,
}

impl Runs {
    fn steps(number: i64) -> i64 {
        8 + number % 5
    }

    /// How many steps they have, compensations included: what `regrets` does is undone.
    fn all_steps() -> usize {
        let steps = (0..RUNS).map(|number| 4 * Self::steps(number));
        usize::try_from(steps.sum::<i64>()).expect("a small number")
    }

    async fn start(cluster: &Cluster) -> Self {
        let client = &cluster.client;
        let plan = |kind: &str, number: i64| Plan {
            account: format!("{kind}-{number}"),
            steps: Self::steps(number),
        };
        let all = together((0..RUNS).map(|number| async move {
            let (saving, sharing, regretting) =
                (plan("saves", number), plan("shares", number), plan("regrets", number));
            let first = client.start(saves, &saving.account, saving.clone()).await.expect("it starts");
            let second = client.start(shares, &sharing.account, sharing.clone()).await.expect("it starts");
            let third =
                client.start(regrets, &regretting.account, regretting.clone()).await.expect("it starts");
            ((saving, first), (sharing, second), (regretting, third))
        }))
        .await;
        let mut runs = Self { saves: Vec::new(), shares: Vec::new(), regrets: Vec::new() };
        for (saving, sharing, regretting) in all {
            runs.saves.push(saving);
            runs.shares.push(sharing);
            runs.regrets.push(regretting);
        }
        runs
    }

    /// Waits for all of them and compares with what is known in advance.
    async fn right(&self, cluster: &Cluster) {
        for (plan, handle) in self.saves.iter().chain(&self.shares) {
            assert_eq!(result(handle).await, plan.total(), "{}", plan.account);
            assert_eq!(cluster.bank.balance(&plan.account), plan.total(), "{}", plan.account);
        }
        for (plan, handle) in &self.regrets {
            let (status, why) = failure(handle).await;
            assert_eq!((status, why.error_type.as_str()), (Status::Compensated, "Regret"));
            assert_eq!(cluster.bank.balance(&plan.account), 0, "{}", plan.account);
        }
    }
}

async fn survive(name: &str, seed: u64, cache: Cache, victims: &[Victim]) {
    let seed = std::env::var("STEPWELL_KILL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(seed);
    println!("{name}: STEPWELL_KILL_SEED={seed}");
    let mut random = SplitMix64::new(seed);
    let mut cluster = Cluster::start(name, PROGRAM).await;
    let setup = cache.worker().slots(4);
    let mut orchestrator = cluster.orchestrator().await;
    let mut worker = cluster.worker(&setup).await;
    let others = [cluster.worker(&setup).await, cluster.worker(&setup).await];
    let runs = Runs::start(&cluster).await;
    let mut kills: Vec<(Victim, usize)> = Vec::new();
    // Each at a random point of its share of nine tenths of the work.
    let share = Runs::all_steps() * 9 / 10 / KILLS;
    for number in 0..KILLS {
        let steps = number * share + below(&mut random, share as u64);
        let victim = victims[below(&mut random, victims.len() as u64)];
        until("more work to be done", || finished_steps(&cluster) >= steps).await;
        let left = Runs::all_steps() - finished_steps(&cluster);
        assert!(left > 0, "everything was done before kill number {}", kills.len() + 1);
        kills.push((victim, left));
        (orchestrator, worker) = kill(victim, &mut cluster, &setup, orchestrator, worker).await;
    }
    println!("{name}: killed, with so many steps left to do: {kills:?}");
    runs.right(&cluster).await;
    let open = cluster.runs().await.iter().filter(|run| !run.status.closed()).count();
    assert_eq!(open, 0);
    assert_eq!(kills.len(), KILLS);
    cluster.check().await;
    for worker in others {
        worker.stop().await;
    }
    worker.stop().await;
    orchestrator.stop().await;
}

async fn kill(
    victim: Victim,
    cluster: &mut Cluster,
    setup: &WorkerSetup,
    orchestrator: Process,
    worker: Process,
) -> (Process, Process) {
    match victim {
        Victim::Orchestrator => {
            orchestrator.kill();
            (cluster.orchestrator_with(&["--no-http"]), worker)
        }
        Victim::Worker => {
            worker.kill();
            (orchestrator, cluster.worker_unheard(setup))
        }
        Victim::Server => {
            cluster.server.kill();
            cluster.server.restart().expect("the server starts again");
            (orchestrator, worker)
        }
    }
}

/// How many steps some attempt has finished.
fn finished_steps(cluster: &Cluster) -> usize {
    let entries = cluster.ledger.read().into_iter().filter(|entry| entry.phase == Phase::Finished);
    entries.map(|entry| (entry.run_id, entry.step)).collect::<BTreeSet<_>>().len()
}

fn below(random: &mut SplitMix64, bound: u64) -> usize {
    usize::try_from(random.next_u64() % bound).expect("a small number")
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
#[ignore = "a killed nats-server forgets which tasks it has given out; an attempt may begin twice"]
async fn every_run_survives_the_death_of_the_server() {
    survive("kill-server", 33, Cache::Warm, &[Victim::Server]).await;
}

#[tokio::test]
#[ignore = "a killed nats-server forgets which tasks it has given out; an attempt may begin twice"]
async fn every_run_survives_the_death_of_anybody() {
    let anybody = [Victim::Orchestrator, Victim::Worker, Victim::Server];
    survive("kill-anybody", 44, Cache::Warm, &anybody).await;
}

#[tokio::test]
#[ignore = "a killed nats-server forgets which tasks it has given out; an attempt may begin twice"]
async fn every_run_survives_the_death_of_anybody_with_nothing_in_memory() {
    let anybody = [Victim::Orchestrator, Victim::Worker, Victim::Server];
    survive("kill-anybody-cold", 55, Cache::Cold, &anybody).await;
}
